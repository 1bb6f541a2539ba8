//! The lines of the consumer's `jsonl` sink, as far as the demo reads them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One record of a topic.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    Frame(Frame),
    Gap(Gap),
    End(End),
    /// Nothing that we know, e.g. what another program wrote to the topic.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Frame {
    pub source: String,
    pub epoch: u64,
    pub sequence: u64,
    #[serde(default)]
    pub results: Vec<Outcome>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Outcome {
    pub status: String,
    #[serde(default)]
    pub detections: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub struct Gap {
    pub source: String,
    pub epoch: u64,
    /// The first missing one.
    pub sequence: u64,
    pub count: u64,
}

/// The sequence is that of the last frame, unless the epoch had none.
#[derive(Debug, Deserialize)]
pub struct End {
    pub source: String,
    pub epoch: u64,
    pub sequence: u64,
    #[serde(default)]
    pub empty: bool,
}

/// All records of a file, in its order.
pub fn read(file: &Path) -> Result<Vec<Record>> {
    let reader =
        BufReader::new(File::open(file).with_context(|| format!("opening {}", file.display()))?);
    let parse = |(index, line): (usize, std::io::Result<String>)| {
        let place = || format!("{} line {}", file.display(), index + 1);
        let line = line.with_context(place)?;
        serde_json::from_str(&line).with_context(|| format!("{} is no record: {line}", place()))
    };
    reader.lines().enumerate().map(parse).collect()
}
