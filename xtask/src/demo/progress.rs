//! What has come out so far, from the lines that the consumer has written, and the line that shows it.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use super::record::Record;

/// Where standard error is a file, a line each this often is enough.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Follows a file of records while it grows.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    reader: Option<BufReader<File>>,
    /// A line of which the end is not written yet.
    unfinished: String,
    pub frames: u64,
    pub detections: u64,
}

impl Output {
    pub fn follow(path: PathBuf) -> Self {
        Self {
            path,
            reader: None,
            unfinished: String::new(),
            frames: 0,
            detections: 0,
        }
    }

    /// Reads what is new. Whether anything was.
    pub fn read_on(&mut self) -> Result<bool> {
        if self.reader.is_none() {
            // Not there before the first record: the consumer makes it.
            self.reader = File::open(&self.path).ok().map(BufReader::new);
        }
        let Some(reader) = &mut self.reader else {
            return Ok(false);
        };
        let before = self.frames;
        loop {
            let read = reader.read_line(&mut self.unfinished);
            let bytes = read.with_context(|| format!("reading {}", self.path.display()))?;
            if bytes == 0 || !self.unfinished.ends_with('\n') {
                return Ok(self.frames > before);
            }
            if let Ok(Record::Frame(frame)) = serde_json::from_str(&self.unfinished) {
                self.frames += 1;
                self.detections += frame
                    .results
                    .iter()
                    .map(|result| result.detections.len() as u64)
                    .sum::<u64>();
            }
            self.unfinished.clear();
        }
    }
}

/// A line that is written over, or now and then a new line where there is no terminal.
#[derive(Debug)]
pub struct Line {
    bar: ProgressBar,
    plain: bool,
    shown: Option<Instant>,
}

impl Line {
    pub fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("a constant template"),
        );
        Self {
            bar,
            plain: !std::io::stderr().is_terminal(),
            shown: None,
        }
    }

    pub fn show(&mut self, text: String) {
        if !self.plain {
            self.bar.set_message(text);
            self.bar.tick();
        } else if self
            .shown
            .is_none_or(|shown| shown.elapsed() >= PLAIN_INTERVAL)
        {
            self.shown = Some(Instant::now());
            eprintln!("{text}");
        }
    }

    /// Says something that stays.
    pub fn note(&self, text: &str) {
        if self.plain {
            eprintln!("{text}")
        } else {
            self.bar.println(text)
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
