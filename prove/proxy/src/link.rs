//! The quality of the link, which may change at any time and wakes whoever waits on it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Packets are written in pieces of at most this, so that a slow link is slow evenly and a cut takes hold soon.
pub const PIECE_BYTES: usize = 16 << 10;

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToKafka,
    ToClient,
    Both,
}

/// One direction's quality.
#[derive(Debug, Default)]
pub struct Lane {
    pub latency: Duration,
    pub bytes_per_s: Option<u64>,
    pub is_cut: bool,
    /// When the pieces that were let through so far will be over, at the present bandwidth.
    busy_until: Option<Instant>,
}

/// Both directions. No wait here outlives [`Link::end`].
#[derive(Debug, Default)]
pub struct Link {
    state: Mutex<LinkState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LinkState {
    to_kafka: Lane,
    to_client: Lane,
    names_no_node: bool,
    ends: bool,
}

/// The link has ended: nothing is to be forwarded any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

impl Link {
    pub fn change(&self, direction: Direction, change: impl Fn(&mut Lane)) {
        let mut state = self.lock();
        if direction != Direction::ToClient {
            change(&mut state.to_kafka);
        }
        if direction != Direction::ToKafka {
            change(&mut state.to_client);
        }
        self.changed.notify_all();
    }

    pub fn set_names_no_node(&self, names_no_node: bool) {
        self.lock().names_no_node = names_no_node;
    }

    /// Whether clients that ask which nodes there are hear of none.
    pub fn names_no_node(&self) -> bool {
        self.lock().names_no_node
    }

    /// Frees all who wait here, for good.
    pub fn end(&self) {
        self.lock().ends = true;
        self.changed.notify_all();
    }

    /// When a packet that enters now is to leave.
    pub fn due(&self, direction: Direction) -> Instant {
        Instant::now() + self.lock().lane(direction).latency
    }

    /// Waits until this moment, and until the direction is not cut.
    pub fn wait_until(&self, due: Instant, direction: Direction) -> Result<(), Ended> {
        let mut state = self.lock();
        loop {
            if state.ends {
                return Err(Ended);
            }
            let left = due.saturating_duration_since(Instant::now());
            if state.lane(direction).is_cut {
                state = self.wait(state);
            } else if left.is_zero() {
                return Ok(());
            } else {
                state = self.wait_for(state, left);
            }
        }
    }

    /// Waits for the link to have carried what came before; takes its own place behind it.
    pub fn take_turn(&self, bytes: usize, direction: Direction) -> Result<(), Ended> {
        let due = {
            let mut state = self.lock();
            let lane = state.lane(direction);
            let now = Instant::now();
            match lane.bytes_per_s {
                None => {
                    lane.busy_until = None;
                    now
                }
                Some(rate) => {
                    let time = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
                    let until = lane.busy_until.unwrap_or(now).max(now) + time;
                    lane.busy_until = Some(until);
                    until
                }
            }
        };
        self.wait_until(due, direction)
    }

    fn lock(&self) -> MutexGuard<'_, LinkState> {
        // Every update is complete before its lock is released, so a panic elsewhere leaves it consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, LinkState>) -> MutexGuard<'a, LinkState> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for<'a>(
        &self,
        state: MutexGuard<'a, LinkState>,
        left: Duration,
    ) -> MutexGuard<'a, LinkState> {
        self.changed
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

impl LinkState {
    /// Packets go one way: `Both` is for changes.
    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::ToKafka | Direction::Both => &mut self.to_kafka,
            Direction::ToClient => &mut self.to_client,
        }
    }
}
