//! Replays records at the speed of their capture. Pure: time is an argument.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When a record was captured, and in which run of which source: only times of one run compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The source.
    pub source: Arc<str>,
    /// Its epoch.
    pub epoch: u64,
    /// Nanoseconds since the Unix epoch.
    pub time_unix_ns: i64,
}

/// Records that wait for their time. What shares a queue keeps its order.
#[derive(Debug)]
pub struct Pacer<T> {
    rate: f64,
    queues: BTreeMap<Arc<str>, Queue<T>>,
    /// When the first record of a source's epoch was captured, and when it was shown. One entry a source.
    beginnings: Beginnings,
}

type Beginnings = HashMap<Arc<str>, (u64, i64, Instant)>;

#[derive(Debug)]
struct Queue<T> {
    last_due: Instant,
    waiting: VecDeque<(Instant, T)>,
}

impl<T> Pacer<T> {
    /// `rate` is above 0; 1.0 is the speed of the capture.
    pub fn new(rate: f64) -> Self {
        Self {
            rate,
            queues: BTreeMap::new(),
            beginnings: HashMap::new(),
        }
    }

    /// Takes a record in. One without a capture time is due right behind the one before it.
    pub fn push(&mut self, queue: &Arc<str>, captured: Option<&Captured>, item: T, now: Instant) {
        let queue = self
            .queues
            .entry(Arc::clone(queue))
            .or_insert_with(|| Queue {
                last_due: now,
                waiting: VecDeque::new(),
            });
        if let Some(captured) = captured {
            let earliest = queue.last_due.max(now);
            let due = due(&mut self.beginnings, self.rate, captured, earliest);
            queue.last_due = queue.last_due.max(due);
        }
        queue.waiting.push_back((queue.last_due, item));
    }

    /// The record whose time came first, if its time has come.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let queue = self
            .queues
            .values_mut()
            .filter(|queue| queue.waiting.front().is_some_and(|(due, _)| *due <= now))
            .min_by_key(|queue| queue.waiting.front().map(|(due, _)| *due))?;
        queue.waiting.pop_front().map(|(_, item)| item)
    }

    /// When [`Pacer::pop`] next has something to give.
    pub fn next_due(&self) -> Option<Instant> {
        self.queues
            .values()
            .filter_map(|queue| queue.waiting.front().map(|(due, _)| *due))
            .min()
    }

    /// Drops waiting records.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for queue in self.queues.values_mut() {
            queue.waiting.retain(|(_, item)| keep(item));
        }
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queues.values().all(|queue| queue.waiting.is_empty())
    }
}

/// When a record is due; `earliest` is when its source's epoch begins if it is the first of it.
fn due(begun: &mut Beginnings, rate: f64, captured: &Captured, earliest: Instant) -> Instant {
    let fresh = (captured.epoch, captured.time_unix_ns, earliest);
    let begin = begun.entry(Arc::clone(&captured.source)).or_insert(fresh);
    // The pause between two runs of a source is nobody's frame time: a new epoch begins at once.
    if begin.0 != captured.epoch {
        *begin = fresh;
    }
    let after_ns = captured.time_unix_ns.saturating_sub(begin.1).max(0);
    Duration::try_from_secs_f64(after_ns as f64 / 1e9 / rate)
        .ok()
        .and_then(|after| begin.2.checked_add(after))
        .unwrap_or(begin.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(epoch: u64, ms: i64) -> Captured {
        Captured {
            source: "cam0".into(),
            epoch,
            time_unix_ns: ms * 1_000_000,
        }
    }

    #[test]
    fn records_are_shown_in_the_rhythm_of_their_capture() {
        let (start, lane) = (Instant::now(), Arc::from("cam0[0]"));
        let at = |ms| start + Duration::from_millis(ms);
        let mut pacer = Pacer::new(2.0);
        pacer.push(&lane, Some(&captured(1, 5_000)), "a", start);
        pacer.push(&lane, Some(&captured(1, 5_100)), "b", start);
        pacer.push(&lane, None, "end", start);
        assert_eq!(pacer.pop(start), Some("a"));
        assert_eq!(pacer.pop(at(49)), None);
        assert_eq!(pacer.next_due(), Some(at(50)));
        assert_eq!(pacer.pop(at(50)), Some("b"));
        assert_eq!(pacer.pop(at(50)), Some("end"));
        assert!(pacer.is_empty());
    }

    #[test]
    fn the_pause_between_two_epochs_is_not_waited_for() {
        let (start, lane) = (Instant::now(), Arc::from("cam0[0]"));
        let mut pacer = Pacer::new(1.0);
        pacer.push(&lane, Some(&captured(1, 0)), 1, start);
        pacer.push(&lane, Some(&captured(2, 3_600_000)), 2, start);
        assert_eq!(pacer.pop(start), Some(1));
        assert_eq!(pacer.pop(start), Some(2));
    }

    #[test]
    fn a_queue_keeps_its_order_even_if_a_clock_went_back() {
        let (start, lane) = (Instant::now(), Arc::from("cam0[0]"));
        let mut pacer = Pacer::new(1.0);
        for (item, ms) in [(1, 100), (2, 300), (3, 200)] {
            pacer.push(&lane, Some(&captured(1, ms)), item, start);
        }
        let late = start + Duration::from_secs(9);
        let all: Vec<_> = std::iter::from_fn(|| pacer.pop(late)).collect();
        assert_eq!(all, [1, 2, 3]);
    }
}
