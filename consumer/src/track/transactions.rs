//! Batches on their way: filled while the one before is written, written when the sinks have the same records safe.

use super::backlog::Backlog;
use super::batch::{Batch, Part};
use super::ledger::{Ledger, LedgerFault};
use pipeline::kafka::{FeedControl, GroupStamp, TopicPartition};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// A transaction under way; in the end, what came of it.
pub type Writing = JoinHandle<Written>;

/// What came of a transaction.
#[derive(Debug)]
pub struct Written {
    ledger: Ledger,
    /// Where the group is if all of it is committed.
    behind: Vec<(TopicPartition, i64)>,
    /// Not committed.
    rest: Batch,
    result: Result<(), LedgerFault>,
}

/// All batches of one consumer.
#[derive(Debug)]
pub struct Transactions {
    control: FeedControl,
    /// None while it writes.
    ledger: Option<Ledger>,
    backlog: Backlog,
    /// Who we were when the last checkpoint was asked for, and its partitions were ours: if they are lost before the
    /// commit, Kafka refuses it.
    stamp: Option<Arc<GroupStamp>>,
}

impl Transactions {
    /// Nothing is written yet.
    pub fn new(ledger: Ledger, control: FeedControl) -> Self {
        Self {
            control,
            ledger: Some(ledger),
            backlog: Backlog::default(),
            stamp: None,
        }
    }

    /// A partition is assigned.
    pub fn open_lane(&mut self, lane: u64) {
        self.backlog.open_lane(lane);
    }

    /// Partitions are another's now.
    pub fn drop_lanes(&mut self, lanes: &[u64]) {
        self.backlog.drop_lanes(lanes);
    }

    /// Adds what a record became.
    pub fn push(&mut self, lane: u64, part: Part) {
        self.backlog.push(lane, part);
    }

    /// False if a transaction has to succeed first.
    pub fn has_room(&self) -> bool {
        self.backlog.has_room()
    }

    /// True if nothing waits to be written. What is being written is not known here.
    pub fn is_empty(&self) -> bool {
        self.backlog.is_empty()
    }

    /// A checkpoint is asked for: it covers everything so far.
    pub fn cover(&mut self) {
        self.backlog.cover();
        self.stamp = self.control.group_stamp().map(Arc::new);
    }

    /// Writes what the checkpoint covers, or as much of it as goes into one transaction; None if there is nothing (left), or
    /// a transaction is under way.
    pub fn write(&mut self) -> Option<Writing> {
        let mut ledger = self.ledger.take()?;
        let Some(mut batch) = self.backlog.take() else {
            self.ledger = Some(ledger);
            return None;
        };
        let stamp = self.stamp.clone();
        let control = self.control.clone();
        Some(tokio::task::spawn_blocking(move || {
            let offsets = batch.offsets().into_iter();
            let behind = offsets.map(|one| (one.tp, one.next_offset)).collect();
            let result = ledger.commit(&mut batch, stamp.as_deref(), &control);
            Written {
                ledger,
                behind,
                rest: batch,
                result,
            }
        }))
    }

    /// A transaction has ended: what is left of it is written with the next one. Returns where the group is now.
    pub fn written(&mut self, written: Written) -> Result<Vec<(TopicPartition, i64)>, LedgerFault> {
        let Written {
            ledger,
            behind,
            rest,
            result,
        } = written;
        self.ledger = Some(ledger);
        self.backlog.written(rest);
        result.map(|()| behind)
    }
}
