//! All lanes of one broker instance and the one batch that may be on its way to Kafka.
//!
//! One batch at a time: a transactional producer has one transaction. While it commits, calls go on and the next batch
//! grows, so batches are small when there is little to do and large under load, without a setting. After one that failed
//! they are smaller for a while (see [`BatchSize`]).

use super::{
    Action, Batch, BatchLane, BatchSize, CommitPolicy, Completion, Event, LaneId, Weight, Window,
};
use std::collections::BTreeMap;
use std::time::Duration;

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
        }
        self.leave_to_the_next(lane);
    }

    /// A lane whose time is over waits for nothing: the next owner does what is not committed, and learns from Kafka what
    /// is. Its partition moves only then, and with a client that Kafka does not answer we would never learn it.
    fn leave_to_the_next(&mut self, lane: LaneId) {
        if let Some(state) = self.lanes.get_mut(&lane)
            && state.stage == Stage::Closing
        {
            state.window = Window::new(i64::MAX);
        }
    }

    fn unknown(&mut self, actions: &mut Vec<Action<O>>) {
        if let Writing::Batch(parts) = std::mem::replace(&mut self.writing, Writing::Nothing) {
            for part in &parts {
                self.leave_to_the_next(part.lane);
            }
            let waits = |part: &&BatchLane| {
                let state = self.lanes.get(&part.lane);
                state.is_some_and(|state| state.stage != Stage::Closing)
            };
            let lanes = parts.iter().filter(waits).map(|part| part.lane).collect();
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
            }
            if undecided(&self.writing, *lane) {
                self.leave_to_the_next(*lane);
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

#[cfg(test)]
mod tests {
    use super::*;

    impl Weight for u8 {
        fn bytes(&self) -> usize {
            1
        }
    }

    #[test]
    fn a_lane_whose_time_is_over_moves_although_it_is_not_known_how_its_commit_ended() {
        let mut delivery = Delivery::new(CommitPolicy {
            linger: Duration::ZERO,
            max_records: 10,
            max_bytes: 10,
            max_lane_bytes: 10,
        });
        let mut handle = |event| delivery.handle(event, Duration::ZERO);
        let lane = 1;
        let lanes = vec![lane];
        handle(Event::Assigned { lane, start: 0 });
        handle(Event::Arrived {
            lane,
            offset: 0,
            bytes: 1,
        });
        let written = handle(Event::Completed {
            lane,
            offset: 0,
            output: 7,
        });
        assert!(matches!(written.last(), Some(Action::Write(_))));
        handle(Event::Revoking {
            lanes: lanes.clone(),
        });
        assert_eq!(handle(Event::DrainExpired { lanes }), []);
        let nobody = Action::Recover { lanes: vec![] };
        assert_eq!(handle(Event::Unknown), [nobody, Action::Gone { lane }]);
        assert_eq!(handle(Event::Recovered { committed: vec![] }), []);
    }
}
