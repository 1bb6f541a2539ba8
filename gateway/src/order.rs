//! What a viewer is shown only goes forward.

use pipeline::v1::FrameId;

/// So many late ones in a row are no stragglers: the source has begun anew (its topic and its claims were removed).
const LATE_IN_A_ROW: u32 = 64;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It follows the last one; so many frames between them never came.
    Next { missing: u64 },
    /// The first one of an epoch, or of all.
    First,
    /// A later one was shown before it (an older start's last frames, or a source that is spread over partitions).
    Late,
}

/// The order of one source.
#[derive(Debug, Default)]
pub struct Order {
    /// Epoch, and the next sequence.
    next: Option<(u64, u64)>,
    late: u32,
}

impl Order {
    /// Judges a frame, or `count` frames that a gap stands for, from this id on.
    pub fn judge(&mut self, id: &FrameId, count: u64) -> Verdict {
        let behind = (id.epoch, id.sequence.saturating_add(count));
        let verdict = match self.next {
            Some((epoch, next)) if id.epoch == epoch && id.sequence >= next => Verdict::Next {
                missing: id.sequence - next,
            },
            Some((epoch, _)) if id.epoch <= epoch && self.late < LATE_IN_A_ROW => Verdict::Late,
            _ => Verdict::First,
        };
        match verdict {
            Verdict::Late => self.late += 1,
            _ => (self.next, self.late) = (Some(behind), 0),
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(order: &mut Order, epoch: u64, sequence: u64) -> Verdict {
        order.judge(&FrameId::new("s", epoch, sequence), 1)
    }

    #[test]
    fn frames_go_forward_and_holes_are_counted() {
        let mut order = Order::default();
        assert_eq!(
            judge(&mut order, 1, 5),
            Verdict::First,
            "watched from the middle"
        );
        assert_eq!(judge(&mut order, 1, 6), Verdict::Next { missing: 0 });
        assert_eq!(judge(&mut order, 1, 9), Verdict::Next { missing: 2 });
        assert_eq!(judge(&mut order, 1, 8), Verdict::Late);
        assert_eq!(judge(&mut order, 1, 9), Verdict::Late, "twice");
        assert_eq!(judge(&mut order, 2, 0), Verdict::First);
        assert_eq!(
            judge(&mut order, 1, 10),
            Verdict::Late,
            "of the start before"
        );
        assert_eq!(
            order.judge(&FrameId::new("s", 2, 1), 10),
            Verdict::Next { missing: 0 }
        );
        assert_eq!(
            judge(&mut order, 2, 11),
            Verdict::Next { missing: 0 },
            "behind a gap of ten"
        );
    }

    #[test]
    fn a_source_that_begins_anew_is_shown_after_a_while() {
        let mut order = Order::default();
        judge(&mut order, 7, 1_000);
        let verdicts: Vec<_> = (0..70).map(|n| judge(&mut order, 1, n)).collect();
        assert_eq!(verdicts[63], Verdict::Late);
        assert_eq!(verdicts[64], Verdict::First);
        assert_eq!(verdicts[65], Verdict::Next { missing: 0 });
    }
}
