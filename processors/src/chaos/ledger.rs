//! A line in a file for every call, for tests that count calls.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use processor_proto::v1::FrameId;

use super::Outcome;

/// Lines `source epoch sequence attempt outcome`, in the order of the calls. Several processes may share a file.
#[derive(Debug)]
pub struct Ledger {
    file: File,
}

impl Ledger {
    /// Appends to the file, which is made if needed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file })
    }

    /// One line in one write, which the system keeps whole next to others' lines. It goes to the system's cache,
    /// not to the disk: it survives the process, not the machine.
    pub fn append(&self, id: &FrameId, attempt: u32, outcome: Outcome) -> io::Result<()> {
        let FrameId {
            source_id,
            epoch,
            sequence,
        } = id;
        let line = format!("{source_id} {epoch} {sequence} {attempt} {outcome}\n");
        (&self.file).write_all(line.as_bytes())
    }
}
