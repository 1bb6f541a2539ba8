//! Whether a source is to be open: always, while somebody watches it, or by the clock. Pure: time is an argument.

use jiff::Timestamp;
use registry::model::Opening;
use std::time::Instant;

/// One moment, by two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For durations.
    pub instant: Instant,
    /// For schedules.
    pub time: Timestamp,
}

impl Now {
    /// The present moment.
    pub fn read() -> Self {
        Self {
            instant: Instant::now(),
            time: Timestamp::now(),
        }
    }
}

/// What is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Frames are to come.
    Open,
    /// None are; why, for people.
    Closed(String),
}

/// What has to be remembered of the watchers of one source.
#[derive(Debug, Clone, Copy, Default)]
pub struct Door {
    last_watched: Option<Instant>,
}

impl Door {
    /// What this source is to be now, with so many watchers.
    pub fn wanted(&mut self, opening: &Opening, watchers: usize, now: Now) -> Wanted {
        if watchers > 0 {
            self.last_watched = Some(now.instant);
        }
        match opening {
            Opening::Always => Wanted::Open,
            Opening::OnDemand { close_after } => {
                let is_in_use = |last| now.instant.saturating_duration_since(last) <= *close_after;
                match self.last_watched {
                    Some(last) if watchers > 0 || is_in_use(last) => Wanted::Open,
                    _ => Wanted::Closed("opens when somebody watches it".to_owned()),
                }
            }
            Opening::Schedule(schedule) if schedule.is_open_at(now.time) => Wanted::Open,
            Opening::Schedule(schedule) => {
                let spans: Vec<_> = schedule.spans().iter().map(ToString::to_string).collect();
                let zone = schedule.zone().unwrap_or("UTC");
                Wanted::Closed(format!("open {} ({zone})", spans.join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::model::Schedule;
    use std::time::Duration;

    fn is_open(door: &mut Door, opening: &Opening, watchers: usize, now: Now) -> bool {
        door.wanted(opening, watchers, now) == Wanted::Open
    }

    #[test]
    fn on_demand_it_opens_with_the_first_watcher_and_closes_a_while_after_the_last() {
        let close_after = Duration::from_secs(30);
        let opening = Opening::OnDemand { close_after };
        let begin = Now::read();
        let after = |seconds| Now {
            instant: begin.instant + Duration::from_secs(seconds),
            ..begin
        };
        let mut door = Door::default();
        for (seconds, watchers, open) in [
            (0, 0, false),
            (1, 2, true),
            (2, 1, true),
            (10, 0, true),
            (32, 0, true),
            (33, 0, false),
            (40, 1, true),
            (60, 0, true),
            (65, 1, true), // back in time: it never closed
            (96, 0, false),
        ] {
            let found = is_open(&mut door, &opening, watchers, after(seconds));
            assert_eq!(found, open, "after {seconds} s");
        }
    }

    #[test]
    fn without_a_delay_it_closes_at_once() {
        let opening = Opening::OnDemand {
            close_after: Duration::ZERO,
        };
        let (mut door, now) = (Door::default(), Now::read());
        assert!(is_open(&mut door, &opening, 1, now));
        let later = Now {
            instant: now.instant + Duration::from_millis(1),
            ..now
        };
        assert!(!is_open(&mut door, &opening, 0, later));
    }

    #[test]
    fn a_schedule_says_when_it_is_open_and_asks_nobody() {
        let spans = vec!["Mon-Fri 08:00-18:00".parse().unwrap()];
        let schedule = Schedule::new(spans, Some("Europe/Berlin".to_owned())).unwrap();
        let opening = Opening::Schedule(schedule);
        let on = |time: &str| Now {
            instant: Instant::now(),
            time: time.parse().unwrap(),
        };
        let mut door = Door::default();
        assert!(is_open(&mut door, &opening, 0, on("2026-11-20T16:59:59Z")));
        match door.wanted(&opening, 3, on("2026-11-20T17:00:00Z")) {
            Wanted::Closed(why) => assert_eq!(why, "open Mon-Fri 08:00-18:00 (Europe/Berlin)"),
            Wanted::Open => panic!("it is evening in Berlin"),
        }
    }
}
