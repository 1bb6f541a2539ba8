//! The words of the delivery protocol: what can happen, and what is then to be done.

use std::time::Duration;

/// One assignment of one partition (see [`crate::kafka::Lane`]).
pub type LaneId = u64;

/// What happened. Times are durations since any fixed moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<O> {
    /// A lane is ours; `start` is the first offset that may arrive.
    Assigned {
        /// The lane.
        lane: LaneId,
        /// The first offset that may arrive.
        start: i64,
    },
    /// A record was read. Its work may start when this event has been handled.
    Arrived {
        /// The lane.
        lane: LaneId,
        /// The record's offset.
        offset: i64,
        /// What it costs to keep, given back by [`Action::Done`].
        bytes: usize,
    },
    /// A slot's work is done.
    Completed {
        /// The lane.
        lane: LaneId,
        /// The record's offset.
        offset: i64,
        /// What is to be written in its place.
        output: O,
    },
    /// Time has passed (see [`Delivery::next_deadline`](super::Delivery::next_deadline)).
    Tick,
    /// All of the batch is visible and its offsets are committed.
    Committed,
    /// Nothing of the batch will ever be visible.
    Aborted,
    /// Nobody knows.
    Unknown,
    /// The writer is new, whatever the old one left is decided, and this is what the group has committed.
    Recovered {
        /// By lane; None if the group has never committed there.
        committed: Vec<(LaneId, Option<i64>)>,
    },
    /// The lanes are to move to another member: finish what is under way, take no more.
    Revoking {
        /// The lanes.
        lanes: Vec<LaneId>,
    },
    /// The time for finishing is over: commit the done prefix, drop the rest.
    DrainExpired {
        /// The lanes.
        lanes: Vec<LaneId>,
    },
    /// The lanes are another member's already.
    Lost {
        /// The lanes.
        lanes: Vec<LaneId>,
    },
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<O> {
    /// Write the outputs and commit the offsets, all or nothing; answer Committed, Aborted or Unknown.
    Write(Batch<O>),
    /// Replace the writer, then read what the group has committed for these lanes; answer Recovered.
    Recover {
        /// The lanes of the undecided batch that are still ours.
        lanes: Vec<LaneId>,
    },
    /// A finished slot of the lane takes more memory than its record did.
    Hold {
        /// The lane.
        lane: LaneId,
        /// How much more.
        bytes: usize,
    },
    /// The lane may take so many records more.
    Release {
        /// The lane.
        lane: LaneId,
        /// How many.
        slots: usize,
        /// Their bytes; 0 as long as their outputs must be kept.
        bytes: usize,
    },
    /// Records of the lane are done for good.
    Done {
        /// The lane.
        lane: LaneId,
        /// How many. Their slots were released when their work was done.
        records: usize,
        /// Their bytes, as given on arrival and by [`Action::Hold`].
        bytes: usize,
    },
    /// Nothing of the lane will be written any more: it may move.
    Gone {
        /// The lane.
        lane: LaneId,
    },
    /// The group's progress in a lane of ours is not what we wrote: the lane is another's by now, and nobody has told us
    /// yet (or another instance works under the same name). The lane is given up.
    Conflict {
        /// The lane.
        lane: LaneId,
        /// What we expected at most.
        written: i64,
        /// What the group has.
        committed: i64,
    },
}

/// Outputs and offsets that become visible together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<O> {
    /// Per lane in its order.
    pub outputs: Vec<O>,
    /// The lanes in it.
    pub lanes: Vec<BatchLane>,
}

/// One lane's part of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLane {
    /// The lane.
    pub lane: LaneId,
    /// The offset of the first record in it.
    pub first_offset: i64,
    /// The offset to commit: behind the last record in it.
    pub next_offset: i64,
}

/// When a batch is written: at the first of these bounds. After a failure those of records and bytes are less for a while.
#[derive(Debug, Clone, Copy)]
pub struct CommitPolicy {
    /// How long a ready output may wait for company.
    pub linger: Duration,
    /// Records of a batch.
    pub max_records: usize,
    /// Bytes of a batch, by the weights of its outputs.
    pub max_bytes: usize,
    /// Of these, at most so many of one lane, unless a single output has more: what fits into one request, because each
    /// further request to the same partition waits for the answer to the one before.
    pub max_lane_bytes: usize,
}

/// What an output costs to write.
pub trait Weight {
    /// Bytes.
    fn bytes(&self) -> usize;
}
