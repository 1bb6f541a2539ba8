//! When frames are due, and which of them a given rate keeps. Pure: time is an argument.

use crate::options::Fps;
use std::time::{Duration, Instant};

/// Plays frames at the speed of their timestamps.
#[derive(Debug, Default)]
pub struct Pacer {
    /// A moment and the timestamp that was due then.
    anchor: Option<(Instant, Duration)>,
}

/// A source that fell behind by more than this goes on at its normal pace instead of rushing after its schedule.
const MAX_CATCH_UP: Duration = Duration::from_secs(1);

/// No picture stands for longer: a larger step between two timestamps, either way, is a broken file's or a cut, and time goes on
/// from there.
const LONGEST_STILL: Duration = Duration::from_secs(10);

impl Pacer {
    /// How long to wait before showing the frame with this timestamp.
    pub fn wait_for(&mut self, pts: Duration, now: Instant) -> Duration {
        let (start, first) = *self.anchor.get_or_insert((now, pts));
        // Timestamps that step back (a broken file) are due at once.
        let due = start + pts.saturating_sub(first);
        let wait = due.saturating_duration_since(now);
        let is_late = now.saturating_duration_since(due) > MAX_CATCH_UP;
        if is_late || wait > LONGEST_STILL || first.saturating_sub(pts) > LONGEST_STILL {
            self.anchor = Some((now, pts));
            return Duration::ZERO;
        }
        wait
    }
}

/// Brings a file to a fixed rate: output k shows the first frame whose timestamp is not before k / rate.
///
/// The choice depends on timestamps alone, so that the same file always gives the same frames: `--resume` relies on it.
#[derive(Debug)]
pub struct Resampler {
    fps: Fps,
    /// The timestamps of the first frame and of the latest.
    seen: Option<(Duration, Duration)>,
    /// The time of the latest frame, without the steps that count for nothing.
    elapsed: Duration,
    next: u64,
}

impl Resampler {
    /// At this rate.
    pub fn new(fps: Fps) -> Self {
        Self {
            fps,
            seen: None,
            elapsed: Duration::ZERO,
            next: 0,
        }
    }

    /// The timestamps at which the next frame of the file is shown: none (left out), one, or several (repeated).
    pub fn shown_at(&mut self, pts: Duration) -> impl Iterator<Item = Duration> + use<> {
        // Timestamps of containers are rounded, often to milliseconds.
        const ROUNDING: Duration = Duration::from_millis(1);
        let (first, last) = self.seen.unwrap_or((pts, pts));
        let is_cut = pts.abs_diff(last) > LONGEST_STILL;
        self.elapsed += if is_cut {
            self.fps.time_of(1)
        } else {
            pts.saturating_sub(last)
        };
        self.seen = Some((first, if is_cut { pts } else { pts.max(last) }));
        let until = self.elapsed + ROUNDING;
        let begin = self.next;
        while self.fps.time_of(self.next) <= until {
            self.next += 1;
        }
        let fps = self.fps;
        (begin..self.next).map(move |k| first + fps.time_of(k))
    }
}

/// Keeps a live source under a rate.
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    due: Option<Instant>,
}

impl RateLimit {
    /// At most this rate on average.
    pub fn new(fps: Fps) -> Self {
        Self {
            interval: fps.time_of(1),
            due: None,
        }
    }

    /// Is the picture taken now wanted?
    pub fn admits(&mut self, now: Instant) -> bool {
        // Pictures come unevenly; one that is slightly early must not cost a whole interval.
        let slack = self.interval / 10;
        match self.due {
            Some(due) if now + slack < due => false,
            due => {
                // Late ones do not save up a burst.
                let from = due.map_or(now, |due| {
                    due.max(now - self.interval.min(now - due.min(now)))
                });
                self.due = Some(from + self.interval);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn frames_wait_for_their_timestamps_not_for_each_other() {
        let mut pacer = Pacer::default();
        let start = Instant::now();
        assert_eq!(pacer.wait_for(ms(500), start), ms(0));
        assert_eq!(pacer.wait_for(ms(540), start + ms(10)), ms(30));
        assert_eq!(pacer.wait_for(ms(580), start + ms(100)), ms(0)); // late: at once
        assert_eq!(pacer.wait_for(ms(620), start + ms(105)), ms(15)); // and back on schedule
    }

    #[test]
    fn a_long_hold_up_is_not_followed_by_a_rush() {
        let mut pacer = Pacer::default();
        let start = Instant::now();
        pacer.wait_for(ms(0), start);
        let late = start + ms(5_000);
        assert_eq!(pacer.wait_for(ms(40), late), ms(0));
        assert_eq!(pacer.wait_for(ms(80), late), ms(40));
    }

    /// Which of a file's frames are shown, and how often.
    fn shown(file_fps: f64, fps: f64, frames: u64) -> Vec<usize> {
        let file = Fps::new(file_fps).unwrap();
        let mut resampler = Resampler::new(Fps::new(fps).unwrap());
        (0..frames)
            .map(|n| {
                let pts = ms(file.time_of(n).as_millis() as u64);
                resampler.shown_at(pts).count()
            })
            .collect()
    }

    #[test]
    fn a_lower_rate_leaves_frames_out_and_a_higher_one_repeats_them() {
        assert_eq!(shown(30.0, 10.0, 7), [1, 0, 0, 1, 0, 0, 1]);
        assert_eq!(shown(10.0, 20.0, 4), [1, 2, 2, 2]);
        assert_eq!(shown(10.0, 10.0, 5), [1, 1, 1, 1, 1]);
        assert_eq!(shown(29.97, 29.97, 3000), vec![1; 3000]);
        assert_eq!(shown(25.0, 10.0, 2500).iter().sum::<usize>(), 1000);
    }

    #[test]
    fn an_absurd_timestamp_neither_fills_the_memory_nor_stops_the_file() {
        let file = [0, 100, 200, u64::MAX / 2, 400, 500, 600].map(ms);
        let mut resampler = Resampler::new(Fps::new(10.0).unwrap());
        let shown = file.map(|pts| resampler.shown_at(pts).count());
        assert_eq!(shown, [1; 7]);
        let (mut pacer, mut now) = (Pacer::default(), Instant::now());
        let waits = file.map(|pts| {
            let wait = pacer.wait_for(pts, now);
            now += wait;
            wait
        });
        assert_eq!(waits, [0, 100, 100, 0, 0, 100, 100].map(ms));
    }

    #[test]
    fn a_limited_camera_keeps_its_average_rate() {
        let start = Instant::now();
        for (camera_ms, limit, expected) in [
            (33, 10.0, 90..=110),
            (33, 30.0, 285..=303),
            (100, 30.0, 100..=100),
        ] {
            let mut limit = RateLimit::new(Fps::new(limit).unwrap());
            let pictures = 10_000 / camera_ms;
            let kept = (0..pictures)
                .filter(|n| limit.admits(start + ms(n * camera_ms)))
                .count();
            assert!(expected.contains(&kept), "{kept} of {pictures}");
        }
    }
}
