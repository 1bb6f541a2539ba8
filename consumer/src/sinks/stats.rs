//! A summary of everything at the end, for people and as JSON. (The line a second is the consumer's own.)

use super::{Existing, Flow, OpenError, Sink, SinkError, output};
use crate::delivery::Delivery;
use crate::tally::Tally;
use pipeline::say;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The sink. People's summary goes to stderr, so that it never mixes with JSON lines on stdout.
#[derive(Debug)]
pub struct Stats {
    path: Option<PathBuf>,
    tally: Tally,
}

impl Stats {
    /// The file is written when the consumer ends; numbers of an earlier run are replaced.
    pub fn open(path: Option<&Path>, existing: Existing) -> Result<Self, OpenError> {
        let path = path.map(|path| output::replaceable(path, existing, begins_so));
        Ok(Self {
            path: path.transpose()?,
            tally: Tally::default(),
        })
    }
}

/// Whether a file that begins like this has such numbers.
fn begins_so(file: &[u8]) -> bool {
    file.starts_with(b"{\n  \"records\":")
}

impl Sink for Stats {
    fn take(&mut self, delivery: &Delivery) -> Result<Flow, SinkError> {
        self.tally.count(delivery, delivery.picture_verdict()?);
        Ok(Flow::GoOn)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        let summary = self.tally.summary();
        say(&summary);
        let Some(path) = &self.path else {
            return Ok(());
        };
        let temporary = output::beside(path, ".framelane-tmp");
        serde_json::to_vec_pretty(&summary)
            .map_err(io::Error::from)
            .and_then(|json| fs::write(&temporary, json))
            .and_then(|()| fs::rename(&temporary, path))
            .map_err(SinkError::write(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_an_earlier_run_are_known_again_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.json");
        for run in 0..2 {
            let stats = Stats::open(Some(&path), Existing::Refuse);
            let mut stats = stats.unwrap_or_else(|why| panic!("run {run}: {why}"));
            stats.finish().unwrap();
        }
    }
}
