//! Batches on their way: filled while the one before is written, written when the sinks have the same records safe.

use super::batch::{Batch, Part};
use super::ledger::{Ledger, LedgerFault};
use pipeline::kafka::{FeedControl, GroupStamp};
use std::collections::BTreeSet;
use tokio::task::JoinHandle;

/// Records that wait for a transaction; giving waits beyond. Small by reference, 4 of the largest otherwise.
const MOST_WAITING_BYTES: usize = 32 << 20;

/// A transaction under way; in the end, what came of it.
pub type Writing = JoinHandle<Written>;

/// What came of a transaction.
#[derive(Debug)]
pub struct Written {
    ledger: Ledger,
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
    /// Assigned, as far as is known: what others have is not ours to write.
    lanes: BTreeSet<u64>,
    /// Of records given to the sinks after the last checkpoint was asked for.
    waiting: Batch,
    /// Of all records before the last checkpoint.
    covered: Batch,
    /// Who we were when that checkpoint was asked for, and these partitions were ours: if they are lost before the
    /// commit, Kafka refuses it.
    stamp: Option<GroupStamp>,
}

impl Transactions {
    /// Nothing is written yet.
    pub fn new(ledger: Ledger, control: FeedControl) -> Self {
        Self {
            control,
            ledger: Some(ledger),
            lanes: BTreeSet::new(),
            waiting: Batch::default(),
            covered: Batch::default(),
            stamp: None,
        }
    }

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

    /// False if a transaction has to end first.
    pub fn has_room(&self) -> bool {
        self.waiting.payload_bytes() < MOST_WAITING_BYTES
    }

    /// A checkpoint is asked for: it covers everything so far.
    pub fn cover(&mut self) {
        self.covered.append(std::mem::take(&mut self.waiting));
        self.stamp = self.control.group_stamp();
    }

    /// Writes what the checkpoint covers; None if there is nothing, or a transaction is under way.
    pub fn write(&mut self) -> Option<Writing> {
        if self.covered.is_empty() {
            return None;
        }
        let mut ledger = self.ledger.take()?;
        let mut batch = std::mem::take(&mut self.covered);
        let stamp = self.stamp.take();
        let control = self.control.clone();
        Some(tokio::task::spawn_blocking(move || {
            let result = ledger.commit(&mut batch, stamp.as_ref(), &control);
            Written {
                ledger,
                rest: batch,
                result,
            }
        }))
    }

    /// A transaction has ended: what is left of it is written with the next one.
    pub fn written(&mut self, written: Written) -> Result<(), LedgerFault> {
        let Written {
            ledger,
            mut rest,
            result,
        } = written;
        self.ledger = Some(ledger);
        rest.retain(|lane, _| self.lanes.contains(&lane));
        rest.append(std::mem::take(&mut self.covered));
        self.covered = rest;
        result
    }
}
