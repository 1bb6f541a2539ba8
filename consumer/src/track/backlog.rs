//! What tracked records became, on its way to Kafka: waiting for a checkpoint, covered by one, being written. Pure.

use super::batch::{Batch, Part};
use pipeline::ordering::BatchSize;
use std::collections::BTreeSet;

/// Of all records that are not committed; giving waits beyond, also while no commit succeeds. Small by reference, 8 of the
/// largest otherwise: one half is written while the other one gathers.
const MOST_BYTES: usize = 64 << 20;
/// Of one transaction: more only make the next one wait longer.
const TRANSACTION_RECORDS: usize = 1000;
const TRANSACTION_BYTES: usize = MOST_BYTES / 2;

/// The records of one consumer that are not committed.
#[derive(Debug)]
pub struct Backlog {
    /// Assigned, as far as is known: what others have is not ours to write.
    lanes: BTreeSet<u64>,
    /// Of records given to the sinks after the last checkpoint was asked for.
    waiting: Batch,
    /// Of all records before the last checkpoint.
    covered: Batch,
    /// Records and bytes of what is being written.
    writing: (usize, usize),
    /// Of the next transaction.
    size: BatchSize,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            lanes: BTreeSet::new(),
            waiting: Batch::default(),
            covered: Batch::default(),
            writing: (0, 0),
            size: BatchSize::new(TRANSACTION_RECORDS, TRANSACTION_BYTES),
        }
    }
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
        let (_, writing_bytes) = self.writing;
        self.waiting.bytes() + self.covered.bytes() + writing_bytes < MOST_BYTES
    }

    /// True if nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.covered.is_empty()
    }

    /// A checkpoint is asked for: it covers everything so far.
    pub fn cover(&mut self) {
        self.covered.append(std::mem::take(&mut self.waiting));
    }

    /// What is to be written now, in one transaction; None if there is nothing. Say what is left of it before asking again.
    pub fn take(&mut self) -> Option<Batch> {
        let batch = self.covered.split_off_first(&self.size);
        self.writing = (batch.record_count(), batch.bytes());
        (!batch.is_empty()).then_some(batch)
    }

    /// So much of what was being written is not committed: it goes first the next time.
    pub fn written(&mut self, mut rest: Batch) {
        let (records, bytes) = std::mem::take(&mut self.writing);
        match rest.is_empty() {
            true => self.size.succeeded(),
            false => self.size.failed(records, bytes),
        }
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

    /// How many records the next transaction has; it fails.
    fn fail(backlog: &mut Backlog) -> usize {
        let batch = backlog.take().unwrap();
        let count = batch.record_count();
        backlog.written(batch);
        count
    }

    /// How many records the next transaction has; it succeeds.
    fn succeed(backlog: &mut Backlog) -> usize {
        let count = backlog.take().map_or(0, |batch| batch.record_count());
        backlog.written(Batch::default());
        count
    }

    #[test]
    fn nothing_more_is_taken_while_no_commit_succeeds() {
        let mut backlog = Backlog::default();
        backlog.open_lane(LANE);
        let end = fill(&mut backlog, 0);
        assert!(end > 1 && end <= (MOST_BYTES / RECORD_BYTES) as i64);
        for _ in 0..3 {
            backlog.cover();
            assert!(!backlog.has_room(), "covered");
            let batch = backlog.take().unwrap();
            assert!(!backlog.has_room(), "being written");
            backlog.written(batch); // it failed
            assert!(!backlog.has_room(), "not written");
        }
        backlog.cover();
        assert!(succeed(&mut backlog) > 0);
        assert!(backlog.has_room());
        assert!(fill(&mut backlog, end) > end);
    }

    /// On a slow link a transaction may not fit into its time. As it was, it never would.
    #[test]
    fn what_fails_is_written_in_smaller_transactions_of_the_same_round() {
        let mut backlog = Backlog::default();
        backlog.open_lane(LANE);
        let mut left = fill(&mut backlog, 0) as usize;
        backlog.cover();
        let all = fail(&mut backlog);
        assert_eq!([fail(&mut backlog), fail(&mut backlog)], [all / 2, all / 4]);
        let mut offset = 0;
        let mut count = all / 8;
        while left > 0 {
            let batch = backlog.take().unwrap();
            let first = batch.records().next().map(|record| record.timestamp_ms);
            assert_eq!(
                (first, batch.record_count()),
                (Some(offset), count.min(left))
            );
            backlog.written(Batch::default());
            offset += batch.record_count() as i64;
            left -= batch.record_count();
            count *= 2;
        }
        assert_eq!(succeed(&mut backlog), 0, "the round is over");
    }

    #[test]
    fn what_has_no_records_takes_room_too() {
        let mut backlog = Backlog::default();
        backlog.open_lane(LANE);
        let mut offset = 0;
        while backlog.has_room() {
            let note = "x".repeat(4096);
            let records = Vec::new();
            backlog.push(
                LANE,
                Part {
                    note,
                    records,
                    ..part(offset)
                },
            );
            offset += 1;
            assert!((offset as usize) < MOST_BYTES / 4096);
        }
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
