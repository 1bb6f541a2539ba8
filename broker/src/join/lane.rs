//! One lane of a join: what its branches have read, what left, and how far each branch is with it.

use super::key::Key;
use super::merge::{Merge, Next};
use super::message::Part;
use super::passed::{Passed, Written};
use crate::note::{BranchPosition, Note};
use pipeline::kafka::{Bookmark, LaneBounds, TopicPartition};
use pipeline::ordering::LaneId;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A record of a branch.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    pub part: Part,
    /// Behind it.
    pub next_offset: i64,
    /// What it costs to keep.
    pub bytes: usize,
    pub at: Instant,
}

/// What a branch gets back: so many records and bytes are done with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    pub records: usize,
    pub bytes: usize,
}

/// A row that is to be written.
#[derive(Debug)]
pub struct Row {
    /// Counts the rows of this lane from 0: what takes the place of an offset.
    pub number: i64,
    pub parts: Vec<Option<Part>>,
    pub bytes: usize,
    /// When its last record was read.
    pub came: Instant,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    Write(Row),
    /// Records from before the beginning, by branch.
    Skip(Vec<Freed>),
    Wait,
    /// The text says why there is no way on.
    Stuck(String),
}

#[derive(Debug)]
pub struct JoinLane {
    partition: i32,
    bounds: LaneBounds,
    branches: Vec<Branch>,
    merge: Merge<Read>,
    /// Branches that hold the others up.
    waits_for: Vec<usize>,
    /// What the merge says that it wrote without a branch, as it is kept with a row.
    passed: Arc<[(usize, Written)]>,
    /// The number of the next row.
    next: i64,
    /// Rows that are not committed, oldest first.
    uncommitted: VecDeque<Left>,
    /// How far the group is in the first branch without these.
    committed: i64,
}

#[derive(Debug)]
struct Branch {
    topic: Arc<str>,
    /// In its feed; None until it is read.
    lane: Option<LaneId>,
    /// Behind the last record read.
    position: i64,
    /// Behind the last record that left.
    left: i64,
    waiting_bytes: usize,
}

#[derive(Debug)]
struct Left {
    /// By branch, with this row.
    positions: Vec<BranchPosition>,
    /// What was written without a branch until then, by the branch's number. Hardly ever is there anything.
    passed: Arc<[(usize, Written)]>,
    freed: Vec<Freed>,
}

impl JoinLane {
    /// Of the first branch's lane; `note` is what was committed with its offset.
    pub fn new(
        topics: &[Arc<str>],
        partition: i32,
        first: LaneId,
        start: i64,
        note: &Note,
        bounds: LaneBounds,
    ) -> Self {
        let known = |topic: &Arc<str>| note.branches.get(&**topic);
        let branch = |(n, topic): (usize, &Arc<str>)| {
            let start = match n {
                0 => start,
                _ => known(topic).map_or(0, |position| position.next_offset),
            };
            Branch {
                topic: Arc::clone(topic),
                lane: (n == 0).then_some(first),
                position: start,
                left: start,
                waiting_bytes: 0,
            }
        };
        let goes_on = |(n, topic): (usize, &Arc<str>)| {
            n == 0 || known(topic).is_some_and(|position| position.is_aligned)
        };
        let mut merge = Merge::new(topics.iter().enumerate().map(goes_on));
        for (n, topic) in topics.iter().enumerate() {
            let of_this = |(of, _): &&(String, Written)| **of == **topic;
            let passed = note.passed.iter().filter(of_this);
            merge.remember(n, Passed::new(passed.map(|(_, place)| place.0.clone())));
        }
        Self {
            partition,
            bounds,
            branches: topics.iter().enumerate().map(branch).collect(),
            passed: passed_of(&merge, topics.len()),
            merge,
            waits_for: Vec::new(),
            next: 0,
            uncommitted: VecDeque::new(),
            committed: start,
        }
    }

    /// Another branch is read from here on.
    pub fn opened(&mut self, topic: &str, lane: LaneId, start: i64) {
        let branch = self
            .branches
            .iter_mut()
            .find(|branch| *branch.topic == *topic);
        if let Some(branch) = branch {
            (branch.lane, branch.position, branch.left) = (Some(lane), start, start);
        }
    }

    /// The branch that this lane of a feed belongs to.
    pub fn branch(&self, lane: LaneId) -> Option<usize> {
        let mut branches = self.branches.iter();
        branches.position(|branch| branch.lane == Some(lane))
    }

    /// The lane of a branch in its feed.
    pub fn lane_of(&self, branch: usize) -> Option<LaneId> {
        self.branches[branch].lane
    }

    /// Takes a record in.
    pub fn read(&mut self, branch: usize, record: Read) {
        let state = &mut self.branches[branch];
        state.position = record.next_offset;
        state.waiting_bytes += record.bytes;
        self.merge
            .push(branch, Key::of(&record.part.message), record);
    }

    pub fn next(&mut self) -> Step {
        let (branches, bounds) = (&self.branches, self.bounds);
        let waiting: Vec<_> = (0..branches.len()).map(|n| self.merge.waiting(n)).collect();
        let is_full = |n: usize| {
            waiting[n] >= bounds.lane_records || branches[n].waiting_bytes >= bounds.lane_bytes
        };
        match self.merge.next(is_full) {
            Next::Row(row) => {
                self.waits_for.clear();
                Step::Write(self.leave(row))
            }
            Next::Skipped(row) => Step::Skip(self.take_out(&row)),
            Next::Wait(waits_for) => {
                // Those that have nothing hold the others up only if the others have something.
                let has_any = waiting.iter().any(|records| *records > 0);
                self.waits_for = if has_any { waits_for } else { Vec::new() };
                Step::Wait
            }
            Next::Stuck(one, other) => {
                let topics: Vec<&str> = branches.iter().map(|branch| &*branch.topic).collect();
                Step::Stuck(format!(
                    "partition {} of {} cannot be joined: nothing in a whole window says whether {one} or {other} comes \
                     first. Are these topics made of the same source, by stages that began at the same place? Name such \
                     topics, or begin this join anew with another group and --from latest",
                    self.partition,
                    topics.join(", ")
                ))
            }
            Next::Crossed(key, branch) => {
                let topics: Vec<&str> = branches.iter().map(|branch| &*branch.topic).collect();
                Step::Stuck(format!(
                    "partition {} of {} cannot be joined: {} has {key} in another place than the others have it, so these \
                     topics have the same frames in different orders. Were the same topics merged by several stages? Merge \
                     them once, let all branches begin with that topic, and join what is made of it with another group",
                    self.partition,
                    topics.join(", "),
                    branches[branch].topic
                ))
            }
        }
    }

    fn take_out(&mut self, row: &[Option<Read>]) -> Vec<Freed> {
        let parts = row.iter().zip(&mut self.branches);
        parts
            .map(|(record, branch)| {
                let Some(record) = record else {
                    return Freed::default();
                };
                branch.left = record.next_offset;
                branch.waiting_bytes -= record.bytes;
                Freed {
                    records: 1,
                    bytes: record.bytes,
                }
            })
            .collect()
    }

    fn leave(&mut self, row: Vec<Option<Read>>) -> Row {
        let freed = self.take_out(&row);
        let branches = self.branches.iter().enumerate();
        let positions = branches.map(|(n, branch)| BranchPosition {
            next_offset: branch.left,
            is_aligned: self.merge.is_aligned(n),
        });
        let positions = positions.collect();
        let bytes = freed.iter().map(|freed| freed.bytes).sum();
        if row.iter().any(Option::is_none) || !self.passed.is_empty() {
            self.passed = passed_of(&self.merge, self.branches.len());
        }
        let passed = Arc::clone(&self.passed);
        self.uncommitted.push_back(Left {
            positions,
            passed,
            freed,
        });
        let number = self.next;
        self.next += 1;
        let came = row.iter().flatten().map(|record| record.at).max();
        Row {
            number,
            parts: row.into_iter().map(|record| Some(record?.part)).collect(),
            bytes,
            came: came.unwrap_or_else(Instant::now),
        }
    }

    /// A row takes more memory than its records did: it is the first branch's.
    pub fn hold(&mut self, bytes: usize) {
        if let Some(Left { freed, .. }) = self.uncommitted.back_mut() {
            freed[0].bytes += bytes;
        }
    }

    /// What to commit when the rows below this number are written: the offsets of all branches, each with the same note.
    pub fn bookmarks(&self, number: i64, revision: u64) -> Vec<Bookmark> {
        let Some(left) = self.row_before(number) else {
            return Vec::new();
        };
        let topics = || self.branches.iter().map(|branch| &branch.topic);
        let positions = topics().zip(&left.positions);
        let note = Note {
            revision,
            branches: positions
                .clone()
                .map(|(topic, position)| (topic.to_string(), *position))
                .collect(),
            passed: left
                .passed
                .iter()
                .map(|(n, place)| (self.branches[*n].topic.to_string(), place.clone()))
                .collect(),
        };
        let note = note.to_string();
        let bookmark = |(topic, position): (&Arc<str>, &BranchPosition)| Bookmark {
            tp: TopicPartition::new(Arc::clone(topic), self.partition),
            next_offset: position.next_offset,
            note: note.clone(),
        };
        positions.map(bookmark).collect()
    }

    /// The partitions whose offsets are committed.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        let partition =
            |branch: &Branch| TopicPartition::new(Arc::clone(&branch.topic), self.partition);
        self.branches.iter().map(partition).collect()
    }

    /// What the group has of these partitions, as a row's number: behind the last row of the batch that ends with `number`
    /// if that was committed; None if not. An error: it is neither, somebody else works here.
    pub fn row_of(&self, number: i64, committed: &[Option<i64>]) -> Result<Option<i64>, i64> {
        let is_at = |left: &Left| {
            let positions = left
                .positions
                .iter()
                .map(|position| Some(position.next_offset));
            positions.eq(committed.iter().copied())
        };
        if self.row_before(number).is_some_and(is_at) {
            return Ok(Some(number));
        }
        match committed.first().copied().flatten() {
            Some(first) if first > self.committed => Err(first),
            _ => Ok(None),
        }
    }

    fn row_before(&self, number: i64) -> Option<&Left> {
        let first = self.next - self.uncommitted.len() as i64;
        self.uncommitted
            .get(usize::try_from(number - 1 - first).ok()?)
    }

    /// The oldest rows are committed: what each branch gets back.
    pub fn done(&mut self, rows: usize) -> Vec<Freed> {
        let mut all = vec![Freed::default(); self.branches.len()];
        for left in self.uncommitted.drain(..rows.min(self.uncommitted.len())) {
            self.committed = left.positions[0].next_offset;
            for (all, freed) in all.iter_mut().zip(left.freed) {
                all.records += freed.records;
                all.bytes += freed.bytes;
            }
        }
        all
    }

    /// Records that wait for others.
    pub fn waiting(&self) -> usize {
        (0..self.branches.len())
            .map(|n| self.merge.waiting(n))
            .sum()
    }

    /// The topics that hold the others up.
    pub fn waits_for(&self) -> Vec<Arc<str>> {
        let topic = |n: &usize| Arc::clone(&self.branches[*n].topic);
        self.waits_for.iter().map(topic).collect()
    }

    /// Behind the last record read, of the branches but the first.
    pub fn positions(&self) -> Vec<(TopicPartition, i64)> {
        let others = self
            .branches
            .iter()
            .skip(1)
            .filter(|branch| branch.lane.is_some());
        let position = |branch: &Branch| {
            let tp = TopicPartition::new(Arc::clone(&branch.topic), self.partition);
            (tp, branch.position)
        };
        others.map(position).collect()
    }
}

/// What can be written down of what was written without a branch.
fn passed_of(merge: &Merge<Read>, branches: usize) -> Arc<[(usize, Written)]> {
    let of = |n: usize| {
        let places = merge.passed(n).places();
        let in_epoch = places.filter(|key| matches!(key, Key::At { .. }));
        in_epoch.map(move |key| (n, Written(key.clone())))
    };
    (0..branches).flat_map(of).collect()
}

#[cfg(test)]
mod tests;
