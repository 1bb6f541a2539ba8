//! Back-pressure: a partition is read only while its lane and the whole service have room.
//!
//! Not reading (rather than pausing) keeps what the client has prefetched.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much may be taken from Kafka and not yet be released.
#[derive(Debug, Clone, Copy)]
pub struct LaneBounds {
    /// Records of one lane.
    pub lane_records: usize,
    /// Bytes of one lane.
    pub lane_bytes: usize,
    /// Bytes of all lanes together; of several feeds, if they share their memory (see [`SharedMemory`]).
    pub total_bytes: usize,
}

/// Memory that several feeds of a process take their records from. Cheap to clone: clones are the same memory.
#[derive(Debug, Clone, Default)]
pub struct SharedMemory(Arc<Hall>);

impl SharedMemory {
    /// Bytes that are taken now.
    pub fn used_bytes(&self) -> usize {
        self.0.state().total_bytes
    }
}

/// What the gates of one memory have in common: room that one gives back, another may be waiting for.
#[derive(Debug, Default)]
struct Hall {
    state: Mutex<State>,
    changed: Condvar,
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
    hall: Arc<Hall>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    Open,
    Full,
    Closed,
}

impl Gate {
    pub(super) fn new(bounds: LaneBounds, memory: &SharedMemory) -> Self {
        Self {
            bounds,
            hall: Arc::clone(&memory.0),
        }
    }

    pub(super) fn open(&self, lane: u64) {
        self.hall.state().lanes.insert(lane, Held::default());
    }

    pub(super) fn close(&self, lane: u64) {
        let mut state = self.hall.state();
        if let Some(held) = state.lanes.remove(&lane) {
            state.total_bytes -= held.bytes;
        }
        drop(state);
        self.hall.changed.notify_all();
    }

    /// Waits until the lane may take one more record, is closed, or the time is over.
    pub(super) fn wait_for_room(&self, lane: u64, at_most: Duration) -> Room {
        let has_no_room = |state: &mut State| self.room(state, lane) == Room::Full;
        let hall = &self.hall;
        let (state, _) = hall
            .changed
            .wait_timeout_while(hall.state(), at_most, has_no_room)
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
        let mut state = self.hall.state();
        if let Some(held) = state.lanes.get_mut(&lane) {
            held.records += 1;
            held.bytes += bytes;
            state.total_bytes += bytes;
        }
    }

    pub(super) fn hold(&self, lane: u64, bytes: usize) {
        let mut state = self.hall.state();
        if let Some(held) = state.lanes.get_mut(&lane) {
            held.bytes += bytes;
            state.total_bytes += bytes;
        }
    }

    pub(super) fn release(&self, lane: u64, records: usize, bytes: usize) {
        let mut state = self.hall.state();
        if let Some(held) = state.lanes.get_mut(&lane) {
            held.records -= records;
            held.bytes -= bytes;
            state.total_bytes -= bytes;
        }
        drop(state);
        self.hall.changed.notify_all();
    }
}

impl Hall {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every update is complete before the lock is released, so a panic elsewhere leaves it consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    const BOUNDS: LaneBounds = LaneBounds {
        lane_records: 2,
        lane_bytes: 100,
        total_bytes: 150,
    };

    fn gate() -> Gate {
        let gate = Gate::new(BOUNDS, &SharedMemory::default());
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
        assert_eq!(gate.hall.state().total_bytes, 1);
    }

    #[test]
    fn gates_of_one_memory_share_its_bound_and_room_given_back_by_one_ends_the_wait_of_another() {
        let memory = SharedMemory::default();
        let [first, second] = [(); 2].map(|()| Gate::new(BOUNDS, &memory));
        first.open(1);
        second.open(2);
        first.take(1, 150);
        second.take(2, 1);
        assert_eq!(second.wait_for_room(2, NOW), Room::Full);
        assert_eq!(memory.used_bytes(), 151);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| second.wait_for_room(2, Duration::from_secs(60)));
            first.release(1, 1, 150);
            assert_eq!(waiting.join().unwrap(), Room::Open);
        });
    }
}
