//! Checks that each source's frames come complete, once and in order. Pure: records in, verdicts out.

use crate::span::{Span, What};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Holes remembered per epoch. A hole may be filled late; one that was forgotten makes its late frame look like a
/// duplicate, which only happens in streams that are broken beyond use.
const MAX_HOLES: usize = 4096;

/// What is wrong with one record's place in its source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Frames that are missing before it.
    pub lost: u64,
    /// Frames counted as lost before, which this record brings after all.
    pub recovered: u64,
    /// 1 if it was there before.
    pub duplicated: u64,
    /// 1 if it comes after a later one.
    pub out_of_order: u64,
}

impl Verdict {
    /// Adds another verdict.
    pub fn add(&mut self, other: Self) {
        // One foreign id is enough to lose as many frames as there are numbers.
        self.lost = self.lost.saturating_add(other.lost);
        self.recovered = self.recovered.saturating_add(other.recovered);
        self.duplicated = self.duplicated.saturating_add(other.duplicated);
        self.out_of_order = self.out_of_order.saturating_add(other.out_of_order);
    }

    /// Frames that are missing for good, as far as is known by now.
    pub fn missing(&self) -> u64 {
        self.lost.saturating_sub(self.recovered)
    }
}

/// Follows any number of sources. The first record of a source says where it begins; nothing is lost before it.
#[derive(Debug, Default)]
pub struct OrderCheck {
    sources: HashMap<Arc<str>, Source>,
}

#[derive(Debug, Default)]
struct Source {
    newest: u64,
    epochs: BTreeMap<u64, Epoch>,
}

#[derive(Debug)]
struct Epoch {
    /// The first sequence number seen; what lies before it is nobody's loss.
    begin: u64,
    /// The next sequence number expected.
    next: u64,
    /// First missing number -> the number behind the hole.
    holes: BTreeMap<u64, u64>,
    /// A gap of unknown length begins here: what is missing from here on is accounted for.
    open_gap: Option<u64>,
    ended: bool,
}

impl OrderCheck {
    /// Takes the next record into account.
    pub fn observe(&mut self, span: &Span) -> Verdict {
        let source = self.sources.entry(Arc::clone(&span.source)).or_default();
        // An epoch that begins while its source is followed has to begin at its beginning.
        let begin = match source.newest {
            0 => span.first,
            newest if span.epoch > newest => 0,
            _ => span.first,
        };
        let is_old = span.epoch < source.newest;
        source.newest = source.newest.max(span.epoch);
        let epoch = source
            .epochs
            .entry(span.epoch)
            .or_insert_with(|| Epoch::new(begin));
        let mut verdict = epoch.observe(span);
        if is_old && verdict.duplicated == 0 {
            verdict.out_of_order = 1;
        }
        verdict
    }

    /// True if at least one source was seen and the newest epoch of each has ended.
    pub fn have_all_ended(&self) -> bool {
        let has_ended = |source: &Source| {
            source
                .epochs
                .last_key_value()
                .is_some_and(|(_, epoch)| epoch.ended)
        };
        !self.sources.is_empty() && self.sources.values().all(has_ended)
    }
}

impl Epoch {
    fn new(begin: u64) -> Self {
        Self {
            begin,
            next: begin,
            holes: BTreeMap::new(),
            open_gap: None,
            ended: false,
        }
    }

    fn observe(&mut self, span: &Span) -> Verdict {
        let mut verdict = Verdict::default();
        let is_late = span.first < self.next;
        if is_late && span.count > 0 {
            verdict = self.observe_late(span);
        } else if span.first > self.next {
            verdict.lost = self.skip_to(span.first);
        }
        self.next = self.next.max(span.end());
        match span.what {
            What::End => {
                verdict.duplicated = u64::from(self.ended);
                verdict.out_of_order = u64::from(is_late && !self.ended);
                self.ended = true;
            }
            What::Gap if span.count == 0 => self.open_gap = Some(span.first),
            _ if self.ended && verdict.duplicated == 0 => verdict.out_of_order = 1,
            _ => {}
        }
        verdict
    }

    /// Opens a hole up to `first`; returns how many frames are lost in it.
    fn skip_to(&mut self, first: u64) -> u64 {
        if self.open_gap.take() == Some(self.next) {
            return 0;
        }
        self.holes.insert(self.next, first);
        if self.holes.len() > MAX_HOLES {
            self.holes.pop_first();
        }
        first - self.next
    }

    /// A span that begins before the next expected number: it fills holes, or was there before.
    fn observe_late(&mut self, span: &Span) -> Verdict {
        let recovered = self.fill(span.first, span.end());
        let brings_new = recovered > 0 || span.end() > self.next || span.first < self.begin;
        Verdict {
            recovered,
            duplicated: u64::from(!brings_new),
            out_of_order: u64::from(brings_new),
            ..Verdict::default()
        }
    }

    /// Removes the range from the holes; returns how many numbers of it were missing.
    fn fill(&mut self, first: u64, end: u64) -> u64 {
        let overlapping: Vec<_> = self
            .holes
            .range(..end)
            .filter(|&(_, &hole_end)| hole_end > first)
            .map(|(&start, &hole_end)| (start, hole_end))
            .collect();
        let mut filled = 0;
        for (start, hole_end) in overlapping {
            self.holes.remove(&start);
            if start < first {
                self.holes.insert(start, first);
            }
            if hole_end > end {
                self.holes.insert(end, hole_end);
            }
            filled += hole_end.min(end) - start.max(first);
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn span(epoch: u64, first: u64, count: u64, what: What) -> Span {
        Span {
            source: "s".into(),
            epoch,
            first,
            count,
            what,
        }
    }

    fn frame(epoch: u64, sequence: u64) -> Span {
        span(epoch, sequence, 1, What::Frame)
    }

    fn total(spans: &[Span]) -> Verdict {
        let mut check = OrderCheck::default();
        let mut total = Verdict::default();
        for span in spans {
            total.add(check.observe(span));
        }
        total
    }

    #[test]
    fn a_complete_source_with_gaps_and_epochs_has_nothing_wrong() {
        let spans = [
            frame(1, 4), // read from the middle
            frame(1, 5),
            span(1, 6, 10, What::Gap),
            frame(1, 16),
            span(1, 17, 0, What::End),
            frame(3, 0),
            span(3, 1, 0, What::Gap), // unknown length
            frame(3, 9),
            span(3, 10, 0, What::End),
        ];
        assert_eq!(total(&spans), Verdict::default());
    }

    #[test]
    fn holes_are_lost_also_before_an_end_and_at_the_beginning_of_a_later_epoch() {
        assert_eq!(total(&[frame(1, 0), frame(1, 3)]).missing(), 2);
        let end = span(1, 10, 0, What::End);
        assert_eq!(total(&[frame(1, 0), end]).missing(), 9);
        assert_eq!(total(&[frame(1, 0), frame(2, 5)]).missing(), 5);
    }

    #[test]
    fn a_late_frame_closes_its_hole_and_is_out_of_order() {
        let all = total(&[frame(1, 0), frame(1, 2), frame(1, 1)]);
        assert_eq!((all.missing(), all.out_of_order, all.duplicated), (0, 1, 0));
    }

    #[test]
    fn what_was_there_before_is_a_duplicate() {
        let end = span(1, 2, 0, What::End);
        let all = total(&[frame(1, 0), frame(1, 1), frame(1, 1), end.clone(), end]);
        assert_eq!((all.missing(), all.out_of_order, all.duplicated), (0, 0, 2));
    }

    #[test]
    fn an_older_epoch_after_a_newer_one_is_out_of_order() {
        let all = total(&[frame(1, 0), frame(2, 0), frame(1, 1)]);
        assert_eq!((all.missing(), all.out_of_order), (0, 1));
    }

    #[test]
    fn all_have_ended_when_the_newest_epoch_of_each_has() {
        let mut check = OrderCheck::default();
        assert!(!check.have_all_ended());
        check.observe(&frame(1, 0)); // killed: never ends
        check.observe(&frame(2, 0));
        assert!(!check.have_all_ended());
        check.observe(&span(2, 1, 0, What::End));
        assert!(check.have_all_ended());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn verdicts_agree_with_a_set_of_everything_seen(
            spans in prop::collection::vec((0_u64..60, 1_u64..4), 1..80)
        ) {
            let mut check = OrderCheck::default();
            let (mut seen, mut before) = (HashSet::new(), HashSet::new());
            let base = spans[0].0;
            let mut next = base;
            let (mut expected, mut total) = (Verdict::default(), Verdict::default());
            for (first, count) in spans {
                let what = if count == 1 { What::Frame } else { What::Gap };
                total.add(check.observe(&span(1, first, count, what)));
                let is_known = |n: &u64| seen.contains(n) || (*n < base && before.contains(n));
                let all_known = (first..first + count).all(|n| is_known(&n));
                if first < base {
                    expected.out_of_order += 1; // nothing is remembered of before the beginning
                } else if all_known {
                    expected.duplicated += 1;
                } else if first < next {
                    expected.out_of_order += 1;
                }
                for n in first..first + count {
                    if n < base { before.insert(n); } else { seen.insert(n); }
                }
                next = next.max(first + count);
            }
            let missing = (base..next).filter(|n| !seen.contains(n)).count() as u64;
            prop_assert_eq!(total.missing(), missing);
            prop_assert_eq!(total.duplicated, expected.duplicated);
            prop_assert_eq!(total.out_of_order, expected.out_of_order);
        }
    }
}
