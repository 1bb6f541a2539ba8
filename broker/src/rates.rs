//! How fast a lane is, and how long its records take from their slot to their commit.

use hdrhistogram::Histogram;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Microseconds, with two digits: a day at most, which no window holds.
const MAX_LATENCY_US: u64 = 24 * 3_600 * 1_000_000;

/// Counts of one lane.
#[derive(Debug)]
pub struct Rates {
    /// When each record that is not committed came, in their order.
    came: VecDeque<Instant>,
    committed: u64,
    committed_before: u64,
    latency_us: Histogram<u64>,
}

/// The same of the last second or so.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Recent {
    /// Records a second whose place in the output was committed.
    pub fps: f64,
    /// From slot to commit. 0 if there was none.
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            came: VecDeque::new(),
            committed: 0,
            committed_before: 0,
            latency_us: Histogram::new_with_max(MAX_LATENCY_US, 2).expect("the bounds are valid"),
        }
    }
}

impl Rates {
    /// A record takes its slot.
    pub fn came(&mut self, at: Instant) {
        self.came.push_back(at);
    }

    /// The oldest records' places in the output are committed.
    pub fn committed(&mut self, records: usize, now: Instant) {
        for came in self.came.drain(..records.min(self.came.len())) {
            let latency_us = now.saturating_duration_since(came).as_micros();
            let latency_us = u64::try_from(latency_us).unwrap_or(u64::MAX);
            self.latency_us.saturating_record(latency_us);
        }
        self.committed += records as u64;
    }

    /// Records committed since the lane is ours.
    pub fn total(&self) -> u64 {
        self.committed
    }

    /// Since the last call, which was this long ago.
    pub fn recent(&mut self, since: Duration) -> Recent {
        let records = self.committed - self.committed_before;
        self.committed_before = self.committed;
        let ms = |quantile| self.latency_us.value_at_quantile(quantile) as f64 / 1e3;
        let recent = Recent {
            fps: records as f64 / since.as_secs_f64().max(1e-3),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
        };
        self.latency_us.reset();
        recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_counted_from_slot_to_commit_and_rates_since_the_last_look() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut rates = Rates::default();
        (0..4).for_each(|n| rates.came(after(n)));
        rates.committed(3, after(100));
        let recent = rates.recent(Duration::from_secs(2));
        assert_eq!(recent.fps, 1.5);
        assert!((98.0..=101.0).contains(&recent.p50_ms), "{recent:?}");
        rates.committed(1, after(503));
        let recent = rates.recent(Duration::from_secs(1));
        assert!((495.0..=505.0).contains(&recent.p99_ms), "{recent:?}");
        assert_eq!(rates.recent(Duration::from_secs(1)), Recent::default());
        assert_eq!(rates.total(), 4);
    }
}
