//! Puts records in order, judges their places and lets them wait for their time.
//!
//! ```text
//! insert -> (reorder window) -> order check -> (pacer, or at once) -> pop
//! ```

use crate::delivery::Delivery;
use crate::order::{OrderCheck, Verdict};
use crate::pace::Pacer;
use crate::range::Rate;
use crate::reorder::{ReadingState, Released, ReorderBounds, ReorderPosition, ReorderWindow};
use crate::span::What;
use crate::status;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records between Kafka and the sinks. Their number is bounded by the feed, whose room they hold.
#[derive(Debug)]
pub struct Sequencer {
    window: Option<ReorderWindow<Delivery>>,
    /// By topic: the output of a stage has the frames of its input again.
    checks: BTreeMap<Arc<str>, OrderCheck>,
    pacer: Option<Pacer<Delivery>>,
    ready: VecDeque<Delivery>,
    /// With reordering: where each source goes on behind what was popped.
    popped: BTreeMap<Arc<str>, ReorderPosition>,
}

impl Sequencer {
    /// Goes on at `positions` with reordering.
    pub fn new(reorder: Option<ReorderBounds>, rate: Rate, positions: &[ReorderPosition]) -> Self {
        Self {
            window: reorder.map(|bounds| ReorderWindow::new(bounds, positions)),
            checks: BTreeMap::new(),
            pacer: match rate {
                Rate::Max => None,
                Rate::Times(rate) => Some(Pacer::new(rate)),
            },
            ready: VecDeque::new(),
            popped: positions
                .iter()
                .map(|position| (position.source.as_str().into(), position.clone()))
                .collect(),
        }
    }

    /// Says how far the partitions are read. Before [`Sequencer::insert`] and [`Sequencer::expire`].
    pub fn set_reading(&mut self, reading: impl FnOnce() -> ReadingState) {
        if let Some(window) = &mut self.window {
            window.set_reading(reading());
        }
    }

    /// Takes a record in.
    pub fn insert(&mut self, delivery: Delivery, now: Instant) {
        match (&mut self.window, delivery.span.clone()) {
            (Some(window), Some(span)) => {
                let released = window.insert(&span, delivery, now);
                self.pass_on(released, now);
            }
            _ => self.judge(delivery, now),
        }
    }

    /// Lets go what has waited long enough for earlier records.
    pub fn expire(&mut self, now: Instant) {
        if let Some(window) = &mut self.window {
            let released = window.expire(now);
            self.pass_on(released, now);
        }
    }

    /// Lets go everything that waits for earlier records: none will come.
    pub fn flush(&mut self, now: Instant) {
        if let Some(window) = &mut self.window {
            let released = window.flush();
            self.pass_on(released, now);
        }
    }

    /// The next record to show, if its time has come.
    pub fn pop(&mut self, now: Instant) -> Option<Delivery> {
        let due = || self.pacer.as_mut().and_then(|pacer| pacer.pop(now));
        let delivery = self.ready.pop_front().or_else(due)?;
        if let (Some(_), Some(span)) = (&self.window, &delivery.span) {
            let position = ReorderPosition {
                source: span.source.to_string(),
                epoch: span.epoch,
                next: span.end(),
                ended: span.what == What::End,
            };
            match self.popped.get_mut(&span.source) {
                Some(known) => *known = position.max(known.clone()),
                None => drop(self.popped.insert(Arc::clone(&span.source), position)),
            }
        }
        Some(delivery)
    }

    /// When [`Sequencer::pop`] or [`Sequencer::expire`] next has something to do by time alone.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        // What is overdue waits for a partition to be read to its end.
        const LOOK_AGAIN: Duration = Duration::from_millis(20);
        let due = self.pacer.as_ref().and_then(Pacer::next_due);
        let deadline = self.window.as_ref().and_then(ReorderWindow::next_deadline);
        let deadline = deadline.map(|deadline| deadline.max(now + LOOK_AGAIN));
        due.into_iter().chain(deadline).min()
    }

    /// Drops waiting records.
    pub fn retain(&mut self, keep: impl Fn(&Delivery) -> bool) {
        self.ready.retain(&keep);
        if let Some(window) = &mut self.window {
            window.retain(&keep);
        }
        if let Some(pacer) = &mut self.pacer {
            pacer.retain(&keep);
        }
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
            && self.pacer.as_ref().is_none_or(Pacer::is_empty)
            && self.window.as_ref().is_none_or(ReorderWindow::is_empty)
    }

    /// Where each source goes on behind what was popped; empty without reordering.
    pub fn positions(&self) -> Vec<ReorderPosition> {
        match self.window {
            Some(_) => self.popped.values().cloned().collect(),
            None => Vec::new(),
        }
    }

    /// True if at least one source was seen and the newest epoch of each has ended.
    pub fn have_all_ended(&self) -> bool {
        !self.checks.is_empty() && self.checks.values().all(OrderCheck::have_all_ended)
    }

    fn pass_on(&mut self, released: Released<Delivery>, now: Instant) {
        for given_up in released.given_up {
            tracing::error!(
                source = %given_up.source,
                epoch = given_up.epoch,
                sequence = given_up.first,
                count = given_up.count,
                "frames did not come in time; going on without them"
            );
        }
        for delivery in released.items {
            self.judge(delivery, now);
        }
    }

    fn judge(&mut self, mut delivery: Delivery, now: Instant) {
        if let Some(span) = &delivery.span {
            let topic = Arc::clone(&delivery.tp.topic);
            delivery.verdict = self.checks.entry(topic).or_default().observe(span);
            if delivery.verdict != Verdict::default() {
                status::count_anomaly(&delivery);
            }
        }
        let Some(pacer) = &mut self.pacer else {
            self.ready.push_back(delivery);
            return;
        };
        let queue = match (&self.window, &delivery.span) {
            (Some(_), Some(span)) => Arc::clone(&span.source),
            _ => delivery.tp.to_string().into(),
        };
        let captured = delivery.captured();
        pacer.push(&queue, captured.as_ref(), delivery, now);
    }
}
