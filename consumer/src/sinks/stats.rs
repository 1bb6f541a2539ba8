//! Numbers: a line a second, a summary at the end, and the summary as JSON.

use super::{Flow, Sink, SinkError};
use crate::delivery::Delivery;
use crate::tally::Tally;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);
/// How often the time is looked at while nothing comes.
const IDLE: Duration = Duration::from_millis(200);

/// The sink. Lines go to stderr, so that they never mix with JSON lines on stdout.
#[derive(Debug)]
pub struct Stats {
    path: Option<PathBuf>,
    tally: Tally,
    next_line: Instant,
}

impl Stats {
    /// The file is written when the consumer ends; numbers of an earlier run are replaced.
    pub fn open(path: Option<&Path>) -> Self {
        Self {
            path: path.map(Path::to_owned),
            tally: Tally::default(),
            next_line: Instant::now() + EVERY,
        }
    }

    fn tick(&mut self) -> Flow {
        let now = Instant::now();
        if now >= self.next_line {
            eprintln!("{}", self.tally.line(now - self.next_line + EVERY));
            self.next_line = now + EVERY;
        }
        Flow::GoOn
    }
}

impl Sink for Stats {
    fn take(&mut self, delivery: &Delivery) -> Result<Flow, SinkError> {
        self.tally.count(delivery, delivery.picture_verdict()?);
        Ok(self.tick())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        let summary = self.tally.summary();
        eprintln!("{summary}");
        let Some(path) = &self.path else {
            return Ok(());
        };
        let temporary = super::output::beside(path, ".framelane-tmp");
        serde_json::to_vec_pretty(&summary)
            .map_err(std::io::Error::from)
            .and_then(|json| fs::write(&temporary, json))
            .and_then(|()| fs::rename(&temporary, path))
            .map_err(SinkError::write(path))
    }

    fn idle_every(&self) -> Option<Duration> {
        Some(IDLE)
    }

    fn idle(&mut self) -> Result<Flow, SinkError> {
        Ok(self.tick())
    }
}
