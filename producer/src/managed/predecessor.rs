//! Whoever of the host still runs sources when the turn comes to another: it is waited for, as frames of theirs may wait for
//! Kafka that a newer claim would have it give up. Pure: time is an argument.

use super::sources::STOP_GRACE;
use jiff::Timestamp;
use registry::LOST_AFTER;
use std::collections::HashMap;
use std::time::Instant;

/// Who is waited for, and how long.
#[derive(Debug, Default)]
pub struct Predecessors {
    since: Option<Instant>,
    /// When each was looked at first in this turn, and when it had spoken last then, by its own clock.
    first_seen: HashMap<String, (Instant, Timestamp)>,
}

impl Predecessors {
    /// The turn has come.
    pub fn begin(&mut self, now: Instant) {
        self.since = Some(now);
        self.first_seen.clear();
    }

    /// Whether anybody is waited for.
    pub fn may_be_there(&self, now: Instant) -> bool {
        let waited = |since: Instant| now.saturating_duration_since(since);
        self.since.is_some_and(|since| waited(since) < STOP_GRACE)
    }

    /// Whether this one is, who spoke last at that time: also while it is silent, because Kafka may have been; but not for
    /// longer than the living are silent.
    pub fn is_waited_for(&mut self, instance: &str, last_seen: Timestamp, now: Instant) -> bool {
        if !self.may_be_there(now) {
            return false;
        }
        let (looked, spoke) = *self
            .first_seen
            .entry(instance.to_owned())
            .or_insert((now, last_seen));
        last_seen != spoke || now.saturating_duration_since(looked) < LOST_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn whoever_speaks_is_waited_for_to_the_end_and_whoever_does_not_for_a_moment() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let spoke = |second: i64| Timestamp::from_second(1_000 + second).unwrap();
        let mut ones = Predecessors::default();
        assert!(!ones.may_be_there(begun) && !ones.is_waited_for("a", spoke(0), begun));
        ones.begin(begun);
        for (second, instance, said, waits) in [
            (0, "alive", 0, true),
            (0, "dead", 0, true),
            (3, "dead", 0, true),
            (5, "dead", 0, false),
            (5, "alive", 4, true),
            (19, "alive", 4, true),
            (20, "alive", 19, false),
        ] {
            let found = ones.is_waited_for(instance, spoke(said), after(second));
            assert_eq!(found, waits, "{instance} after {second} s");
        }
        // The first look may come late: the registry was away, or this machine was frozen.
        ones.begin(after(30));
        assert!(ones.is_waited_for("dead", spoke(0), after(36)));
        assert!(ones.is_waited_for("dead", spoke(0), after(39)));
        assert!(!ones.is_waited_for("dead", spoke(0), after(40)));
    }
}
