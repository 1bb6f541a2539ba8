//! Pictures made smaller or drawn on, on threads of their own: once for each variant of a source that somebody watches.
//!
//! ```text
//! hub ─ submit ─▶ slot of the variation (newest only) ─▶ line ─▶ thread: decode, scale, draw, encode ─▶ its fan
//! ```
//! A thread that is busy finds the newest frame when it is free again: what came between is left out, and counted by
//! those who watch. The line holds each variation at most once, and each replay at most one frame.

mod draw;
mod render;
mod variant;

pub use variant::{BadSize, Variant};

use crate::fan::Fan;
use crate::pace::next_moment;
use crate::shot::Shot;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Frames that a viewer may be behind before it goes on with the newest: hides a hiccup of some 100 ms.
pub const RING_FRAMES: usize = 4;

/// One variant of one source, and those who watch it.
#[derive(Debug)]
pub struct Variation {
    pub variant: Variant,
    pub fan: Arc<Fan<Arc<Shot>>>,
    slot: Mutex<Slot>,
    asked: Mutex<Asked>,
}

/// What its viewers ask for; None: every frame.
#[derive(Debug, Default)]
struct Asked {
    rates: HashMap<u64, Option<f64>>,
    next_viewer: u64,
}

#[derive(Debug, Default)]
struct Slot {
    newest: Option<Arc<Shot>>,
    /// Nobody asked for a frame before this moment.
    not_before: Option<Instant>,
    /// In the line, or with a thread.
    is_under_way: bool,
}

impl Variation {
    pub fn new(variant: Variant) -> Self {
        Self {
            variant,
            fan: Arc::new(Fan::new(RING_FRAMES)),
            slot: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    /// A viewer asks for so many frames a second; returns what it is known by.
    pub fn ask(&self, rate: Option<f64>) -> u64 {
        let mut asked = self.asked();
        let viewer = asked.next_viewer;
        asked.next_viewer += 1;
        asked.rates.insert(viewer, rate);
        viewer
    }

    /// It asks for another rate.
    pub fn ask_again(&self, viewer: u64, rate: Option<f64>) {
        self.asked().rates.insert(viewer, rate);
    }

    /// It has gone.
    pub fn forget(&self, viewer: u64) {
        self.asked().rates.remove(&viewer);
    }

    /// What the quickest of them asks for. Without viewers every frame: the next one may come at any moment.
    fn rate(&self) -> Option<f64> {
        let asked = self.asked();
        let quicker = |a: f64, b: &Option<f64>| b.map(|b| a.max(b));
        asked
            .rates
            .values()
            .try_fold(0.0, quicker)
            .filter(|rate| *rate > 0.0)
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Job {
    Newest(Arc<Variation>),
    One {
        shot: Arc<Shot>,
        variant: Variant,
        answer: oneshot::Sender<Arc<Shot>>,
    },
}

#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

#[derive(Default)]
struct Shared {
    line: Mutex<Line>,
    changed: Condvar,
}

/// The threads. They end when it is dropped.
pub struct Painter {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Painter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Painter")
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

impl Painter {
    /// # Errors
    /// The system starts no more threads.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let start = |number: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("pictures {number}"))
                .spawn(move || shared.work())
        };
        let threads = (0..threads.max(1)).map(start).collect::<Result<_, _>>()?;
        Ok(Self { shared, threads })
    }

    /// Makes this the next frame of the variation, in place of one that still waits; unless all its viewers ask for fewer
    /// frames than come.
    pub fn submit(&self, variation: &Arc<Variation>, shot: &Arc<Shot>) {
        let (rate, now) = (variation.rate(), Instant::now());
        let mut slot = variation.slot();
        if let Some(rate) = rate.filter(|_| shot.frame().is_some()) {
            // Frames are not exactly as far apart as they should be.
            let tolerance = Duration::from_secs_f64(0.25 / rate);
            if slot
                .not_before
                .is_some_and(|moment| now + tolerance < moment)
            {
                return;
            }
            slot.not_before = Some(next_moment(slot.not_before, rate, now));
        }
        slot.newest = Some(Arc::clone(shot));
        if !std::mem::replace(&mut slot.is_under_way, true) {
            drop(slot);
            self.shared.add(Job::Newest(Arc::clone(variation)));
        }
    }

    /// One frame of a replay.
    pub async fn one(&self, shot: Arc<Shot>, variant: Variant) -> Arc<Shot> {
        if variant.leaves(&shot) {
            return shot;
        }
        let (answer, made) = oneshot::channel();
        let unmade = Arc::clone(&shot);
        self.shared.add(Job::One {
            shot,
            variant,
            answer,
        });
        made.await.unwrap_or(unmade) // the threads end with the service
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        self.shared.line().is_closed = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a panic is in the log
        }
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, job: Job) {
        self.line().jobs.push_back(job);
        self.changed.notify_one();
    }

    fn work(&self) {
        let mut renderer = render::Renderer::default();
        while let Some(job) = self.next() {
            match job {
                Job::Newest(variation) => self.make_newest(&variation, &mut renderer),
                Job::One {
                    shot,
                    variant,
                    answer,
                } => {
                    if !answer.is_closed() {
                        let made = renderer.shot(&shot, variant);
                        let _ = answer.send(made); // the viewer may have gone
                    }
                }
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let is_idle = |line: &mut Line| line.jobs.is_empty() && !line.is_closed;
        let mut line = self
            .changed
            .wait_while(self.line(), is_idle)
            .unwrap_or_else(PoisonError::into_inner);
        match line.is_closed {
            true => None,
            false => line.jobs.pop_front(),
        }
    }

    /// Then others have their turn, before this variation's next frame.
    fn make_newest(&self, variation: &Arc<Variation>, renderer: &mut render::Renderer) {
        let newest = variation.slot().newest.take();
        if let Some(shot) = newest {
            variation.fan.push(renderer.shot(&shot, variation.variant));
        }
        let mut slot = variation.slot();
        slot.is_under_way = slot.newest.is_some();
        if slot.is_under_way {
            drop(slot);
            self.add(Job::Newest(Arc::clone(variation)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shot::tests::shot;

    #[tokio::test]
    async fn a_variation_is_made_of_the_newest_frames_in_order() {
        let painter = Painter::start(2).unwrap();
        let variation = Arc::new(Variation::new(Variant::ORIGINAL));
        let mut view = variation.fan.view();
        let shots: Vec<_> = (0..200)
            .map(|n| Arc::new(shot(n, b"no picture at all")))
            .collect();
        shots
            .iter()
            .for_each(|shot| painter.submit(&variation, shot));
        let mut last = None;
        while last != Some(199) {
            let sequence = view
                .next()
                .await
                .item
                .frame()
                .and_then(|frame| frame.id.as_ref())
                .map(|id| id.sequence);
            assert!(sequence > last, "{sequence:?} after {last:?}");
            last = sequence;
        }
    }

    #[test]
    fn no_more_frames_are_made_than_the_quickest_viewer_asks_for() {
        let variation = Variation::new(Variant::ORIGINAL);
        assert_eq!(variation.rate(), None);
        let (slow, quick) = (variation.ask(Some(2.0)), variation.ask(Some(5.0)));
        assert_eq!(variation.rate(), Some(5.0));
        variation.ask_again(slow, None);
        assert_eq!(variation.rate(), None, "every frame");
        variation.forget(slow);
        variation.forget(quick);
        assert_eq!(variation.rate(), None);
        let painter = Painter::start(1).unwrap();
        variation.ask(Some(0.01));
        let variation = Arc::new(variation);
        (0..50).for_each(|n| painter.submit(&variation, &Arc::new(shot(n, b"x"))));
        drop(painter); // no thread takes any more
        let slot = variation.slot();
        let waiting = slot
            .newest
            .as_ref()
            .and_then(|shot| shot.frame())
            .and_then(|frame| frame.id.as_ref());
        assert!(
            waiting.is_none_or(|id| id.sequence == 0),
            "one frame in 100 s"
        );
    }

    #[tokio::test]
    async fn a_picture_that_cannot_be_decoded_says_so() {
        let painter = Painter::start(1).unwrap();
        let drawn = Variant::parse(None, true).unwrap();
        let made = painter
            .one(Arc::new(shot(1, b"\xff\xd8 no jpeg")), drawn)
            .await;
        assert!(made.picture().is_none());
        let text = String::from_utf8_lossy(&made.message()).into_owned();
        assert!(
            text.contains("no_picture\":\"it cannot be decoded"),
            "{text}"
        );
    }
}
