//! When a condition that holds becomes an alert: a pure function of the frames so far, by their own times. So a replay
//! raises the same alerts at the same frames.

use std::collections::BTreeMap;
use std::time::Duration;

/// Frames further apart than this, or than `--for` where that is longer, say nothing of the time between them.
const LONGEST_HOLE: Duration = Duration::from_secs(10);
/// Sources of one partition that may be remembered although nothing is known of them that still matters.
const IDLE_SOURCES: usize = 64;

/// How long a condition has to hold, and how long a source is quiet after an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rule {
    /// Zero: one frame is enough.
    pub hold: Duration,
    /// Zero: every frame at which the condition holds is an alert.
    pub cooldown: Duration,
}

/// What is known of the sources of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watches {
    /// By source id. A source that is not there is as new.
    pub sources: BTreeMap<String, Watch>,
}

/// What is known of one source. Times are those of frames, nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watch {
    /// The frames in a row at which the condition holds; None if it did not at the last one.
    pub streak: Option<Streak>,
    /// The last alert.
    pub alerted_ns: Option<i64>,
}

/// Frames in a row at which the condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streak {
    /// The epoch of all of them.
    pub epoch: u64,
    /// The first one.
    pub since_ns: i64,
    /// The newest one.
    pub last_ns: i64,
}

/// A frame, as far as alerts are concerned.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Whose frame it is.
    pub source: &'a str,
    /// The run of its source.
    pub epoch: u64,
    /// When it was captured, nanoseconds since the Unix epoch.
    pub time_ns: i64,
}

impl Watches {
    /// Takes the partition's next frame in. Returns since when the condition has held, if that is an alert.
    pub fn observe(&mut self, rule: Rule, frame: Moment<'_>, holds: bool) -> Option<i64> {
        let mut watch = self.sources.get(frame.source).copied().unwrap_or_default();
        let alert = watch.observe(rule, frame, holds);
        if watch.is_idle(rule, frame.time_ns) {
            self.sources.remove(frame.source);
        } else if self
            .sources
            .insert(frame.source.to_owned(), watch)
            .is_none()
            && self.sources.len() > IDLE_SOURCES
        {
            // Sources that ended in their cooldown would stay for ever.
            self.sources
                .retain(|_, watch| !watch.is_idle(rule, frame.time_ns));
        }
        alert
    }

    /// Those of which something is known that still matters, at the newest time that any of them tells.
    pub fn active(&self, rule: Rule) -> impl Iterator<Item = (&String, &Watch)> {
        let told = |watch: &Watch| {
            watch
                .streak
                .map(|streak| streak.last_ns)
                .max(watch.alerted_ns)
        };
        let newest_ns = self.sources.values().filter_map(told).max().unwrap_or(0);
        let sources = self.sources.iter();
        sources.filter(move |(_, watch)| !watch.is_idle(rule, newest_ns))
    }

    /// No later frame of this run of the source.
    pub fn end(&mut self, source: &str) {
        if let Some(watch) = self.sources.get_mut(source) {
            watch.streak = None;
        }
    }
}

impl Watch {
    fn observe(&mut self, rule: Rule, frame: Moment<'_>, holds: bool) -> Option<i64> {
        if !holds {
            self.streak = None;
            return None;
        }
        let now = frame.time_ns;
        let hole = rule.hold.max(LONGEST_HOLE);
        let goes_on = |streak: &Streak| {
            streak.epoch == frame.epoch
                && streak.since_ns <= now
                && distance(streak.last_ns, now) <= hole
        };
        let since_ns = match self.streak.filter(goes_on) {
            Some(streak) => streak.since_ns,
            None => now,
        };
        self.streak = Some(Streak {
            epoch: frame.epoch,
            since_ns,
            last_ns: now,
        });
        if distance(since_ns, now) < rule.hold || self.is_quiet(rule, now) {
            return None;
        }
        self.alerted_ns = Some(now);
        Some(since_ns)
    }

    /// A frame that is a little older than the last alert comes within its cooldown too.
    fn is_quiet(&self, rule: Rule, now_ns: i64) -> bool {
        self.alerted_ns
            .is_some_and(|alerted| distance(alerted, now_ns) < rule.cooldown)
    }

    /// True if the source may be forgotten: it is as a new one.
    fn is_idle(&self, rule: Rule, now_ns: i64) -> bool {
        self.streak.is_none() && !self.is_quiet(rule, now_ns)
    }
}

fn distance(a_ns: i64, b_ns: i64) -> Duration {
    Duration::from_nanos(a_ns.abs_diff(b_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;

    fn rule(hold_s: u64, cooldown_s: u64) -> Rule {
        Rule {
            hold: Duration::from_secs(hold_s),
            cooldown: Duration::from_secs(cooldown_s),
        }
    }

    /// Shows frames of one source, a second apart: `x` where the condition holds, `-` where not, a digit for as many
    /// seconds without a frame. Returns the seconds of the alerts.
    fn alerts(rule: Rule, frames: &str) -> Vec<i64> {
        let (mut watches, mut second, mut alerts) = (Watches::default(), 0, Vec::new());
        for frame in frames.chars() {
            if let Some(pause) = frame.to_digit(10) {
                second += i64::from(pause);
                continue;
            }
            let moment = Moment {
                source: "a",
                epoch: 1,
                time_ns: second * SECOND,
            };
            if watches.observe(rule, moment, frame == 'x').is_some() {
                alerts.push(second);
            }
            second += 1;
        }
        alerts
    }

    #[test]
    fn without_for_and_cooldown_every_frame_at_which_it_holds_is_an_alert() {
        assert_eq!(alerts(rule(0, 0), "-xx-x"), [1, 2, 4]);
    }

    #[test]
    fn it_has_to_hold_without_a_break() {
        assert_eq!(alerts(rule(2, 100), "xx-xxx-xxx"), [5]);
        assert_eq!(alerts(rule(2, 0), "xx-xxxx"), [5, 6]);
    }

    #[test]
    fn after_an_alert_a_source_is_quiet_and_then_says_that_it_still_holds() {
        assert_eq!(alerts(rule(0, 3), "xxxxxxxx"), [0, 3, 6]);
        assert_eq!(alerts(rule(0, 3), "x-x-x-x"), [0, 4]);
        assert_eq!(alerts(rule(2, 4), "xxxxxxxxx"), [2, 6]);
    }

    #[test]
    fn frames_far_apart_say_nothing_of_the_time_between() {
        assert_eq!(alerts(rule(5, 0), "x8x"), [9], "a slow camera");
        assert_eq!(
            alerts(rule(5, 0), "x99x"),
            [0_i64; 0],
            "a camera that was off"
        );
        assert_eq!(alerts(rule(30, 0), "x99x99x"), [38], "a longer wait");
    }

    #[test]
    fn an_end_and_a_new_epoch_break_it_off_and_the_cooldown_goes_on() {
        let mut watches = Watches::default();
        let mut at = |epoch, second: i64| {
            let moment = Moment {
                source: "a",
                epoch,
                time_ns: second * SECOND,
            };
            let since = watches.observe(rule(1, 5), moment, true);
            if second == 7 {
                watches.end("a");
            }
            since.map(|since| since / SECOND)
        };
        let all = [
            at(1, 0),
            at(1, 1),
            at(2, 2),
            at(2, 3),
            at(2, 6),
            at(2, 7),
            at(2, 12),
            at(2, 13),
        ];
        let expected = [None, Some(0), None, None, Some(2), None, None, Some(12)];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_source_of_which_nothing_matters_is_forgotten() {
        let mut watches = Watches::default();
        for number in 0..1_000 {
            let source = format!("cam{number}");
            let moment = Moment {
                source: &source,
                epoch: 1,
                time_ns: number * SECOND,
            };
            assert!(watches.observe(rule(0, 20), moment, true).is_some());
            watches.end(&source);
        }
        assert!(watches.sources.len() <= IDLE_SOURCES + 1);
    }

    proptest! {
        /// What is forgotten makes no difference: with a memory for everything the alerts are the same.
        #[test]
        fn forgetting_changes_no_alert(
            frames in prop::collection::vec((0..5_u8, 0..4_i64, any::<bool>()), 0..400),
            hold_s in 0..4_u64,
            cooldown_s in 0..9_u64,
        ) {
            let rule = rule(hold_s, cooldown_s);
            let (mut watches, mut all) = (Watches::default(), BTreeMap::<String, Watch>::new());
            let mut time_ns = 0;
            for (source, seconds, holds) in frames {
                time_ns += seconds * SECOND;
                let source = format!("cam{source}");
                let frame = Moment { source: &source, epoch: 1, time_ns };
                let expected = all.entry(source.clone()).or_default().observe(rule, frame, holds);
                prop_assert_eq!(watches.observe(rule, frame, holds), expected);
            }
        }
    }
}
