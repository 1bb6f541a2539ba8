//! Ledgers: what was meant, written down before it is done, one line in one write.
//!
//! A line goes to the system, not to the disk: it survives the process that wrote it, not the machine.

use crate::behaviour::Answer;
use crate::frames::Item;
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::marker::PhantomData;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Written by the publisher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PublishLine {
    /// Before a send.
    Intent {
        number: u64,
        partition: i32,
        item: Item,
        /// FNV of the payload.
        payload: u64,
        /// The transaction that the send is part of.
        transaction: Option<u64>,
    },
    /// After a send. A send without such a line is unknown.
    Answer { number: u64, outcome: Outcome },
    /// A transaction is about to be ended in this way.
    Ending { transaction: u64, ending: Ending },
    /// How that went.
    Ended { transaction: u64, outcome: Outcome },
}

/// What Kafka answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Ok,
    /// It surely did not take place.
    Failed,
    /// It may or may not have taken place.
    Unknown,
}

/// What a transaction is meant to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    Commit,
    Abort,
}

/// Written by a processor before it does anything else with a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenLine {
    pub processor: String,
    /// `stage/replica`, to tell the processes apart.
    pub replica: String,
    pub source: String,
    pub epoch: u64,
    pub sequence: u64,
    pub attempt: u32,
    pub answer: Answer,
    /// Calls that run here, this one included.
    pub in_flight: u64,
}

/// Written by the conductor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultLine {
    pub row: u32,
    /// What was done, to whom.
    pub what: String,
    /// Whether what was planned happened.
    pub fired: bool,
    /// Milliseconds since the run began.
    pub start_ms: u64,
    pub end_ms: u64,
    /// From the fault's end to the first new output, milliseconds; None: there was none.
    pub recovered_ms: Option<u64>,
    /// From the fault's beginning to then, the longest time without output.
    pub longest_gap_ms: u64,
}

/// A file of lines of one kind.
#[derive(Debug)]
pub struct Ledger<T> {
    file: File,
    lines: PhantomData<fn(&T)>,
}

impl<T: Serialize> Ledger<T> {
    /// Appends to the file, which is made if needed. Several processes may share it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("opening the ledger {}", path.display()))?;
        Ok(Self {
            file,
            lines: PhantomData,
        })
    }

    /// One line in one write, which the system keeps whole next to others' lines.
    pub fn write(&self, line: &T) -> Result<()> {
        let mut text = serde_json::to_vec(line).context("a ledger line")?;
        text.push(b'\n');
        (&self.file).write_all(&text).context("writing the ledger")
    }
}

/// All whole lines of a ledger; one that a dying process began is left out. Empty if there is no such file.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(&[][..], |end| &bytes[..=end]);
    whole
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            serde_json::from_slice(line).with_context(|| {
                let line = String::from_utf8_lossy(line);
                format!("{}: a line that is none of ours: {line}", path.display())
            })
        })
        .collect()
}

/// Nanoseconds since the Unix epoch.
pub fn now_unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}
