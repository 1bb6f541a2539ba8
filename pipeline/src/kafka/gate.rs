//! Back-pressure: a partition is read only while its lane and the whole service have room.
//!
//! Not reading (rather than pausing) keeps what the client has prefetched.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much may be taken from Kafka and not yet be released.
#[derive(Debug, Clone, Copy)]
pub struct LaneBounds {
    /// Records of one lane.
    pub lane_records: usize,
    /// Bytes of one lane.
    pub lane_bytes: usize,
    /// Bytes of all lanes together.
    pub total_bytes: usize,
}

#[derive(Debug, Default)]
struct Held {
    records: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    total_bytes: usize,
    /// By lane id; a lane that is not here is closed.
    lanes: HashMap<u64, Held>,
}

#[derive(Debug)]
pub(super) struct Gate {
    bounds: LaneBounds,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    Open,
    Full,
    Closed,
}

impl Gate {
    pub(super) fn new(bounds: LaneBounds) -> Self {
        Self {
            bounds,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(super) fn open(&self, lane: u64) {
        self.state().lanes.insert(lane, Held::default());
    }

    pub(super) fn close(&self, lane: u64) {
        let mut state = self.state();
        if let Some(held) = state.lanes.remove(&lane) {
            state.total_bytes -= held.bytes;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until the lane may take one more record, is closed, or the time is over.
    pub(super) fn wait_for_room(&self, lane: u64, at_most: Duration) -> Room {
        let has_no_room = |state: &mut State| self.room(state, lane) == Room::Full;
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), at_most, has_no_room)
            .unwrap_or_else(PoisonError::into_inner);
        self.room(&state, lane)
    }

    /// A lane that holds nothing always gets one record: no lane can starve another for ever, and a record larger
    /// than every bound still passes, alone.
    fn room(&self, state: &State, lane: u64) -> Room {
        let Some(held) = state.lanes.get(&lane) else {
            return Room::Closed;
        };
        let within = held.records < self.bounds.lane_records
            && held.bytes < self.bounds.lane_bytes
            && state.total_bytes < self.bounds.total_bytes;
        // Bytes without records are outputs that wait for their commit: they count, and they go by themselves.
        let holds_nothing = held.records == 0 && held.bytes == 0;
        if holds_nothing || within {
            Room::Open
        } else {
            Room::Full
        }
    }

    pub(super) fn take(&self, lane: u64, bytes: usize) {
        let mut state = self.state();
        if let Some(held) = state.lanes.get_mut(&lane) {
            held.records += 1;
            held.bytes += bytes;
            state.total_bytes += bytes;
        }
    }

    pub(super) fn hold(&self, lane: u64, bytes: usize) {
        let mut state = self.state();
        if let Some(held) = state.lanes.get_mut(&lane) {
            held.bytes += bytes;
            state.total_bytes += bytes;
        }
    }

    pub(super) fn release(&self, lane: u64, records: usize, bytes: usize) {
        let mut state = self.state();
        if let Some(held) = state.lanes.get_mut(&lane) {
            held.records -= records;
            held.bytes -= bytes;
            state.total_bytes -= bytes;
        }
        drop(state);
        self.changed.notify_all();
    }

    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        self.state().total_bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every update is complete before the lock is released, so a panic elsewhere leaves it consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn gate() -> Gate {
        let gate = Gate::new(LaneBounds {
            lane_records: 2,
            lane_bytes: 100,
            total_bytes: 150,
        });
        gate.open(1);
        gate.open(2);
        gate
    }

    #[test]
    fn a_lane_is_bounded_by_records_and_by_bytes() {
        let gate = gate();
        gate.take(1, 10);
        assert_eq!(gate.wait_for_room(1, NOW), Room::Open);
        gate.take(1, 10);
        assert_eq!(gate.wait_for_room(1, NOW), Room::Full);
        gate.release(1, 1, 10);
        assert_eq!(gate.wait_for_room(1, NOW), Room::Open);
        gate.take(2, 100);
        assert_eq!(gate.wait_for_room(2, NOW), Room::Full);
    }

    #[test]
    fn an_empty_lane_gets_one_record_even_when_the_total_is_used_up() {
        let gate = gate();
        gate.take(1, 1_000);
        assert_eq!(gate.wait_for_room(1, NOW), Room::Full);
        assert_eq!(gate.wait_for_room(2, NOW), Room::Open);
        gate.take(2, 1);
        assert_eq!(gate.wait_for_room(2, NOW), Room::Full);
    }

    #[test]
    fn what_waits_for_its_commit_counts_though_its_slot_is_free() {
        let gate = gate();
        gate.take(1, 1_000);
        gate.release(1, 1, 0);
        assert_eq!(gate.wait_for_room(1, NOW), Room::Full);
        gate.release(1, 0, 1_000);
        assert_eq!(gate.wait_for_room(1, NOW), Room::Open);
    }

    #[test]
    fn closing_a_lane_gives_its_bytes_back_and_ends_its_wait() {
        let gate = gate();
        gate.take(1, 1_000);
        gate.take(2, 1);
        gate.close(1);
        assert_eq!(gate.wait_for_room(1, NOW), Room::Closed);
        assert_eq!(gate.wait_for_room(2, NOW), Room::Open);
        gate.release(1, 1, 1_000); // a late release of a closed lane changes nothing
        assert_eq!(gate.held_bytes(), 1);
    }
}
