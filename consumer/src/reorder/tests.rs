use super::*;
use proptest::prelude::*;

const BOUNDS: ReorderBounds = ReorderBounds {
    records: 8,
    wait: Duration::from_secs(2),
};

fn span(epoch: u64, first: u64, count: u64, what: What) -> Span {
    Span {
        source: "s".into(),
        epoch,
        first,
        count,
        what,
    }
}

fn frame(sequence: u64) -> Span {
    span(1, sequence, 1, What::Frame)
}

struct Harness {
    window: ReorderWindow<(u64, u64)>,
    start: Instant,
    out: Vec<(u64, u64)>,
    given_up: Vec<GivenUp>,
}

impl Harness {
    fn new(bounds: ReorderBounds) -> Self {
        Self {
            window: ReorderWindow::new(bounds, &[]),
            start: Instant::now(),
            out: Vec::new(),
            given_up: Vec::new(),
        }
    }

    fn keep(&mut self, released: Released<(u64, u64)>) {
        self.out.extend(released.items);
        self.given_up.extend(released.given_up);
    }

    /// At this time, with everything read.
    fn at(&mut self, at_ms: u64) -> Instant {
        let now = self.start + Duration::from_millis(at_ms);
        self.window.set_reading(ReadingState {
            partitions: 1,
            caught_up: Some(now),
        });
        now
    }

    fn insert(&mut self, span: &Span, at_ms: u64) {
        let now = self.at(at_ms);
        let item = (span.epoch, span.first);
        let released = self.window.insert(span, item, now);
        self.keep(released);
    }

    fn expire(&mut self, at_ms: u64) {
        let now = self.at(at_ms);
        let released = self.window.expire(now);
        self.keep(released);
    }

    fn flush(&mut self) {
        let released = self.window.flush();
        self.keep(released);
    }
}

#[test]
fn a_number_is_given_up_after_its_time_and_named() {
    let mut h = Harness::new(BOUNDS);
    for sequence in [0, 1, 4, 5] {
        h.insert(&frame(sequence), 0);
    }
    assert_eq!(h.out, [(1, 0), (1, 1)]);
    h.expire(1_999);
    assert_eq!(h.out.len(), 2);
    h.expire(2_000);
    assert_eq!(h.out, [(1, 0), (1, 1), (1, 4), (1, 5)]);
    let given_up = GivenUp {
        source: "s".into(),
        epoch: 1,
        first: 2,
        count: 2,
    };
    assert_eq!(h.given_up, [given_up]);
    h.insert(&frame(3), 2_001); // late: passed on at once
    assert_eq!(h.out.last(), Some(&(1, 3)));
}

#[test]
fn a_number_is_given_up_when_too_many_wait_for_it() {
    let mut h = Harness::new(BOUNDS);
    h.insert(&frame(0), 0);
    for sequence in 2..=9 {
        h.insert(&frame(sequence), 0);
    }
    assert_eq!(h.out.len(), 1);
    h.insert(&frame(10), 0);
    assert_eq!(h.out.len(), 10);
    assert_eq!(h.given_up.len(), 1);
}

#[test]
fn while_a_partition_is_still_being_read_time_does_not_count() {
    let mut h = Harness::new(BOUNDS);
    h.insert(&frame(0), 0);
    h.insert(&frame(2), 1);
    h.window.set_reading(ReadingState {
        partitions: 2,
        caught_up: Some(h.start),
    });
    let late = h.start + Duration::from_secs(60);
    let released = h.window.expire(late);
    h.keep(released);
    assert_eq!(h.out.len(), 1);
    h.insert(&frame(1), 60_000);
    assert_eq!(h.out.len(), 3);
    assert!(h.given_up.is_empty());
}

#[test]
fn a_beginning_in_the_middle_is_waited_for_but_nothing_is_missed_before_it() {
    let mut h = Harness::new(BOUNDS);
    h.insert(&frame(7), 0);
    h.insert(&frame(6), 100);
    assert!(h.out.is_empty());
    h.expire(2_000);
    assert_eq!(h.out, [(1, 6), (1, 7)]);
    assert!(h.given_up.is_empty());
}

#[test]
fn gaps_count_as_there_and_an_epoch_waits_for_the_end_of_the_one_before() {
    let mut h = Harness::new(BOUNDS);
    h.insert(&frame(0), 0);
    h.insert(&span(2, 0, 1, What::Frame), 1);
    h.insert(&span(1, 4, 0, What::End), 2);
    h.insert(&frame(3), 3);
    h.insert(&span(1, 1, 2, What::Gap), 4);
    assert_eq!(h.out, [(1, 0), (1, 1), (1, 3), (1, 4), (2, 0)]);
    assert!(h.given_up.is_empty());
}

#[test]
fn an_epoch_that_never_ends_is_given_up_for_the_next_one() {
    let mut h = Harness::new(BOUNDS);
    h.insert(&frame(0), 0);
    h.insert(&span(2, 0, 1, What::Frame), 0);
    assert_eq!(h.out, [(1, 0)]);
    h.expire(2_000);
    assert_eq!(h.out, [(1, 0), (2, 0)]);
    h.insert(&frame(1), 2_001);
    assert_eq!(h.out.last(), Some(&(1, 1)));
}

#[test]
fn a_restarted_window_goes_on_where_the_first_one_stopped() {
    let mut position = ReorderPosition {
        source: "s".to_owned(),
        epoch: 1,
        next: 1,
        ended: false,
    };
    let mut h = Harness::new(BOUNDS);
    h.window = ReorderWindow::new(BOUNDS, std::slice::from_ref(&position));
    h.insert(&frame(2), 0);
    assert!(h.out.is_empty());
    h.insert(&frame(1), 0);
    assert_eq!(h.out, [(1, 1), (1, 2)]);

    position.ended = true;
    let mut h = Harness::new(BOUNDS);
    h.window = ReorderWindow::new(BOUNDS, &[position]);
    h.insert(&span(7, 0, 1, What::Frame), 0);
    assert_eq!(h.out, [(7, 0)], "there is no epoch to wait for");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Frames that are at most as far from their place as the window is large come out sorted.
    #[test]
    fn what_fits_the_window_is_sorted(n in 1_u64..120, lag in prop::collection::vec(0_u64..8, 120)) {
        let mut arriving: Vec<u64> = (0..n).collect();
        arriving.sort_by_key(|&i| (i + lag[i as usize], i));
        let mut h = Harness::new(BOUNDS);
        for sequence in arriving {
            h.insert(&frame(sequence), 0);
        }
        h.insert(&span(1, n, 0, What::End), 0);
        let expected: Vec<_> = (0..=n).map(|sequence| (1, sequence)).collect();
        prop_assert_eq!(h.out, expected);
        prop_assert!(h.given_up.is_empty());
    }

    /// Whatever comes, in whatever order and however late: everything leaves, once.
    #[test]
    fn nothing_is_kept_back_and_nothing_doubled(
        input in prop::collection::vec((1_u64..4, 0_u64..40, 0_u64..500), 0..100)
    ) {
        let mut h = Harness::new(BOUNDS);
        let mut now_ms = 0;
        let mut expected: Vec<_> = input.iter().map(|&(epoch, first, _)| (epoch, first)).collect();
        for (epoch, first, pause_ms) in input {
            now_ms += pause_ms;
            h.insert(&span(epoch, first, 1, What::Frame), now_ms);
            prop_assert!(h.window.sources.values().all(|s| s.waiting() <= BOUNDS.records));
        }
        h.flush();
        prop_assert!(h.window.is_empty());
        expected.sort_unstable();
        h.out.sort_unstable();
        prop_assert_eq!(h.out, expected);
    }
}
