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
        let is_summary = |file: &[u8]| file.starts_with(b"{\n  \"records\":");
        let path = path.map(|path| output::replaceable(path, existing, is_summary));
        Ok(Self {
            path: path.transpose()?,
            tally: Tally::default(),
        })
    }
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
