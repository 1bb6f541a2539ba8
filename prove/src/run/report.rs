//! What a run came to: for people as it ends, and for all runs together as JSON.

use crate::check::Check;
use crate::history::{History, Sample};
use crate::ledger::{FaultLine, PublishLine};
use serde::Serialize;
use std::fmt;

/// One run.
#[derive(Debug, Serialize)]
pub struct RunReport {
    pub seed: u64,
    pub nodes: usize,
    pub seconds: f64,
    pub verdict: Verdict,
    /// Records that were sent.
    pub sent: usize,
    /// Records that came out.
    pub came_out: usize,
    pub stages: usize,
    pub rows: Vec<u32>,
    pub faults: Vec<FaultLine>,
    pub checks: Vec<Check>,
    /// The most that each process used.
    pub samples: Vec<Sample>,
    /// Why there is nothing to check, if the run could not be made.
    pub error: Option<String>,
    /// What makes the same run again.
    pub replay: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Passed,
    Failed,
}

/// All runs, `target/prove.json`.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub passed: usize,
    pub failed: usize,
    pub seconds: f64,
    pub runs: Vec<RunReport>,
}

impl RunReport {
    /// A run that was made.
    pub fn of(history: &History, checks: Vec<Check>, seconds: f64, replay: String) -> Self {
        let is_intent = |line: &&PublishLine| matches!(line, PublishLine::Intent { .. });
        Self {
            seed: history.plan.seed,
            nodes: history.plan.nodes,
            seconds,
            verdict: if checks.iter().all(Check::holds) {
                Verdict::Passed
            } else {
                Verdict::Failed
            },
            sent: history.publish.iter().filter(is_intent).count(),
            came_out: history.output().len(),
            stages: history.plan.stages.len(),
            rows: history.plan.rows(),
            faults: history.faults.clone(),
            checks,
            samples: history.samples.clone(),
            error: None,
            replay,
        }
    }

    /// A run that could not be made or not be finished.
    pub fn broken(
        plan: &crate::plan::Plan,
        error: &anyhow::Error,
        seconds: f64,
        replay: String,
    ) -> Self {
        Self {
            seed: plan.seed,
            nodes: plan.nodes,
            seconds,
            verdict: Verdict::Failed,
            sent: 0,
            came_out: 0,
            stages: plan.stages.len(),
            rows: plan.rows(),
            faults: Vec::new(),
            checks: Vec::new(),
            samples: Vec::new(),
            error: Some(format!("{error:#}")),
            replay,
        }
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<String> = self.rows.iter().map(u32::to_string).collect();
        let verdict = match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
        };
        writeln!(
            f,
            "seed {}: {verdict}; {} records sent, {} came out of {} stage(s), {} node(s), rows {}, {:.0} s",
            self.seed,
            self.sent,
            self.came_out,
            self.stages,
            self.nodes,
            rows.join(" "),
            self.seconds
        )?;
        for fault in &self.faults {
            let recovered = match fault.recovered_ms {
                Some(ms) => format!("went on after {ms} ms"),
                None => "never went on".to_owned(),
            };
            let fired = if fault.fired { "" } else { "; DID NOT HAPPEN" };
            writeln!(
                f,
                "  at {:>5.1} s  row {:>2}  {}: {recovered}, longest gap {} ms{fired}",
                fault.start_ms as f64 / 1000.0,
                fault.row,
                fault.what,
                fault.longest_gap_ms
            )?;
        }
        let counts = self.checks.iter().filter(|check| check.number > 0);
        let counts: Vec<String> = counts
            .map(|check| {
                let failed = if check.holds() { "" } else { " FAILED" };
                format!("{}: {}{failed}", check.number, check.checked)
            })
            .collect();
        if !counts.is_empty() {
            writeln!(f, "  invariants (things checked)  {}", counts.join(", "))?;
        }
        for check in self.checks.iter().filter(|check| !check.holds()) {
            writeln!(
                f,
                "  VIOLATED {} ({}): {} of {} times",
                check.number, check.name, check.violations, check.checked
            )?;
            for word in &check.words {
                writeln!(f, "    {}", clipped(word))?;
            }
        }
        if let Some(error) = &self.error {
            writeln!(f, "  the run could not be finished: {error}")?;
        }
        if self.verdict == Verdict::Failed {
            writeln!(f, "  again: {}", self.replay)?;
        }
        Ok(())
    }
}

/// A line that fits on a screen or two; all of it is in the JSON.
fn clipped(word: &str) -> &str {
    const MOST: usize = 400;
    match word.char_indices().nth(MOST) {
        Some((at, _)) => &word[..at],
        None => word,
    }
}

impl Report {
    pub fn add(&mut self, run: RunReport) {
        match run.verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed => self.failed += 1,
        }
        self.runs.push(run);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent: usize = self.runs.iter().map(|run| run.sent).sum();
        let faults: usize = self.runs.iter().map(|run| run.faults.len()).sum();
        let checked = self.runs.iter().flat_map(|run| &run.checks);
        let checked: u64 = checked.map(|check| check.checked).sum();
        write!(
            f,
            "prove: {} runs passed, {} failed; {sent} records, {faults} faults, {checked} things checked, {:.0} s",
            self.passed, self.failed, self.seconds
        )
    }
}
