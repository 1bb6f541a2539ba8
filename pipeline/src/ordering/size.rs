//! How large a batch may be: less after one that failed, more after one that did not.
//!
//! A link may be too slow for a large batch within the time that Kafka gives a transaction. Written again as it was, such
//! a batch would fail for ever. Why a batch failed is not asked: a smaller one costs little, and soon grows again.

/// The bounds of the next batch. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSize {
    max_records: usize,
    max_bytes: usize,
    /// The bounds are divided by this, a power of two.
    divisor: usize,
}

impl BatchSize {
    /// As large as these bounds allow.
    pub fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            max_records,
            max_bytes,
            divisor: 1,
        }
    }

    /// Records, at least one.
    pub fn records(&self) -> usize {
        (self.max_records / self.divisor).max(1)
    }

    /// Bytes at which nothing more is added. A single record may have more.
    pub fn bytes(&self) -> usize {
        self.max_bytes / self.divisor
    }

    /// True if a batch of this size takes no more.
    pub fn is_full(&self, records: usize, bytes: usize) -> bool {
        records >= self.records() || bytes >= self.bytes()
    }

    /// A batch of this size was not written: the next one is smaller, until it is a single record.
    pub fn failed(&mut self, records: usize, bytes: usize) {
        if records < 2 {
            return; // nothing is smaller
        }
        // One that was far below the bounds is not to fail once more for each halving that it would not notice.
        loop {
            if self.records() == 1 {
                return;
            }
            self.divisor *= 2;
            if self.records() < records || self.bytes() < bytes {
                return;
            }
        }
    }

    /// A batch was written: the next one may be twice as large.
    pub fn succeeded(&mut self) {
        self.divisor = (self.divisor / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_makes_the_next_batch_smaller_down_to_one_record() {
        let mut size = BatchSize::new(1000, 32_000);
        size.failed(1000, 20_000);
        assert_eq!((size.records(), size.bytes()), (500, 16_000));
        // Far below the bounds.
        size.failed(20, 2_000);
        assert_eq!((size.records(), size.bytes()), (31, 1_000));
        size.failed(20, 1_000);
        assert_eq!((size.records(), size.bytes()), (15, 500));
        for _ in 0..20 {
            size.failed(2, 10);
        }
        assert_eq!(size.records(), 1);
        assert!(size.bytes() > 0 && size.is_full(1, 0));
    }

    #[test]
    fn a_single_record_that_fails_changes_nothing_because_nothing_is_smaller() {
        let mut size = BatchSize::new(1000, 32_000);
        size.failed(1, 8_000);
        assert_eq!(size, BatchSize::new(1000, 32_000));
    }

    #[test]
    fn every_success_doubles_the_bounds_up_to_what_they_were() {
        let mut size = BatchSize::new(3, 100);
        size.failed(3, 90);
        assert_eq!((size.records(), size.bytes()), (1, 50));
        size.succeeded();
        size.succeeded();
        assert_eq!(size, BatchSize::new(3, 100));
    }
}
