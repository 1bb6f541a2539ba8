//! The final table, for people and as JSON.

use crate::config::Config;
use crate::instance::Outcome;
use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// All that came out. Times are seconds or milliseconds, sizes bytes, as the names say.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub video: String,
    /// Every frame of every instance is on disk.
    pub complete: bool,
    pub instances: Vec<Row>,
    pub total: Row,
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub complete: bool,
    /// On disk.
    pub frames: u64,
    /// From the instance's start (of all: from the first one's) to the end.
    pub seconds: f64,
    pub fps: f64,
    /// From a frame's first call until its picture is on disk.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Contents of the frames, each once.
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Calls that found the service full and were made again.
    pub refused_calls: u64,
    /// Calls that failed or got lost and were made again.
    pub failed_calls: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Summary {
    /// `took` is the time of the whole run.
    pub fn of(config: &Config, outcomes: &[Outcome], took: Duration) -> Self {
        let mut latencies = Histogram::<u64>::new(3).expect("3 digits are possible");
        for outcome in outcomes {
            latencies
                .add(&outcome.latencies)
                .expect("both grow as needed");
        }
        let sum = |part: fn(&Outcome) -> u64| outcomes.iter().map(part).sum();
        let all_began = outcomes.len() == config.instances as usize;
        let complete = all_began && outcomes.iter().all(|outcome| outcome.error.is_none());
        let frames = sum(|outcome| outcome.frames);
        let total = Row {
            name: "all".to_owned(),
            complete,
            frames,
            seconds: took.as_secs_f64(),
            fps: frames as f64 / took.as_secs_f64(),
            p50_ms: milliseconds(&latencies, 0.5),
            p99_ms: milliseconds(&latencies, 0.99),
            sent_bytes: sum(|outcome| outcome.sent_bytes),
            received_bytes: sum(|outcome| outcome.received_bytes),
            refused_calls: sum(|outcome| outcome.refusals),
            failed_calls: sum(|outcome| outcome.failures),
            error: None,
        };
        Self {
            video: config.video.display().to_string(),
            complete,
            instances: outcomes.iter().map(Row::of).collect(),
            total,
        }
    }

    /// Whole or not at all.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let cannot = || {
            format!(
                "cannot write {}: give another file with --json",
                path.display()
            )
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let temporary = folder.join(format!(".resize-clients-{}.part", std::process::id()));
        std::fs::write(&temporary, text).with_context(cannot)?;
        std::fs::rename(temporary, path).with_context(cannot)
    }
}

impl Row {
    fn of(outcome: &Outcome) -> Self {
        let seconds = outcome.took.as_secs_f64();
        Self {
            name: format!("vid-instance{}", outcome.number),
            complete: outcome.error.is_none(),
            frames: outcome.frames,
            seconds,
            fps: outcome.frames as f64 / seconds.max(f64::MIN_POSITIVE),
            p50_ms: milliseconds(&outcome.latencies, 0.5),
            p99_ms: milliseconds(&outcome.latencies, 0.99),
            sent_bytes: outcome.sent_bytes,
            received_bytes: outcome.received_bytes,
            refused_calls: outcome.refusals,
            failed_calls: outcome.failures,
            error: outcome.error.as_ref().map(|error| format!("{error:#}")),
        }
    }
}

fn milliseconds(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1e3
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16}{:>7}{:>9}{:>8}{:>9}{:>9}{:>10}{:>10}",
            "instance", "frames", "seconds", "fps", "p50 ms", "p99 ms", "sent MB", "recv MB"
        )?;
        for row in self.instances.iter().chain([&self.total]) {
            write!(f, "{row}")?;
        }
        let retried = (self.total.refused_calls, self.total.failed_calls);
        if retried != (0, 0) {
            writeln!(
                f,
                "Made again: {} calls that found the service full, {} that failed or got lost.",
                retried.0, retried.1
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MB: f64 = 1e6;
        writeln!(
            f,
            "{:<16}{:>7}{:>9.2}{:>8.1}{:>9.1}{:>9.1}{:>10.1}{:>10.1}{}",
            self.name,
            self.frames,
            self.seconds,
            self.fps,
            self.p50_ms,
            self.p99_ms,
            self.sent_bytes as f64 / MB,
            self.received_bytes as f64 / MB,
            if self.complete { "" } else { "  INCOMPLETE" }
        )
    }
}
