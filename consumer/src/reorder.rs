//! Restores the order of sources that were spread over partitions. Pure: time is an argument.
//!
//! ```text
//! spans in any order -> per source: waiting, sorted -> released while the next number is there
//! ```
//! A source waits for a missing number until its bound in records or time is reached; then the number is given up, by
//! name. Time only counts once every partition was read to its end since: in a replay, a partition that is simply read
//! later than the others loses nothing. What comes after it was given up is passed on at once, out of order. An epoch
//! waits for the end of the one before it, within the same bounds.

use crate::span::{Span, What};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much patience there is with a source.
#[derive(Debug, Clone, Copy)]
pub struct ReorderBounds {
    /// Records of one source that wait, at most, for each partition that is read.
    pub records: usize,
    /// How long one record waits, at most, where all partitions are read to their ends.
    pub wait: Duration,
}

/// Records that wait for earlier ones.
#[derive(Debug)]
pub struct ReorderWindow<T> {
    bounds: ReorderBounds,
    reading: ReadingState,
    sources: BTreeMap<Arc<str>, Source<T>>,
}

/// How far the partitions are read.
#[derive(Debug, Clone, Copy)]
pub struct ReadingState {
    /// How many there are.
    pub partitions: usize,
    /// Everything that was in them at this time has been taken. None: not yet.
    pub caught_up: Option<Instant>,
}

#[derive(Debug)]
struct Source<T> {
    /// Epochs up to this one are over: what still comes of them is late.
    closed: u64,
    epochs: BTreeMap<u64, Epoch<T>>,
    arrivals: u64,
}

#[derive(Debug)]
struct Epoch<T> {
    /// The next number to release; None until the beginning is known or given up.
    next: Option<u64>,
    /// By first number, then by arrival.
    waiting: BTreeMap<(u64, u64), Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    end: u64,
    what: What,
    since: Instant,
}

/// Numbers that were not waited for any longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The source.
    pub source: Arc<str>,
    /// Its epoch.
    pub epoch: u64,
    /// The first number given up.
    pub first: u64,
    /// How many in a row.
    pub count: u64,
}

/// Where a source's order goes on, to be kept with the progress of a sink.
/// Later positions of a source are greater.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReorderPosition {
    /// The source.
    pub source: String,
    /// Its epoch.
    pub epoch: u64,
    /// The next number to release.
    pub next: u64,
    /// The epoch has ended.
    pub ended: bool,
}

/// What leaves the window, in order.
#[derive(Debug)]
pub struct Released<T> {
    /// The records.
    pub items: Vec<T>,
    /// What they do not wait for any longer.
    pub given_up: Vec<GivenUp>,
}

impl<T> Default for Released<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            given_up: Vec::new(),
        }
    }
}

impl<T> ReorderWindow<T> {
    /// An empty window that goes on at these positions, at most one a source.
    pub fn new(bounds: ReorderBounds, positions: &[ReorderPosition]) -> Self {
        let mut sources = BTreeMap::new();
        for position in positions {
            let source: &mut Source<T> = sources
                .entry(Arc::from(position.source.as_str()))
                .or_insert_with(Source::new);
            if position.ended {
                source.closed = position.epoch;
            } else {
                source.closed = position.epoch.saturating_sub(1);
                let epoch = Epoch::new(Some(position.next));
                source.epochs.insert(position.epoch, epoch);
            }
        }
        let reading = ReadingState {
            partitions: 1,
            caught_up: None,
        };
        Self {
            bounds,
            reading,
            sources,
        }
    }

    /// Says how far the partitions are read. Before each other call.
    pub fn set_reading(&mut self, reading: ReadingState) {
        self.reading = reading;
    }

    /// Takes a record in; returns what may leave now.
    pub fn insert(&mut self, span: &Span, item: T, now: Instant) -> Released<T> {
        let mut released = Released::default();
        let source = self
            .sources
            .entry(Arc::clone(&span.source))
            .or_insert_with(Source::new);
        if span.epoch <= source.closed {
            released.items.push(item);
            return released;
        }
        source.arrivals += 1;
        let epoch = source
            .epochs
            .entry(span.epoch)
            .or_insert_with(|| Epoch::new(None));
        let waiting = Waiting {
            item,
            end: span.end(),
            what: span.what,
            since: now,
        };
        epoch.waiting.insert((span.first, source.arrivals), waiting);
        source.release(&mut released.items);
        source.give_up(&span.source, self.bounds, self.reading, now, &mut released);
        released
    }

    /// What has waited long enough by now.
    pub fn expire(&mut self, now: Instant) -> Released<T> {
        let mut released = Released::default();
        for (name, source) in &mut self.sources {
            source.give_up(name, self.bounds, self.reading, now, &mut released);
        }
        released
    }

    /// Everything, when nothing more will come.
    pub fn flush(&mut self) -> Released<T> {
        let mut released = Released::default();
        for (name, source) in &mut self.sources {
            while source.waiting() > 0 {
                source.give_up_once(name, &mut released);
            }
        }
        released
    }

    /// When [`ReorderWindow::expire`] next has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let oldest = self.sources.values().filter_map(Source::oldest).min()?;
        Some(oldest + self.bounds.wait)
    }

    /// Drops waiting records.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let sources = self.sources.values_mut();
        for epoch in sources.flat_map(|source| source.epochs.values_mut()) {
            epoch.waiting.retain(|_, waiting| keep(&waiting.item));
        }
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.sources.values().all(|source| source.waiting() == 0)
    }
}

impl<T> Source<T> {
    fn new() -> Self {
        Self {
            closed: 0,
            epochs: BTreeMap::new(),
            arrivals: 0,
        }
    }

    fn waiting(&self) -> usize {
        self.epochs.values().map(|epoch| epoch.waiting.len()).sum()
    }

    fn oldest(&self) -> Option<Instant> {
        let waiting = self.epochs.values().flat_map(|e| e.waiting.values());
        waiting.map(|waiting| waiting.since).min()
    }

    /// Lets go what is next, epoch by epoch.
    fn release(&mut self, out: &mut Vec<T>) {
        while let Some(mut first) = self.epochs.first_entry() {
            if !first.get_mut().release(out) {
                return;
            }
            self.close_first(out);
        }
    }

    /// The first epoch is over; what still waits in it was late anyway.
    fn close_first(&mut self, out: &mut Vec<T>) {
        if let Some((number, epoch)) = self.epochs.pop_first() {
            self.closed = number;
            out.extend(epoch.waiting.into_values().map(|waiting| waiting.item));
        }
    }

    fn give_up(
        &mut self,
        name: &Arc<str>,
        bounds: ReorderBounds,
        reading: ReadingState,
        now: Instant,
        released: &mut Released<T>,
    ) {
        let is_over = |source: &Self| {
            let is_late = |since: Instant| {
                now.duration_since(since) >= bounds.wait
                    && reading.caught_up.is_some_and(|at| at >= since)
            };
            source.waiting() > bounds.records * reading.partitions.max(1)
                || source.oldest().is_some_and(is_late)
        };
        while is_over(self) {
            self.give_up_once(name, released);
        }
    }

    /// Goes on behind the first hole: at the first waiting number, or in the next epoch.
    fn give_up_once(&mut self, name: &Arc<str>, released: &mut Released<T>) {
        let Some((&number, epoch)) = self.epochs.iter_mut().next() else {
            return;
        };
        match epoch.waiting.first_key_value() {
            Some((&(first, _), _)) => {
                // Without a known beginning nothing is known to be missing before the first number.
                if let Some(next) = epoch.next.replace(first)
                    && first > next
                {
                    released.given_up.push(GivenUp {
                        source: Arc::clone(name),
                        epoch: number,
                        first: next,
                        count: first - next,
                    });
                }
            }
            None => self.close_first(&mut released.items),
        }
        self.release(&mut released.items);
    }
}

impl<T> Epoch<T> {
    fn new(next: Option<u64>) -> Self {
        Self {
            next,
            waiting: BTreeMap::new(),
        }
    }

    /// Lets go what is next or late; true if the epoch has ended.
    fn release(&mut self, out: &mut Vec<T>) -> bool {
        while let Some(entry) = self.waiting.first_entry() {
            let first = entry.key().0;
            let next = match self.next {
                Some(next) => next,
                None if first == 0 => 0, // a source counts from 0: there is nothing before it
                None => return false,
            };
            if first > next {
                return false;
            }
            let waiting = entry.remove();
            self.next = Some(next.max(waiting.end));
            out.push(waiting.item);
            if waiting.what == What::End && first == next {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
