//! Whether this process was frozen: stopped, or on a machine that slept. Its turn may have gone to another meanwhile, and
//! it hears of that only after it has begun to run again. Pure: time is an argument.

use super::opening::Now;
use super::turn::SESSION_TIMEOUT;
use std::time::{Duration, Instant};

/// Between two rounds of a process that runs lies much less, and a shorter freeze costs no turn.
const FROZEN: Duration = SESSION_TIMEOUT.saturating_sub(Duration::from_secs(3));
/// Together with the freeze longer than a session: by then Kafka has answered, or its client has given the turn up by
/// itself. It looks once in a second.
const DOUBT: Duration = Duration::from_secs(4);

/// What is known of the rounds so far.
#[derive(Debug, Default)]
pub struct Freeze {
    last: Option<Now>,
    doubted_until: Option<Instant>,
}

impl Freeze {
    /// Called once a round. False: the turn may be another's, so nothing is to be opened.
    pub fn is_turn_known(&mut self, now: Now) -> bool {
        let gap = self.last.map_or(Duration::ZERO, |last| between(last, now));
        self.last = Some(now);
        if gap > FROZEN {
            tracing::warn!(
                ?gap,
                "this process was frozen: nothing is opened for a moment"
            );
            self.doubted_until = Some(now.instant + DOUBT);
        }
        self.doubted_until.is_none_or(|until| until <= now.instant)
    }
}

/// By the clock that says more: one of the two stands still while the machine sleeps.
fn between(last: Now, now: Now) -> Duration {
    let by_day = now.time.duration_since(last.time);
    let by_day = Duration::try_from(by_day).unwrap_or_default(); // it was set back
    now.instant
        .saturating_duration_since(last.instant)
        .max(by_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(now: Now, running_ms: u64, sleeping_ms: u64) -> Now {
        Now {
            instant: now.instant + Duration::from_millis(running_ms),
            time: now.time + Duration::from_millis(running_ms + sleeping_ms),
        }
    }

    #[test]
    fn after_a_freeze_the_turn_is_doubted_for_a_while() {
        for (running_ms, sleeping_ms) in [(6_500, 0), (250, 6_500)] {
            let (mut freeze, now) = (Freeze::default(), Now::read());
            assert!(freeze.is_turn_known(now), "nothing was before");
            let mut now = later(now, running_ms, sleeping_ms);
            assert!(!freeze.is_turn_known(now), "{running_ms} {sleeping_ms}");
            for _ in 0..15 {
                now = later(now, 250, 0);
                assert!(!freeze.is_turn_known(now));
            }
            assert!(freeze.is_turn_known(later(now, 250, 0)));
        }
    }

    #[test]
    fn slow_rounds_and_a_clock_that_is_set_back_are_no_freeze() {
        let (mut freeze, now) = (Freeze::default(), Now::read());
        assert!(freeze.is_turn_known(now));
        let now = later(now, 2_500, 0);
        assert!(freeze.is_turn_known(now));
        let set_back = Now {
            time: now.time - Duration::from_secs(3_600),
            ..later(now, 250, 0)
        };
        assert!(freeze.is_turn_known(set_back));
    }
}
