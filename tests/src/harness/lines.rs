//! What a consumer showed, as its JSON lines say it.

use super::{read_committed, run_ok};
use bytes::Bytes;
use pipeline::envelope::Kind;
use pipeline::v1::FrameId;
use serde_json::Value;
use std::path::Path;

/// Lines of `--sink jsonl:FILE`, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines(pub Vec<Value>);

impl Lines {
    /// All lines of a file; each must be whole.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("the consumer's JSON lines");
        assert!(
            text.is_empty() || text.ends_with('\n'),
            "the last line is torn"
        );
        let line = |line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        Self(text.lines().map(line).collect())
    }

    /// The lines of one run of a source.
    pub fn of(&self, source: &str, epoch: u64) -> Self {
        let is_of = |line: &&Value| line["source"] == source && line["epoch"] == epoch;
        Self(self.0.iter().filter(is_of).cloned().collect())
    }

    /// `frame`, `gap`, `end` or `undecodable`.
    pub fn kind(&self, kind: &str) -> Self {
        let is_of = |line: &&Value| line["kind"] == kind;
        Self(self.0.iter().filter(is_of).cloned().collect())
    }

    /// The frames' sequences, in the order of the lines.
    pub fn sequences(&self) -> Vec<u64> {
        self.numbers("frame", "sequence")
    }

    /// A number of each line of a kind.
    pub fn numbers(&self, kind: &str, field: &str) -> Vec<u64> {
        let lines = self.kind(kind).0;
        lines
            .iter()
            .filter_map(|line| line[field].as_u64())
            .collect()
    }

    /// The epochs that a source has frames of, ascending.
    pub fn epochs(&self, source: &str) -> Vec<u64> {
        let own = self.0.iter().filter(|line| line["source"] == source);
        let mut epochs: Vec<u64> = own.filter_map(|line| line["epoch"].as_u64()).collect();
        epochs.sort_unstable();
        epochs.dedup();
        epochs
    }

    /// Asserts that this run of a source has the frames `0..count`, once and in order, then one end, for this reason.
    pub fn assert_run(&self, source: &str, epoch: u64, count: u64, reason: &str) {
        let run = self.of(source, epoch);
        assert_eq!(
            run.sequences(),
            (0..count).collect::<Vec<_>>(),
            "frames of {source}/{epoch}"
        );
        let ends = run.kind("end").0;
        assert_eq!(ends.len(), 1, "ends of {source}/{epoch}: {ends:?}");
        assert_eq!(run.0.last(), ends.last(), "nothing follows an end");
        let end = &ends[0];
        let is_of = |field: &str, value: Value| assert_eq!(end[field], value, "{end}");
        is_of("reason", reason.into());
        is_of("empty", (count == 0).into());
        is_of("sequence", count.saturating_sub(1).into());
    }
}

/// What a consumer shows of a topic, up to what is committed now, unless `more` says otherwise.
pub fn consume(servers: &str, topic: &str, more: &[&str]) -> Lines {
    let dir = tempfile::tempdir().expect("a directory for the lines");
    let file = dir.path().join("lines");
    let sink = format!("jsonl:{}", file.display());
    let until_end = match more.contains(&"--until") {
        true => &[][..],
        false => &["--until", "end"],
    };
    let args = [&["--topic", topic, "--sink", &sink], until_end, more].concat();
    run_ok("consumer", servers, &args);
    Lines::read(&file)
}

/// The pictures that are in a topic's records themselves, in the order of the records.
pub fn pictures(servers: &str, topic: &str) -> Vec<(FrameId, Bytes)> {
    let seen = read_committed(servers, topic);
    let frames = seen.into_iter().filter_map(|one| match one.message {
        Kind::Frame(frame) => Some((frame.id.clone()?, frame.inline()?.clone())),
        _ => None,
    });
    frames.collect()
}
