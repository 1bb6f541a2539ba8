//! All lanes of one broker instance and the one batch that may be on its way to Kafka.
//!
//! One batch at a time: a transactional producer has one transaction. While it commits, calls go on and the next batch
//! grows, so batches are small when there is little to do and large under load, without a setting. After one that failed
//! they are smaller for a while (see [`BatchSize`]).

use super::{BatchSize, Completion, Window};
use std::collections::BTreeMap;
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
    /// Time has passed (see [`Delivery::next_deadline`]).
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

#[derive(Debug)]
struct LaneState<O> {
    window: Window<O>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Live,
    /// Finishing what is under way.
    Draining,
    /// Committing the done prefix, nothing else; a failed commit is not tried again.
    Closing,
}

#[derive(Debug)]
enum Writing {
    Nothing,
    Batch(Vec<BatchLane>),
    Recovering(Vec<BatchLane>),
}

/// The delivery protocol of one instance. See the module's picture.
#[derive(Debug)]
pub struct Delivery<O> {
    policy: CommitPolicy,
    /// Of the next batch.
    size: BatchSize,
    lanes: BTreeMap<LaneId, LaneState<O>>,
    writing: Writing,
    /// Records and bytes of the last batch.
    written: (usize, usize),
    /// When the oldest output that is ready and not being written became so.
    ready_since: Option<Duration>,
    /// The lane that is first in the next batch: none can crowd the others out.
    turn: LaneId,
}

impl<O: Clone + Weight> Delivery<O> {
    /// No lanes, nothing under way.
    pub fn new(policy: CommitPolicy) -> Self {
        Self {
            policy,
            size: BatchSize::new(policy.max_records, policy.max_bytes),
            lanes: BTreeMap::new(),
            writing: Writing::Nothing,
            written: (0, 0),
            ready_since: None,
            turn: 0,
        }
    }

    /// Takes in what happened and says what to do. Events of lanes that are not ours (any more) change nothing.
    pub fn handle(&mut self, event: Event<O>, now: Duration) -> Vec<Action<O>> {
        let mut actions = Vec::new();
        match event {
            Event::Assigned { lane, start } => {
                let state = LaneState {
                    window: Window::new(start),
                    stage: Stage::Live,
                };
                self.lanes.insert(lane, state);
            }
            Event::Arrived {
                lane,
                offset,
                bytes,
            } => self.arrived(lane, offset, bytes, &mut actions),
            Event::Completed {
                lane,
                offset,
                output,
            } => self.completed(lane, offset, output, &mut actions),
            Event::Tick => {}
            Event::Committed => {
                self.size.succeeded();
                self.committed(&mut actions);
            }
            Event::Aborted => {
                self.size.failed(self.written.0, self.written.1);
                self.aborted();
            }
            Event::Unknown => {
                self.size.failed(self.written.0, self.written.1);
                self.unknown(&mut actions);
            }
            Event::Recovered { committed } => self.recovered(&committed, &mut actions),
            Event::Revoking { lanes } => self.set_stage(&lanes, Stage::Draining),
            Event::DrainExpired { lanes } => self.set_stage(&lanes, Stage::Closing),
            Event::Lost { lanes } => {
                for lane in lanes {
                    if self.lanes.remove(&lane).is_some() {
                        actions.push(Action::Gone { lane });
                    }
                }
            }
        }
        self.let_go(&mut actions);
        self.write(now, &mut actions);
        actions
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Duration> {
        match self.writing {
            Writing::Nothing => self.ready_since.map(|since| since + self.policy.linger),
            _ => None,
        }
    }

    /// Slots taken in a lane.
    pub fn slots(&self, lane: LaneId) -> usize {
        self.lanes.get(&lane).map_or(0, |state| state.window.len())
    }

    /// Per lane, the oldest record that is not committed, and whether its work is done.
    pub fn fronts(&self) -> impl Iterator<Item = (LaneId, i64, bool)> {
        self.lanes.iter().filter_map(|(lane, state)| {
            let (offset, is_done) = state.window.front()?;
            Some((*lane, offset, is_done))
        })
    }

    fn arrived(&mut self, lane: LaneId, offset: i64, bytes: usize, actions: &mut Vec<Action<O>>) {
        let Some(state) = self.lanes.get_mut(&lane) else {
            return;
        };
        if !state.window.arrive(offset, bytes) {
            // Seen already or no longer wanted; its memory is free at once.
            actions.push(Action::Release {
                lane,
                slots: 1,
                bytes,
            });
        }
    }

    fn completed(&mut self, lane: LaneId, offset: i64, output: O, actions: &mut Vec<Action<O>>) {
        let Some(state) = self.lanes.get_mut(&lane) else {
            return;
        };
        let bytes = output.bytes();
        // A stale completion is the late answer to a call whose slot is filled: the first answer counts.
        let Completion::Accepted { more, free } = state.window.complete(offset, output, bytes)
        else {
            return;
        };
        if more > 0 {
            actions.push(Action::Hold { lane, bytes: more });
        }
        if free > 0 {
            actions.push(Action::Release {
                lane,
                slots: free,
                bytes: 0,
            });
        }
    }

    fn committed(&mut self, actions: &mut Vec<Action<O>>) {
        if let Writing::Batch(lanes) = std::mem::replace(&mut self.writing, Writing::Nothing) {
            for part in lanes {
                self.commit_lane(part.lane, actions);
            }
        }
    }

    fn commit_lane(&mut self, lane: LaneId, actions: &mut Vec<Action<O>>) {
        if let Some(state) = self.lanes.get_mut(&lane) {
            let (records, bytes) = state.window.commit();
            actions.push(Action::Done {
                lane,
                records,
                bytes,
            });
        }
    }

    fn aborted(&mut self) {
        if let Writing::Batch(lanes) = std::mem::replace(&mut self.writing, Writing::Nothing) {
            for part in lanes {
                self.rewind_lane(part.lane);
            }
        }
    }

    fn rewind_lane(&mut self, lane: LaneId) {
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.window.rewind();
            if state.stage == Stage::Closing {
                // Its time is over: the next owner does it from the committed offset on.
                state.window = Window::new(i64::MAX);
            }
        }
    }

    fn unknown(&mut self, actions: &mut Vec<Action<O>>) {
        if let Writing::Batch(parts) = std::mem::replace(&mut self.writing, Writing::Nothing) {
            let ours = |part: &&BatchLane| self.lanes.contains_key(&part.lane);
            let lanes = parts.iter().filter(ours).map(|part| part.lane).collect();
            self.writing = Writing::Recovering(parts);
            actions.push(Action::Recover { lanes });
        }
    }

    /// A batch is all or nothing, so each lane's committed offset is either behind its part or at (or before) its
    /// beginning.
    fn recovered(&mut self, committed: &[(LaneId, Option<i64>)], actions: &mut Vec<Action<O>>) {
        let Writing::Recovering(parts) = std::mem::replace(&mut self.writing, Writing::Nothing)
        else {
            return;
        };
        for part in parts {
            let group = committed
                .iter()
                .find(|(lane, _)| *lane == part.lane)
                .and_then(|(_, offset)| *offset);
            match group {
                Some(offset) if offset == part.next_offset => {
                    self.commit_lane(part.lane, actions);
                }
                Some(offset) if offset > part.first_offset => {
                    if self.lanes.remove(&part.lane).is_some() {
                        actions.push(Action::Conflict {
                            lane: part.lane,
                            written: part.next_offset,
                            committed: offset,
                        });
                        actions.push(Action::Gone { lane: part.lane });
                    }
                }
                _ => self.rewind_lane(part.lane),
            }
        }
    }

    fn set_stage(&mut self, lanes: &[LaneId], stage: Stage) {
        for lane in lanes {
            if let Some(state) = self.lanes.get_mut(lane) {
                state.stage = stage;
                if stage == Stage::Closing {
                    state.window.truncate();
                }
                if stage == Stage::Closing && undecided(&self.writing, *lane) {
                    // The next owner learns from Kafka how it was decided; it must not wait for us to learn it too.
                    state.window = Window::new(i64::MAX);
                }
            }
        }
    }

    /// Lanes that are to move and have nothing left to write may move.
    fn let_go(&mut self, actions: &mut Vec<Action<O>>) {
        self.lanes.retain(|lane, state| {
            let done = state.stage != Stage::Live && state.window.is_empty();
            if done {
                actions.push(Action::Gone { lane: *lane });
            }
            !done
        });
    }

    fn write(&mut self, now: Duration, actions: &mut Vec<Action<O>>) {
        if !matches!(self.writing, Writing::Nothing) {
            return; // what becomes ready now waits at least until then: its time is counted from there
        }
        let Some((records, bytes, leaving)) = self.ready() else {
            self.ready_since = None;
            return;
        };
        let since = *self.ready_since.get_or_insert(now);
        let due = leaving || self.size.is_full(records, bytes) || now >= since + self.policy.linger;
        if due {
            let batch = self.take_batch();
            self.ready_since = None;
            self.writing = Writing::Batch(batch.lanes.clone());
            actions.push(Action::Write(batch));
        }
    }

    /// Records and bytes that are ready, and whether some of them belong to a lane that is to move.
    fn ready(&self) -> Option<(usize, usize, bool)> {
        let mut total = (0, 0, false);
        for state in self.lanes.values() {
            for (_, output) in state.window.ready() {
                total.0 += 1;
                total.1 += output.bytes();
                total.2 |= state.stage != Stage::Live;
                if self.size.is_full(total.0, total.1) {
                    return Some(total); // enough to know
                }
            }
        }
        (total.0 > 0).then_some(total)
    }

    fn take_batch(&mut self) -> Batch<O> {
        let mut batch = Batch {
            outputs: Vec::new(),
            lanes: Vec::new(),
        };
        let mut bytes = 0;
        let turn = self.turn;
        let order: Vec<LaneId> = self
            .lanes
            .range(turn..)
            .chain(self.lanes.range(..turn))
            .map(|(lane, _)| *lane)
            .collect();
        for lane in order {
            let Some(state) = self.lanes.get_mut(&lane) else {
                continue;
            };
            let before = batch.outputs.len();
            let mut lane_bytes = 0;
            let mut ends = None;
            for (offset, output) in state.window.ready() {
                lane_bytes += output.bytes();
                if self.size.is_full(batch.outputs.len(), bytes)
                    || (ends.is_some() && lane_bytes > self.policy.max_lane_bytes)
                {
                    break;
                }
                bytes += output.bytes();
                batch.outputs.push(output.clone());
                ends = Some((ends.map_or(offset, |(first, _)| first), offset + 1));
            }
            if let Some((first_offset, next_offset)) = ends {
                state.window.emit(batch.outputs.len() - before);
                batch.lanes.push(BatchLane {
                    lane,
                    first_offset,
                    next_offset,
                });
                self.turn = lane + 1;
            }
        }
        self.written = (batch.outputs.len(), bytes);
        batch
    }
}

fn undecided(writing: &Writing, lane: LaneId) -> bool {
    matches!(writing, Writing::Recovering(parts) if parts.iter().any(|part| part.lane == lane))
}

/// What an output costs to write.
pub trait Weight {
    /// Bytes.
    fn bytes(&self) -> usize;
}
