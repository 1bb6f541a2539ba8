//! What tracked records became, on its way to Kafka: waiting for a checkpoint, covered by one, being written. Pure.

use super::batch::{Batch, Part};
use std::collections::BTreeSet;

/// Of all records that are not committed; giving waits beyond, also while no commit succeeds. Small by reference, 8 of the
/// largest otherwise: one half is written while the other one gathers.
const MOST_BYTES: usize = 64 << 20;

/// The records of one consumer that are not committed.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Assigned, as far as is known: what others have is not ours to write.
    lanes: BTreeSet<u64>,
    /// Of records given to the sinks after the last checkpoint was asked for.
    waiting: Batch,
    /// Of all records before the last checkpoint.
    covered: Batch,
    /// Of what is being written.
    writing_bytes: usize,
}

impl Backlog {
    /// A partition is assigned.
    pub fn open_lane(&mut self, lane: u64) {
        self.lanes.insert(lane);
    }

    /// Partitions are another's now.
    pub fn drop_lanes(&mut self, lanes: &[u64]) {
        self.lanes.retain(|lane| !lanes.contains(lane));
        self.waiting.retain(|lane, _| self.lanes.contains(&lane));
        self.covered.retain(|lane, _| self.lanes.contains(&lane));
    }

    /// Adds what a record became.
    pub fn push(&mut self, lane: u64, part: Part) {
        self.waiting.push(lane, part);
    }

    /// False if something has to be committed first.
    pub fn has_room(&self) -> bool {
        let gathered = self.waiting.payload_bytes() + self.covered.payload_bytes();
        gathered + self.writing_bytes < MOST_BYTES
    }

    /// A checkpoint is asked for: it covers everything so far.
    pub fn cover(&mut self) {
        self.covered.append(std::mem::take(&mut self.waiting));
    }

    /// What is to be written now; None if there is nothing. Say what is left of it before asking again.
    pub fn take(&mut self) -> Option<Batch> {
        let batch = std::mem::take(&mut self.covered);
        self.writing_bytes = batch.payload_bytes();
        (!batch.is_empty()).then_some(batch)
    }

    /// So much of what was being written is not committed: it goes first the next time.
    pub fn written(&mut self, mut rest: Batch) {
        self.writing_bytes = 0;
        rest.retain(|lane, _| self.lanes.contains(&lane));
        rest.append(std::mem::take(&mut self.covered));
        self.covered = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use pipeline::kafka::{Outgoing, TopicPartition};

    const LANE: u64 = 1;
    const RECORD_BYTES: usize = 1 << 20;

    fn part(offset: i64) -> Part {
        Part {
            tp: TopicPartition::new("t", 0),
            records: vec![Outgoing {
                topic: "out".into(),
                partition: Some(0),
                key: Bytes::new(),
                timestamp_ms: offset,
                headers: Vec::new(),
                payload: Bytes::from(vec![0; RECORD_BYTES]),
            }],
            next_offset: offset + 1,
            note: String::new(),
        }
    }

    /// Gives records from this offset on for as long as there is room; returns the offset behind them.
    fn fill(backlog: &mut Backlog, from: i64) -> i64 {
        const ENOUGH: i64 = 1000;
        let mut offset = from;
        while backlog.has_room() && offset < from + ENOUGH {
            backlog.push(LANE, part(offset));
            offset += 1;
        }
        offset
    }

    #[test]
    fn nothing_more_is_taken_while_no_commit_succeeds() {
        let mut backlog = Backlog::default();
        backlog.open_lane(LANE);
        let end = fill(&mut backlog, 0);
        assert_eq!(end, (MOST_BYTES / RECORD_BYTES) as i64);
        for _ in 0..3 {
            backlog.cover();
            assert!(!backlog.has_room(), "covered");
            let batch = backlog.take().unwrap();
            assert!(!backlog.has_room(), "being written");
            backlog.written(batch); // it failed
            assert!(!backlog.has_room(), "not written");
        }
        backlog.cover();
        assert!(backlog.take().is_some());
        backlog.written(Batch::default());
        assert!(backlog.has_room());
        assert!(fill(&mut backlog, end) > end);
    }

    #[test]
    fn lost_partitions_leave_their_room_to_others() {
        let mut backlog = Backlog::default();
        backlog.open_lane(LANE);
        fill(&mut backlog, 0);
        backlog.cover();
        let batch = backlog.take().unwrap();
        backlog.drop_lanes(&[LANE]);
        backlog.written(batch);
        assert!(backlog.has_room());
        assert!(backlog.take().is_none());
    }
}
