//! One source that somebody watches: its newest frames, its variants, and what is known of it.

use crate::address::Address;
use crate::fan::View;
use crate::json::Content;
use crate::order::{Order, Verdict};
use crate::pictures::{Painter, Variant, Variation};
use crate::shot::Shot;
use crate::stats::{Newest, Stats, Summary};
use pipeline::envelope::Kind;
use pipeline::v1::Frame;
use pipeline::wire::now_unix_ns;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// See the module. Made for the first viewer, gone some seconds after the last.
#[derive(Debug)]
pub struct Hub {
    pub address: Address,
    /// Frames as they are; those that no browser can show are made into JPEGs first.
    original: Arc<Variation>,
    /// Those that somebody watches: each viewer holds its own.
    variants: Mutex<HashMap<Variant, Weak<Variation>>>,
    known: Mutex<Known>,
    viewers: AtomicUsize,
    skipped: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    order: Order,
    stats: Stats,
}

/// Where a record comes from in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It was there before the watching began: it says nothing about rate and latency.
    Before,
    Now,
}

impl Hub {
    pub fn new(address: Address) -> Self {
        Self {
            address,
            original: Arc::new(Variation::new(Variant::ORIGINAL)),
            variants: Mutex::default(),
            known: Mutex::default(),
            viewers: AtomicUsize::new(0),
            skipped: AtomicU64::new(0),
        }
    }

    /// The next record of the source, as it was read. Given to everybody who watches, in any variant.
    pub fn publish(&self, shot: &Arc<Shot>, age: Age, painter: &Painter) {
        if self.take_in(shot.content(), age) == Verdict::Late {
            return;
        }
        match Variant::ORIGINAL.leaves(shot) {
            true => self.original.fan.push(Arc::clone(shot)),
            false => painter.submit(&self.original, shot),
        }
        let watched: Vec<_> = self.variants().values().filter_map(Weak::upgrade).collect();
        for variation in watched {
            painter.submit(&variation, shot);
        }
    }

    fn take_in(&self, content: &Content, age: Age) -> Verdict {
        let mut known = self.known();
        let Known { order, stats } = &mut *known;
        match content {
            Content::Message(Kind::Frame(frame)) => {
                let Some(id) = &frame.id else {
                    return Verdict::First; // decoding has refused it
                };
                let verdict = order.judge(id, 1);
                let newest = Newest {
                    epoch: id.epoch,
                    sequence: id.sequence,
                    capture_time_unix_ns: frame.capture_time_unix_ns,
                };
                let age = (age == Age::Now).then(|| age_of(frame));
                stats.frame(newest, verdict, age, Instant::now());
                if let Some(age) = age.filter(|_| verdict != Verdict::Late) {
                    metrics::histogram!("framelane_gateway_frame_age_seconds")
                        .record(age.as_secs_f64());
                }
                verdict
            }
            Content::Message(Kind::Gap(gap)) => {
                let named = gap.first.as_ref().filter(|first| first.epoch > 0);
                let verdict = named.map_or(Verdict::First, |first| order.judge(first, gap.count));
                stats.gap(gap.count, verdict);
                verdict
            }
            Content::Message(Kind::End(end)) => {
                // Of an epoch before the one that is shown, it says nothing.
                let shown = stats.summary(Instant::now()).newest;
                let ended = end.last.as_ref().map_or(0, |last| last.epoch);
                if shown.is_some_and(|newest| newest.epoch > ended) {
                    return Verdict::Late;
                }
                stats.end();
                Verdict::Next { missing: 0 }
            }
            Content::Undecodable { .. } => {
                stats.gap(1, Verdict::First);
                Verdict::First
            }
        }
    }

    /// What a viewer of this variant sees, from the newest frame on.
    /// At most at this rate (frames a second).
    pub fn view(&self, variant: Variant, rate: Option<f64>, painter: &Painter) -> HubView {
        let variation = match variant == Variant::ORIGINAL {
            true => Arc::clone(&self.original),
            false => self.variation(variant, painter),
        };
        HubView {
            view: variation.fan.view(),
            viewer: variation.ask(rate),
            variation,
        }
    }

    fn variation(&self, variant: Variant, painter: &Painter) -> Arc<Variation> {
        let mut variants = self.variants();
        variants.retain(|_, variation| variation.strong_count() > 0);
        if let Some(watched) = variants.get(&variant).and_then(Weak::upgrade) {
            return watched;
        }
        let variation = Arc::new(Variation::new(variant));
        variants.insert(variant, Arc::downgrade(&variation));
        drop(variants);
        // So that it need not wait for the next frame, which may never come.
        if let Some(newest) = self.newest() {
            painter.submit(&variation, &newest);
        }
        variation
    }

    /// The newest record, as it is.
    pub fn newest(&self) -> Option<Arc<Shot>> {
        self.original.fan.newest()
    }

    pub fn summary(&self) -> Summary {
        self.known().stats.summary(Instant::now())
    }

    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }

    /// Returns how many there are now.
    pub(super) fn add_viewer(&self) -> usize {
        self.viewers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns how many are left.
    pub(super) fn remove_viewer(&self) -> usize {
        self.viewers.fetch_sub(1, Ordering::Relaxed) - 1
    }

    /// Frames that viewers missed because they were too slow, all together.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    pub fn add_skipped(&self, frames: u64) {
        self.skipped.fetch_add(frames, Ordering::Relaxed);
    }

    fn variants(&self) -> MutexGuard<'_, HashMap<Variant, Weak<Variation>>> {
        self.variants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place at a variant of a hub. The variant is made as long as somebody holds one.
#[derive(Debug)]
pub struct HubView {
    pub view: View<Arc<Shot>>,
    variation: Arc<Variation>,
    /// What the variation knows it by.
    viewer: u64,
}

impl Drop for HubView {
    fn drop(&mut self) {
        self.variation.forget(self.viewer);
    }
}

impl HubView {
    /// At most at this rate from now on.
    pub fn ask_rate(&self, rate: Option<f64>) {
        self.variation.ask_again(self.viewer, rate);
    }

    pub fn variant(&self) -> Variant {
        self.variation.variant
    }
}

/// By both machines' clocks; a camera that is ahead has no age.
fn age_of(frame: &Frame) -> Duration {
    let ns = now_unix_ns().saturating_sub(frame.capture_time_unix_ns);
    Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shot::tests::shot;
    use pipeline::kafka::TopicPartition;
    use pipeline::v1::{EndOfStream, FrameId, Gap};

    fn hub() -> (Hub, Painter) {
        let address = Address::new("t", "cam0").unwrap();
        (Hub::new(address), Painter::start(1).unwrap())
    }

    fn notice(kind: impl Into<Kind>) -> Arc<Shot> {
        let content = Content::Message(kind.into());
        Arc::new(Shot::new(&TopicPartition::new("t", 0), 0, content))
    }

    #[tokio::test]
    async fn viewers_see_only_what_goes_forward() {
        let (hub, painter) = hub();
        let mut view = hub.view(Variant::ORIGINAL, None, &painter);
        for sequence in [4, 5, 3, 5, 8] {
            hub.publish(&Arc::new(shot(sequence, b"x")), Age::Now, &painter);
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            let taken = view.view.next().await.item;
            seen.push(
                taken
                    .frame()
                    .and_then(|frame| frame.id.as_ref())
                    .map(|id| id.sequence),
            );
        }
        assert_eq!(seen, [Some(4), Some(5), Some(8)]);
        let summary = hub.summary();
        assert_eq!((summary.frames, summary.gaps, summary.late), (3, 2, 2));
    }

    #[tokio::test]
    async fn a_new_viewer_of_a_variant_gets_the_newest_frame_at_once() {
        let (hub, painter) = hub();
        hub.publish(&Arc::new(shot(1, b"broken")), Age::Before, &painter);
        let small = Variant::parse(Some("160"), false).unwrap();
        // Said to be 4 pixels wide: it needs no work, and passes as it is.
        let mut first = hub.view(small, None, &painter);
        assert_eq!(
            &first.view.next().await.item.picture().unwrap().bytes[..],
            b"broken"
        );
        let second = hub.view(small, None, &painter);
        assert!(
            Arc::ptr_eq(&first.variation, &second.variation),
            "made once for all viewers"
        );
    }

    #[test]
    fn the_end_of_an_older_start_is_not_the_end() {
        let (hub, painter) = hub();
        hub.publish(&Arc::new(shot(1, b"x")), Age::Now, &painter);
        let end = |epoch| {
            notice(EndOfStream {
                last: Some(FrameId::new("cam0", epoch, 9)),
                ..EndOfStream::default()
            })
        };
        hub.publish(&end(0), Age::Now, &painter);
        assert_eq!(hub.summary().state, crate::stats::State::Live);
        let gap = Gap {
            first: Some(FrameId::new("cam0", 1, 2)),
            count: 8,
            ..Gap::default()
        };
        hub.publish(&notice(gap), Age::Now, &painter);
        hub.publish(&end(1), Age::Now, &painter);
        let summary = hub.summary();
        assert_eq!(
            (summary.state, summary.gaps),
            (crate::stats::State::Ended, 8)
        );
    }
}
