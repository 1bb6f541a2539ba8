//! One JSON line a record, without pixels. The same records always give the same bytes.

use super::output::{self, Beginning, PROGRESS_SUFFIX};
use super::{Flow, Kept, OpenError, Sink, SinkError, SinkOptions, json};
use crate::delivery::Delivery;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The sink.
#[derive(Debug)]
pub struct JsonLines {
    out: Out,
    shows: Shows,
    path: PathBuf,
    /// Bytes of whole lines.
    length: u64,
    line: Vec<u8>,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// A record.
    Records,
    /// An alert, with its frame. Other records have no line.
    Alerts,
}

#[derive(Debug)]
enum Out {
    /// Can be cut back and made durable.
    File(File),
    /// A pipe or a terminal: what is written is gone.
    Stream(File),
    Stdout(io::Stdout),
}

impl JsonLines {
    /// Claims the file. Its mark is its length in bytes.
    pub fn open(
        path: &Path,
        shows: Shows,
        options: &SinkOptions,
    ) -> Result<(Self, Option<Kept>), OpenError> {
        let metadata = std::fs::metadata(path).ok();
        if metadata.as_ref().is_some_and(|found| !found.is_file()) {
            let stream = OpenOptions::new().write(true).open(path);
            let out = Out::Stream(stream.map_err(OpenError::io(path))?);
            return Ok((Self::new(out, shows, path, 0), None));
        }
        let has_output = metadata.is_some_and(|found| found.len() > 0);
        let progress = output::beside(path, PROGRESS_SUFFIX);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(OpenError::io(path))?;
        output::lock(path, &file)?;
        let (beginning, kept) = output::claim(path, progress, has_output, 0, options)?;
        let length = match beginning {
            Beginning::Empty => 0,
            Beginning::At(mark) => mark,
        };
        let found = file.metadata().map_err(OpenError::io(path))?.len();
        if found < length {
            return Err(output::does_not_fit(path, found, length));
        }
        cut(&mut file, length).map_err(OpenError::io(path))?;
        Ok((Self::new(Out::File(file), shows, path, length), kept))
    }

    /// Lines on stdout, each at once.
    pub fn stdout() -> Self {
        let out = Out::Stdout(io::stdout());
        Self::new(out, Shows::Records, Path::new("stdout"), 0)
    }

    fn new(out: Out, shows: Shows, path: &Path, length: u64) -> Self {
        Self {
            out,
            shows,
            path: path.to_owned(),
            length,
            line: Vec::new(),
        }
    }
}

fn cut(file: &mut File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length)).map(drop)
}

impl Sink for JsonLines {
    fn take(&mut self, delivery: &Delivery) -> Result<Flow, SinkError> {
        self.line.clear();
        match (self.shows, delivery.alert()) {
            (Shows::Records, _) => serde_json::to_writer(&mut self.line, &json::line(delivery))
                .map_err(|cause| SinkError::write(&self.path)(cause.into()))?,
            (Shows::Alerts, Some(alert)) => self.line.extend(alert.line(delivery)),
            (Shows::Alerts, None) => return Ok(Flow::GoOn),
        }
        self.line.push(b'\n');
        let written = match &mut self.out {
            Out::File(out) | Out::Stream(out) => out.write_all(&self.line),
            Out::Stdout(out) => out.write_all(&self.line).and_then(|()| out.flush()),
        };
        match (written, &mut self.out) {
            (Ok(()), _) => self.length += self.line.len() as u64,
            // Whoever reads a pipe has seen enough.
            (Err(cause), Out::Stdout(_) | Out::Stream(_))
                if cause.kind() == io::ErrorKind::BrokenPipe =>
            {
                return Ok(Flow::Quit);
            }
            (Err(cause), out) => {
                if let Out::File(file) = out {
                    // Half a line would be worse than none; if even this fails, the next start cuts it.
                    let _ = cut(file, self.length);
                }
                return Err(SinkError::write(&self.path)(cause));
            }
        }
        Ok(Flow::GoOn)
    }

    fn checkpoint(&mut self) -> Result<u64, SinkError> {
        if let Out::File(file) = &self.out {
            file.sync_data().map_err(SinkError::write(&self.path))?;
        }
        Ok(self.length)
    }
}
