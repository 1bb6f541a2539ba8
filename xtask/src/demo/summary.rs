//! What the demo came to: a table for people, `summary.json` for programs.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::audit::Audit;
use super::pipeline::Pipeline;
use super::watch::Watched;

/// What the consumer measured: the demo's own count does not look at the clock.
#[derive(Debug, Deserialize)]
pub struct Statistics {
    pub fps: f64,
    /// From the capture of a frame to the consumer, milliseconds. None if no frame came.
    pub latency_p50_ms: Option<f64>,
    pub latency_p99_ms: Option<f64>,
}

impl Statistics {
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("understanding {}", file.display()))
    }
}

#[derive(Debug)]
pub struct Summary {
    pub audit: Audit,
    pub statistics: Statistics,
    pub processor_calls: u64,
}

impl Summary {
    pub fn write(&self, file: &Path) -> Result<()> {
        let value = json!({
            "frames_in": self.audit.frames_in,
            "processed": self.audit.processed,
            "frames_out": self.audit.frames_out,
            "lost": self.audit.lost,
            "duplicated": self.audit.duplicated,
            "out_of_order": self.audit.out_of_order,
            "fps": self.statistics.fps,
            "latency_p50_ms": self.statistics.latency_p50_ms,
            "latency_p99_ms": self.statistics.latency_p99_ms,
            "processor_calls": self.processor_calls,
        });
        fs::write(file, format!("{value:#}\n"))
            .with_context(|| format!("writing {}", file.display()))
    }

    pub fn table(&self, pipeline: &Pipeline, watched: &Watched) -> String {
        let audit = &self.audit;
        let latency = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
        let mut rows = vec![
            (
                "frames in",
                audit.frames_in.to_string(),
                format!("read back from topic {}", pipeline.input_topic()),
            ),
            (
                "processed",
                audit.processed.to_string(),
                format!(
                    "{} people seen, in {} of the frames",
                    audit.detections, audit.with_detections
                ),
            ),
            (
                "frames out",
                audit.frames_out.to_string(),
                format!("read from topic {}", pipeline.output_topic()),
            ),
            (
                "lost",
                audit.lost.to_string(),
                "every id of the input looked for in the output".to_owned(),
            ),
            (
                "duplicated",
                audit.duplicated.to_string(),
                "every id counted".to_owned(),
            ),
            (
                "out of order",
                audit.out_of_order.to_string(),
                "every id compared with the one before".to_owned(),
            ),
            (
                "frames a second",
                format!("{:.1}", self.statistics.fps),
                "as they came out".to_owned(),
            ),
            (
                "latency p50",
                latency(self.statistics.latency_p50_ms),
                "from the capture to the consumer".to_owned(),
            ),
            (
                "latency p99",
                latency(self.statistics.latency_p99_ms),
                "the same".to_owned(),
            ),
            (
                "processor calls",
                self.processor_calls.to_string(),
                "of both replicas, repeated ones included".to_owned(),
            ),
        ];
        if let Some(kill) = &watched.broker_kill {
            let note = format!("of silence after kill -9 at frame {}", kill.after_frames);
            rows.push((
                "broker killed",
                format!("{:.1} s", kill.silence.as_secs_f64()),
                note,
            ));
        }
        let mut text = String::from("\n");
        for (name, value, note) in rows {
            let _ = writeln!(text, "  {name:<16}{value:>9}   {note}");
        }
        let verdict = if audit.holds() {
            "nothing lost, nothing twice, all in order"
        } else {
            "THE COUNT DOES NOT HOLD"
        };
        let _ = writeln!(
            text,
            "\n  {verdict}\n\n  in {}:",
            pipeline.folder().display()
        );
        for (name, what) in FILES {
            let _ = writeln!(text, "    {name:<16}{what}");
        }
        text
    }
}

const FILES: [(&str, &str); 5] = [
    ("people.mp4", "the video with what was found drawn in"),
    ("stills/", "the same as JPEG files"),
    ("results.jsonl", "one line a frame"),
    ("summary.json", "these numbers"),
    ("logs/", "what each service said"),
];
