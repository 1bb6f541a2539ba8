//! Pictures made smaller or drawn on, on threads of their own: once for each variant of a source that somebody watches.
//!
//! ```text
//! hub ─ submit ─▶ slot of the variation (newest only) ─▶ line ─▶ thread: decode, scale, draw, encode ─▶ its fan
//! ```
//! A thread that is busy finds the newest frame when it is free again: what came between is left out, and the fan counts it
//! for those who watch. What is no frame stays in its place. The line holds each variation at most once, and each replay at
//! most one frame.

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
/// Records of a variation that wait for a thread: a frame, the end behind it, and what else is no frame. As many as viewers
/// may be behind: more would be left out there.
const WAITING: usize = RING_FRAMES;

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
    /// Oldest first, none of two frames behind each other; at most [`WAITING`].
    waiting: VecDeque<Waiting>,
    /// Nobody asked for a frame before this moment.
    not_before: Option<Instant>,
    /// In the line, or with a thread.
    is_under_way: bool,
}

#[derive(Debug)]
struct Waiting {
    shot: Arc<Shot>,
    /// Before it, as nobody was free to make pictures of them.
    left_out: u64,
}

impl Slot {
    /// A newer frame takes the place of one that waits; what is no frame takes nobody's.
    fn add(&mut self, shot: Arc<Shot>) {
        if let Some(last) = self.waiting.back_mut()
            && shot.frame().is_some()
            && last.shot.frame().is_some()
        {
            let left_out = last.left_out + 1;
            *last = Waiting { shot, left_out };
            return;
        }
        self.waiting.push_back(Waiting { shot, left_out: 0 });
        if self.waiting.len() > WAITING {
            // Viewers would wait for the end of a stream for ever.
            let mut older = self.waiting.iter().take(WAITING);
            let at = older.position(|one| !one.shot.is_end()).unwrap_or(0);
            let removed = self.waiting.remove(at);
            let next = self.waiting.get_mut(at);
            if let (Some(removed), Some(next)) = (removed, next) {
                next.left_out += removed.left_out + 1;
            }
        }
    }
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
        slot.add(Arc::clone(shot));
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
        let next = variation.slot().waiting.pop_front();
        if let Some(Waiting { shot, left_out }) = next {
            let made = renderer.shot(&shot, variation.variant);
            variation.fan.push_behind(made, left_out);
        }
        let mut slot = variation.slot();
        slot.is_under_way = !slot.waiting.is_empty();
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
        let (mut last, mut given, mut left_out) = (None, 0, 0);
        while last != Some(199) {
            let taken = view.next().await;
            (given, left_out) = (given + 1, left_out + taken.left_out);
            let sequence = taken
                .item
                .frame()
                .and_then(|frame| frame.id.as_ref())
                .map(|id| id.sequence);
            assert!(sequence > last, "{sequence:?} after {last:?}");
            last = sequence;
        }
        assert_eq!(given + left_out, 200, "what is left out is counted");
    }

    /// The end of cam0/1.
    fn end() -> Shot {
        let end = pipeline::v1::EndOfStream {
            last: Some(pipeline::v1::FrameId::new("cam0", 1, 7)),
            ..Default::default()
        };
        let content = crate::json::Content::Message(pipeline::envelope::Kind::End(end));
        Shot::new(&pipeline::kafka::TopicPartition::new("t", 0), 9, content)
    }

    #[test]
    fn the_last_frame_and_the_end_wait_for_a_thread_together() {
        let mut slot = Slot::default();
        let said = |slot: &Slot| {
            let sequence = |shot: &Shot| Some(shot.frame()?.id.as_ref()?.sequence);
            let waiting = slot.waiting.iter();
            waiting
                .map(|one| (sequence(&one.shot), one.left_out))
                .collect::<Vec<_>>()
        };
        (0..7).for_each(|n| slot.add(Arc::new(shot(n, b"x"))));
        slot.add(Arc::new(end()));
        assert_eq!(said(&slot), [(Some(6), 6), (None, 0)]);
        (0..3).for_each(|n| slot.add(Arc::new(shot(n, b"x"))));
        assert_eq!(said(&slot), [(Some(6), 6), (None, 0), (Some(2), 2)]);
        slot.add(Arc::new(end()));
        slot.add(Arc::new(shot(9, b"x")));
        // The first frame goes, the ends stay, and everything is counted.
        let expected = [(None, 7), (Some(2), 2), (None, 0), (Some(9), 0)];
        assert_eq!(said(&slot), expected);
        (0..50).for_each(|_| slot.add(Arc::new(end())));
        assert_eq!(slot.waiting.len(), WAITING);
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
            .waiting
            .front()
            .and_then(|one| one.shot.frame())
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
