//! Numbers over time in a bounded number of bins: when there are too many, two become one.

use std::collections::BTreeMap;

/// More bins than this are narrower than a pixel or two.
const MOST_BINS: i64 = 240;
/// The narrowest bin.
const FIRST_WIDTH_NS: i64 = 100_000_000;

/// What two bins become.
pub trait Merge {
    /// Takes the other's numbers in.
    fn merge(&mut self, other: Self);
}

/// Bins of one width. Which bin a time falls into does not depend on what was there before.
#[derive(Debug)]
pub struct Timeline<T> {
    width_ns: i64,
    /// By time divided by width.
    bins: BTreeMap<i64, T>,
}

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self {
            width_ns: FIRST_WIDTH_NS,
            bins: BTreeMap::new(),
        }
    }
}

impl<T: Merge + Default> Timeline<T> {
    /// The bin of a time.
    pub fn at(&mut self, time_ns: i64) -> &mut T {
        loop {
            let index = time_ns.div_euclid(self.width_ns);
            let first = self.bins.first_key_value().map_or(index, |(at, _)| *at);
            let last = self.bins.last_key_value().map_or(index, |(at, _)| *at);
            let span = i128::from(last.max(index)) - i128::from(first.min(index));
            if span < i128::from(MOST_BINS) {
                return self.bins.entry(index).or_default();
            }
            self.set_width(self.width_ns.saturating_mul(2));
        }
    }

    /// Makes the bins as wide as those of another timeline, if they are narrower.
    pub fn widen_to(&mut self, width_ns: i64) {
        while self.width_ns < width_ns {
            self.set_width(self.width_ns.saturating_mul(2));
        }
    }

    fn set_width(&mut self, width_ns: i64) {
        let ratio = width_ns / self.width_ns;
        self.width_ns = width_ns;
        for (index, bin) in std::mem::take(&mut self.bins) {
            let index = index.div_euclid(ratio.max(1));
            self.bins.entry(index).or_default().merge(bin);
        }
    }

    /// The width of every bin.
    pub fn width_ns(&self) -> i64 {
        self.width_ns
    }

    /// The bins that have something, with the time at which they begin.
    pub fn bins(&self) -> impl Iterator<Item = (i64, &T)> {
        let begin = |(index, bin): (&i64, _)| (index.saturating_mul(self.width_ns), bin);
        self.bins.iter().map(begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Count(u64);

    impl Merge for Count {
        fn merge(&mut self, other: Self) {
            self.0 += other.0;
        }
    }

    #[test]
    fn a_timeline_stays_small_and_loses_nothing_in_whatever_order() {
        let times = (0..10_000_i64).map(|n| (n * 7_919 % 10_000) * 1_000_000_000 - 5_000);
        let mut timeline = Timeline::<Count>::default();
        for time in times {
            timeline.at(time).0 += 1;
        }
        let bins: Vec<(i64, u64)> = timeline.bins().map(|(at, count)| (at, count.0)).collect();
        assert!(bins.len() <= MOST_BINS as usize, "{}", bins.len());
        assert_eq!(bins.iter().map(|(_, count)| count).sum::<u64>(), 10_000);
        assert!(bins.is_sorted());
        // Each of the inner bins has as many as its width has seconds.
        let seconds = timeline.width_ns() as f64 / 1e9;
        for (_, count) in &bins[1..bins.len() - 1] {
            assert!(
                (*count as f64 - seconds).abs() <= 1.0,
                "{count} of {seconds}"
            );
        }
    }

    #[test]
    fn times_at_the_ends_of_all_time_need_no_more_than_two_bins() {
        let mut timeline = Timeline::<Count>::default();
        timeline.at(i64::MIN).0 += 1;
        timeline.at(i64::MAX).0 += 1;
        assert_eq!(timeline.bins().map(|(_, count)| count.0).sum::<u64>(), 2);
    }
}
