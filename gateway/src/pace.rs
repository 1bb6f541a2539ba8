//! When a frame of a replay is due: as its capture was after the one before, times the speed. Pure: time is an argument.

use std::time::{Duration, Instant};

/// A source that gave nothing for longer than this is not waited for: the replay goes on with its next frame.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// A viewer that is behind by more than this goes on from where it is, rather than hurry after the time.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Pace {
    speed: f64,
    is_paused: bool,
    /// After a jump one frame is shown even while paused: people see where they are.
    has_jumped: bool,
    /// When the last frame was due, and its capture time (Unix nanoseconds).
    last: Option<(Instant, i64)>,
}

/// No speed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0} is not a speed: write a number from 0.1 to 100")]
pub struct BadSpeed(pub f64);

impl Pace {
    /// At this speed; 1 is that of the capture.
    pub fn new(speed: f64) -> Result<Self, BadSpeed> {
        Ok(Self {
            speed: check(speed)?,
            is_paused: false,
            has_jumped: true,
            last: None,
        })
    }

    /// When a frame may be shown; None while paused.
    pub fn due(&self, captured_unix_ns: i64, now: Instant) -> Option<Instant> {
        match () {
            () if self.has_jumped => Some(now),
            () if self.is_paused => None,
            () => Some(self.on_time(captured_unix_ns).unwrap_or(now)),
        }
    }

    /// A frame was shown.
    pub fn shown(&mut self, captured_unix_ns: i64, now: Instant) {
        self.has_jumped = false;
        let is_near = |due: &Instant| now.saturating_duration_since(*due) < LONGEST_DELAY;
        let due = self.on_time(captured_unix_ns).filter(is_near);
        self.last = Some((due.unwrap_or(now), captured_unix_ns));
    }

    /// The next frame is another one than that behind the last.
    pub fn jump(&mut self) {
        self.has_jumped = true;
        self.last = None;
    }

    pub fn pause(&mut self) {
        self.is_paused = true;
    }

    pub fn resume(&mut self) {
        self.is_paused = false;
        self.last = None;
    }

    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub fn set_speed(&mut self, speed: f64) -> Result<(), BadSpeed> {
        self.speed = check(speed)?;
        Ok(())
    }

    /// None where there is nothing to wait for.
    fn on_time(&self, captured_ns: i64) -> Option<Instant> {
        let (due, last_ns) = self.last?;
        let after = u64::try_from(captured_ns.checked_sub(last_ns)?).ok()?;
        let wait = Duration::from_nanos(after).div_f64(self.speed);
        due.checked_add(Some(wait).filter(|wait| *wait <= LONGEST_WAIT)?)
    }
}

/// When the next frame may come of those that come at this rate (a second): evenly apart, and never in a hurry after a pause.
pub fn next_moment(last: Option<Instant>, rate: f64, now: Instant) -> Instant {
    let interval = Duration::from_secs_f64(1.0 / rate);
    match last {
        Some(last) if now.saturating_duration_since(last) < interval => last + interval,
        _ => now + interval,
    }
}

fn check(speed: f64) -> Result<f64, BadSpeed> {
    match (0.1..=100.0).contains(&speed) {
        true => Ok(speed),
        false => Err(BadSpeed(speed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn frames_come_as_they_were_captured_times_the_speed() {
        for (speed, wait_ms) in [(1.0, 40), (2.0, 20), (0.5, 80)] {
            let start = Instant::now();
            let mut pace = Pace::new(speed).unwrap();
            assert_eq!(
                pace.due(5_000 * MS, start),
                Some(start),
                "the first at once"
            );
            pace.shown(5_000 * MS, start);
            assert_eq!(pace.due(5_040 * MS, start), Some(after(start, wait_ms)));
            // Shown a little late: the next one is not later for it.
            pace.shown(5_040 * MS, after(start, wait_ms + 5));
            assert_eq!(pace.due(5_080 * MS, start), Some(after(start, 2 * wait_ms)));
        }
    }

    #[test]
    fn silence_and_a_clock_that_jumps_are_not_waited_for() {
        let start = Instant::now();
        let mut pace = Pace::new(1.0).unwrap();
        pace.shown(5_000 * MS, start);
        assert_eq!(pace.due(60_000 * MS, start), Some(start), "an hour later");
        assert_eq!(pace.due(1_000 * MS, start), Some(start), "earlier");
        let late = after(start, 5_000);
        pace.shown(5_040 * MS, late);
        assert_eq!(
            pace.due(5_080 * MS, late),
            Some(after(late, 40)),
            "a slow viewer does not hurry"
        );
    }

    #[test]
    fn a_paused_replay_shows_one_frame_where_it_jumps_to() {
        let start = Instant::now();
        let mut pace = Pace::new(1.0).unwrap();
        pace.shown(5_000 * MS, start);
        pace.pause();
        assert_eq!(pace.due(5_040 * MS, start), None);
        pace.jump();
        assert_eq!(pace.due(9_000 * MS, start), Some(start));
        pace.shown(9_000 * MS, start);
        assert_eq!(pace.due(9_040 * MS, start), None);
        pace.resume();
        assert_eq!(pace.due(9_040 * MS, start), Some(start));
    }

    #[test]
    fn a_rate_is_kept_evenly_and_not_made_up_for() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let first = next_moment(None, 10.0, start);
        assert_eq!(first, start + ms(100));
        let second = next_moment(Some(first), 10.0, first + ms(30));
        assert_eq!(
            second,
            first + ms(100),
            "a frame that came late does not move the next"
        );
        let third = next_moment(Some(second), 10.0, second + ms(900));
        assert_eq!(third, second + ms(1_000));
    }

    #[test]
    fn speeds_are_within_reason() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(Pace::new(bad).is_err(), "{bad}");
        }
    }
}
