//! From the capture thread to the encoders: the overload queue between threads, and how the source ended.

use crate::options::Overload;
use crate::overload::{Bounds, Entry, Offer, OverloadQueue, Run, Waiting};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Why a source gives no more frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It came to its end.
    Finished,
    /// It was stopped.
    Stopped,
    /// It failed for good.
    Failed(String),
}

/// What the encoders get, in the order of the sequence.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<T> {
    /// A frame.
    Frame(Waiting<T>),
    /// Frames that were dropped.
    Gap(Run),
    /// Nothing follows.
    End(Ending),
}

/// Nobody takes frames any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Abandoned;

/// The capture thread's end. Dropped without [`Giver::end`] (a panic) it ends the stream without an [`Item::End`].
#[derive(Debug)]
pub struct Giver<T>(Arc<Shared<T>>);

/// The encoders' end. When the last clone is dropped, the giver is told.
#[derive(Debug)]
pub struct Taker<T>(Arc<TakerGuard<T>>);

impl<T> Clone for Taker<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct TakerGuard<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    queue: OverloadQueue<T>,
    ending: Option<Ending>,
    giver: End,
    takers: End,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed,
}

/// The two ends of a queue.
pub fn handover<T>(policy: Overload, bounds: Bounds) -> (Giver<T>, Taker<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            queue: OverloadQueue::new(policy, bounds),
            ending: None,
            giver: End::Open,
            takers: End::Open,
        }),
        changed: Condvar::new(),
    });
    let taker = Taker(Arc::new(TakerGuard(Arc::clone(&shared))));
    (Giver(shared), taker)
}

impl<T> Giver<T> {
    /// Hands a frame on. Blocks while the policy is to wait and there is no room. Answers how many were dropped.
    pub fn give(&self, frame: Waiting<T>) -> Result<u64, Abandoned> {
        let mut state = self.0.lock();
        let mut frame = frame;
        loop {
            if state.takers == End::Closed {
                return Err(Abandoned);
            }
            match state.queue.offer(frame) {
                Offer::Settled { dropped } => {
                    drop(state);
                    self.0.changed.notify_all();
                    return Ok(dropped);
                }
                Offer::Full(back) => frame = back,
            }
            state = self
                .0
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that nothing follows, and why.
    pub fn end(self, ending: Ending) {
        self.0.lock().ending = Some(ending);
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        self.0.lock().giver = End::Closed;
        self.0.changed.notify_all();
    }
}

impl<T> Taker<T> {
    /// The next item; blocks until there is one. None after the end.
    pub fn take(&self) -> Option<Item<T>> {
        let shared = &self.0.0;
        let mut state = shared.lock();
        loop {
            if let Some(entry) = state.queue.take() {
                drop(state);
                shared.changed.notify_all();
                return Some(match entry {
                    Entry::Frame(frame) => Item::Frame(frame),
                    Entry::Gap(run) => Item::Gap(run),
                });
            }
            if state.giver == End::Closed {
                return state.ending.take().map(Item::End);
            }
            state = shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for TakerGuard<T> {
    fn drop(&mut self) {
        self.0.lock().takers = End::Closed;
        self.0.changed.notify_all();
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Each update is complete before the lock is released, so a panic elsewhere leaves it consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        frames: 2,
        bytes: 1000,
    };

    fn frame(sequence: u64) -> Waiting<()> {
        Waiting {
            sequence,
            captured_unix_ns: 0,
            bytes: 1,
            frame: (),
        }
    }

    #[test]
    fn a_waiting_giver_goes_on_as_frames_are_taken() {
        let (giver, taker) = handover(Overload::Wait, BOUNDS);
        let thread = std::thread::spawn(move || {
            for sequence in 0..100 {
                giver.give(frame(sequence)).unwrap();
            }
            giver.end(Ending::Finished);
        });
        for sequence in 0..100 {
            assert_eq!(taker.take(), Some(Item::Frame(frame(sequence))));
        }
        assert_eq!(taker.take(), Some(Item::End(Ending::Finished)));
        assert_eq!(taker.take(), None);
        thread.join().unwrap();
    }

    #[test]
    fn a_waiting_giver_is_told_when_nobody_takes_any_more() {
        let (giver, taker) = handover(Overload::Wait, BOUNDS);
        let thread = std::thread::spawn(move || (0..).find_map(|n| giver.give(frame(n)).err()));
        drop(taker);
        assert_eq!(thread.join().unwrap(), Some(Abandoned));
    }

    #[test]
    fn a_giver_that_panics_leaves_no_ending() {
        let (giver, taker) = handover(Overload::Wait, BOUNDS);
        giver.give(frame(0)).unwrap();
        drop(giver);
        assert!(matches!(taker.take(), Some(Item::Frame(_))));
        assert_eq!(taker.take(), None);
    }
}
