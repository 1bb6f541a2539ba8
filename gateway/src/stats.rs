//! What is known of a source that is watched: how fast, how late, what is missing. Pure: time is an argument.

use crate::order::Verdict;
use serde::Serialize;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Rates and latencies are those of the last seconds: short enough to follow, long enough to be read.
const WINDOW: Duration = Duration::from_secs(3);
/// More frames than this in the window tell nothing more.
const MOST_ARRIVALS: usize = 1_024;

#[derive(Debug, Default)]
pub struct Stats {
    /// When, and how long after its capture (ms; by this machine's clock, so it includes a skew between both).
    arrivals: VecDeque<(Instant, f64)>,
    frames: u64,
    missing: u64,
    late: u64,
    newest: Option<Newest>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No record yet.
    #[default]
    Waiting,
    Live,
    /// The source said that its epoch is over.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Newest {
    pub epoch: u64,
    pub sequence: u64,
    pub capture_time_unix_ns: i64,
}

/// For people and programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub state: State,
    /// Frames a second.
    pub fps: f64,
    /// From the capture to the gateway, median and worst of the last seconds, milliseconds.
    pub latency_ms: Option<f64>,
    pub latency_max_ms: Option<f64>,
    /// Frames since somebody watches.
    pub frames: u64,
    /// Frames that gaps stand for, or that never came.
    pub gaps: u64,
    /// Frames left out because a later one was shown already.
    pub late: u64,
    pub newest: Option<Newest>,
}

impl Stats {
    /// A frame has come. One that is read from before the watching began says nothing about the rate: `age` is None.
    pub fn frame(&mut self, newest: Newest, verdict: Verdict, age: Option<Duration>, now: Instant) {
        self.count(verdict);
        if verdict == Verdict::Late {
            return;
        }
        self.frames += 1;
        self.state = State::Live;
        self.newest = Some(newest);
        if let Some(age) = age {
            if self.arrivals.len() == MOST_ARRIVALS {
                self.arrivals.pop_front();
            }
            self.arrivals.push_back((now, age.as_secs_f64() * 1e3));
        }
    }

    /// A gap stands for so many frames, at least one.
    pub fn gap(&mut self, frames: u64, verdict: Verdict) {
        self.count(verdict);
        if verdict != Verdict::Late {
            self.missing += frames.max(1);
        }
    }

    pub fn end(&mut self) {
        self.state = State::Ended;
    }

    fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Next { missing } => self.missing += missing,
            Verdict::Late => self.late += 1,
            Verdict::First => {}
        }
    }

    pub fn summary(&self, now: Instant) -> Summary {
        let recent = |at: &Instant| now.duration_since(*at) <= WINDOW;
        let recent: Vec<_> = self.arrivals.iter().filter(|(at, _)| recent(at)).collect();
        let mut ages: Vec<f64> = recent.iter().map(|(_, age)| *age).collect();
        ages.sort_by(f64::total_cmp);
        Summary {
            state: self.state,
            fps: fps(recent.first().map(|(at, _)| *at), recent.len(), now),
            latency_ms: ages.get(ages.len() / 2).map(|ms| tenths(*ms)),
            latency_max_ms: ages.last().map(|ms| tenths(*ms)),
            frames: self.frames,
            gaps: self.missing,
            late: self.late,
            newest: self.newest,
        }
    }
}

/// Of a source watched for less than the window, too.
fn fps(first: Option<Instant>, count: usize, now: Instant) -> f64 {
    const LEAST: Duration = Duration::from_millis(500);
    let Some(first) = first else { return 0.0 };
    let seconds = now.duration_since(first).clamp(LEAST, WINDOW);
    tenths(count as f64 / seconds.as_secs_f64())
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(sequence: u64) -> Newest {
        Newest {
            epoch: 1,
            sequence,
            capture_time_unix_ns: 0,
        }
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut stats = Stats::default();
        for n in 0..300 {
            let age = Duration::from_millis(if n % 10 == 0 { 80 } else { 20 });
            stats.frame(
                newest(n),
                Verdict::Next { missing: 0 },
                Some(age),
                at(n * 20),
            );
        }
        let now = stats.summary(at(6_000));
        assert!((now.fps - 50.0).abs() < 1.0, "{now:?}");
        assert_eq!(
            (now.latency_ms, now.latency_max_ms),
            (Some(20.0), Some(80.0))
        );
        let later = stats.summary(at(60_000));
        assert_eq!((later.fps, later.latency_ms), (0.0, None));
        assert_eq!(later.frames, 300);
    }

    #[test]
    fn what_is_missing_is_counted_once() {
        let mut stats = Stats::default();
        let now = Instant::now();
        stats.frame(newest(0), Verdict::First, None, now);
        stats.frame(newest(3), Verdict::Next { missing: 2 }, None, now);
        stats.gap(5, Verdict::Next { missing: 0 });
        stats.gap(0, Verdict::Next { missing: 0 }); // of unknown length
        stats.gap(5, Verdict::Late);
        stats.end();
        let summary = stats.summary(now);
        assert_eq!((summary.gaps, summary.late, summary.frames), (8, 1, 2));
        assert_eq!(summary.state, State::Ended);
    }
}
