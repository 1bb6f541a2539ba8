//! A sink's own memory of what it has safely on disk, beside its output: `*.framelane-progress.json`.
//!
//! Written anew (temporary name, fsync, rename) at each checkpoint, before the group's offsets are committed. So after
//! kill -9 at any instant output, this file and the group's offsets are never further apart than one checkpoint, and
//! this file says how the output is cut back to fit it.

use crate::lanes::LaneProgress;
use crate::reorder::ReorderPosition;
use pipeline::kafka::TopicPartition;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What a sink has on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// By partition.
    pub lanes: HashMap<TopicPartition, LaneProgress>,
    /// Where the reorder window goes on.
    pub reorder: Vec<ReorderPosition>,
}

impl Progress {
    /// True if the record is in the output already.
    pub fn is_done(&self, tp: &TopicPartition, offset: i64) -> bool {
        self.lanes.get(tp).is_some_and(|lane| lane.is_done(offset))
    }

    /// Takes over what newer progress says of its partitions; others stay.
    pub fn advance(&mut self, newer: &Self) {
        for (tp, progress) in &newer.lanes {
            let lane = self.lanes.entry(tp.clone()).or_default();
            *lane = lane.union(progress);
        }
        for position in &newer.reorder {
            let is_same = |known: &&mut ReorderPosition| known.source == position.source;
            match self.reorder.iter_mut().find(is_same) {
                Some(known) => *known = position.max(known).clone(),
                None => self.reorder.push(position.clone()),
            }
        }
    }

    /// What all of them have. A partition that one of them does not know is in none.
    pub fn common<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = all.into_iter();
        let Some(mut common) = all.next().cloned() else {
            return Self::default();
        };
        for other in all {
            common.lanes = std::mem::take(&mut common.lanes)
                .into_iter()
                .filter_map(|(tp, lane)| {
                    let both = lane.intersection(other.lanes.get(&tp)?);
                    Some((tp, both))
                })
                .collect();
            common.reorder.retain_mut(|position| {
                let mut theirs = other.reorder.iter();
                let theirs = theirs.find(|known| known.source == position.source);
                if let Some(theirs) = theirs {
                    *position = theirs.min(position).clone();
                }
                theirs.is_some()
            });
        }
        common
    }
}

/// The file.
#[derive(Debug)]
pub struct ProgressFile {
    path: PathBuf,
    group: String,
}

/// What is in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Saved {
    /// What the sink has.
    pub progress: Progress,
    /// How much of the output belongs to it: bytes, or the number of the next file. See the sink.
    pub mark: u64,
}

/// Why a progress file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgressError {
    /// The disk or the rights.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not ours, or damaged by somebody.
    #[error("it is no progress file of this version ({0})")]
    Format(#[from] serde_json::Error),
    /// Another group writes (or wrote) this output.
    #[error("it belongs to --group {0}")]
    OtherGroup(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// Of this format.
    version: u32,
    group: String,
    mark: u64,
    lanes: Vec<LaneEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reorder: Vec<ReorderPosition>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaneEntry {
    topic: String,
    partition: i32,
    next: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ahead: Vec<i64>,
}

const VERSION: u32 = 1;

impl ProgressFile {
    /// The file of a group at this path; it need not exist.
    pub fn new(path: PathBuf, group: &str) -> Self {
        Self {
            path,
            group: group.to_owned(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was saved last; None if nothing was.
    pub fn load(&self) -> Result<Option<Saved>, ProgressError> {
        let text = match fs::read(&self.path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let document: Document = serde_json::from_slice(&text)?;
        if document.version != VERSION {
            let cause = format!("version {}, expected {VERSION}", document.version);
            return Err(ProgressError::Io(io::Error::other(cause)));
        }
        if document.group != self.group {
            return Err(ProgressError::OtherGroup(document.group));
        }
        let lanes = document.lanes.into_iter().map(|entry| {
            let progress = LaneProgress {
                next: entry.next,
                ahead: entry.ahead.into_iter().collect(),
            };
            (TopicPartition::new(entry.topic, entry.partition), progress)
        });
        Ok(Some(Saved {
            progress: Progress {
                lanes: lanes.collect(),
                reorder: document.reorder,
            },
            mark: document.mark,
        }))
    }

    /// Replaces the file; when this returns, it will be found after a crash of the machine too.
    pub fn save(&self, progress: &Progress, mark: u64) -> io::Result<()> {
        let mut lanes: Vec<_> = progress
            .lanes
            .iter()
            .map(|(tp, lane)| LaneEntry {
                topic: tp.topic.to_string(),
                partition: tp.partition,
                next: lane.next,
                ahead: lane.ahead.iter().copied().collect(),
            })
            .collect();
        lanes.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let document = Document {
            version: VERSION,
            group: self.group.clone(),
            mark,
            lanes,
            reorder: progress.reorder.clone(),
        };
        let text = serde_json::to_vec_pretty(&document)?;
        let temporary = self.path.with_extension("json.tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        sync_folder_of(&self.path)
    }
}

/// Makes the names in the file's folder as durable as the files.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(next: i64) -> Progress {
        let lane = LaneProgress {
            next,
            ahead: [next + 2].into(),
        };
        Progress {
            lanes: HashMap::from([(TopicPartition::new("t", 1), lane)]),
            reorder: vec![ReorderPosition {
                source: "s".to_owned(),
                epoch: 1,
                next: next as u64,
                ended: false,
            }],
        }
    }

    #[test]
    fn what_is_saved_is_found_again_and_by_its_group_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.framelane-progress.json");
        let file = ProgressFile::new(path.clone(), "g");
        assert_eq!(file.load().unwrap(), None);
        file.save(&progress(1), 10).unwrap();
        file.save(&progress(5), 20).unwrap();
        let saved = file.load().unwrap().unwrap();
        assert_eq!((saved.progress, saved.mark), (progress(5), 20));
        let other = ProgressFile::new(path.clone(), "h").load();
        assert!(matches!(other, Err(ProgressError::OtherGroup(group)) if group == "g"));
        fs::write(&path, "{").unwrap();
        assert!(matches!(file.load(), Err(ProgressError::Format(_))));
    }

    #[test]
    fn common_progress_is_the_least_and_knows_only_what_all_know() {
        let common = Progress::common([&progress(5), &progress(3)]);
        assert_eq!(common.lanes[&TopicPartition::new("t", 1)].next, 3);
        assert_eq!(common.reorder[0].next, 3);
        let none = Progress::common([&progress(5), &Progress::default()]);
        assert_eq!(none, Progress::default());
    }

    #[test]
    fn progress_never_goes_back() {
        let mut mine = progress(5);
        mine.advance(&progress(3));
        let tp = TopicPartition::new("t", 1);
        assert!(mine.is_done(&tp, 4) && mine.is_done(&tp, 7));
        assert_eq!(mine.reorder[0].next, 5);
    }
}
