//! Points: a certain request or response, and what becomes of it.

use super::packet::{Api, Head};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Which of the two packets of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Request,
    Response,
}

/// One packet that is to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub api: Api,
    pub side: Side,
    /// Which of those that match, from 1, counted from when the point is armed.
    pub nth: u64,
    /// Only packets of clients of this id (`client.id`).
    pub client_id: Option<String>,
}

impl Point {
    /// The next request of this kind.
    pub fn request(api: Api) -> Self {
        Self::new(api, Side::Request)
    }

    /// The next response of this kind.
    pub fn response(api: Api) -> Self {
        Self::new(api, Side::Response)
    }

    fn new(api: Api, side: Side) -> Self {
        Self {
            api,
            side,
            nth: 1,
            client_id: None,
        }
    }

    /// The nth from now on, from 1.
    pub fn nth(self, nth: u64) -> Self {
        Self { nth, ..self }
    }
}

/// What becomes of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// It goes on; the trigger says that it came.
    Note,
    /// It waits, and all behind it on its connection, until [`Trigger::release`].
    Pause,
    /// Its connection is closed on both sides, before or after it is forwarded. A response that is dropped before is the
    /// classic lost response: Kafka has done it, the client cannot know. A request dropped after it is forwarded is lost
    /// in the same way, once Kafka has answered it.
    DropConnection(When),
    /// The client sees its connection close. The request stays in the network, and Kafka's side of the connection stays
    /// open; [`Trigger::release`] delivers it. Requests only: a response is paused instead.
    HoldAlone,
}

/// See [`Reaction::DropConnection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// Armed points, and counters of all packets. Clones are the same points.
#[derive(Debug, Clone, Default)]
pub struct Points {
    shared: Arc<Mutex<PointsState>>,
}

#[derive(Debug, Default)]
struct PointsState {
    armed: Vec<Armed>,
    seen: HashMap<(Api, Side), u64>,
}

#[derive(Debug)]
struct Armed {
    point: Point,
    reaction: Reaction,
    progress: Arc<Progress>,
}

impl Points {
    /// Arms a point. It fires once, and is disarmed when the trigger is dropped.
    pub fn on(&self, point: Point, reaction: Reaction) -> Trigger {
        let progress = Arc::new(Progress::default());
        self.lock().armed.push(Armed {
            point,
            reaction,
            progress: Arc::clone(&progress),
        });
        Trigger {
            points: self.clone(),
            progress,
        }
    }

    /// How many packets of this kind were about to be forwarded so far.
    pub fn seen(&self, api: Api, side: Side) -> u64 {
        self.lock().seen.get(&(api, side)).copied().unwrap_or(0)
    }

    /// Counts a packet that is about to be forwarded; if that is the one somebody waits for, it has fired.
    pub(super) fn pass(&self, head: &Head, side: Side) -> Option<(Reaction, Arc<Progress>)> {
        let mut state = self.lock();
        *state.seen.entry((head.api, side)).or_default() += 1;
        let mut due = None;
        for (at, armed) in state.armed.iter_mut().enumerate() {
            let point = &mut armed.point;
            let is_ours = |id: &String| *id == head.client_id;
            if point.api == head.api
                && point.side == side
                && point.client_id.as_ref().is_none_or(is_ours)
            {
                point.nth = point.nth.saturating_sub(1);
                // Of two points at the same packet the one armed first has it; the other takes the next.
                if point.nth == 0 && due.is_none() {
                    due = Some(at);
                }
            }
        }
        let Armed {
            reaction, progress, ..
        } = state.armed.remove(due?);
        drop(state);
        progress.change(|state| state.fired = true);
        Some((reaction, progress))
    }

    fn disarm(&self, progress: &Arc<Progress>) {
        self.lock()
            .armed
            .retain(|armed| !Arc::ptr_eq(&armed.progress, progress));
    }

    fn lock(&self) -> MutexGuard<'_, PointsState> {
        // Every update is complete before its lock is released, so a panic elsewhere leaves it consistent.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An armed point's handle. Dropping it disarms the point and releases what it holds.
#[derive(Debug)]
#[must_use = "dropping it disarms the point"]
pub struct Trigger {
    points: Points,
    progress: Arc<Progress>,
}

impl Trigger {
    /// Waits until it has fired; false if it has not after `limit`.
    #[must_use = "a fault that never happened proves nothing"]
    pub fn wait(&self, limit: Duration) -> bool {
        self.progress
            .wait(limit, |state| state.fired.then_some(()))
            .is_some()
    }

    /// Whether the packet has come.
    pub fn has_fired(&self) -> bool {
        self.progress.lock().fired
    }

    /// Lets go what is held, or will be.
    pub fn release(&self) {
        self.progress.change(|state| state.released = true);
    }

    /// What Kafka answered to a request that was held alone, from behind the correlation id on; None if no answer came
    /// within `limit`.
    pub fn answer(&self, limit: Duration) -> Option<Vec<u8>> {
        self.progress.wait(limit, |state| state.answer.clone())
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        self.points.disarm(&self.progress);
        self.release();
    }
}

/// How far a point has come.
#[derive(Debug, Default)]
pub struct Progress {
    state: Mutex<ProgressState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ProgressState {
    fired: bool,
    released: bool,
    answer: Option<Vec<u8>>,
}

impl Progress {
    /// Waits until it is released; false if it is not after `limit`.
    pub fn wait_released(&self, limit: Duration) -> bool {
        self.wait(limit, |state| state.released.then_some(()))
            .is_some()
    }

    pub fn answer(&self, bytes: Vec<u8>) {
        self.change(|state| state.answer = Some(bytes));
    }

    fn change(&self, change: impl FnOnce(&mut ProgressState)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait<T>(&self, limit: Duration, look: impl Fn(&ProgressState) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&state) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, ProgressState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
