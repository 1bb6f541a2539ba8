//! Where a frame's time went: from the stamps of the services that it went through.
//!
//! Stamps are of each service's own clock, so times between hosts include how far these differ.

use hdrhistogram::Histogram;
use pipeline::v1::Frame;
use serde::Serialize;
use std::collections::BTreeSet;

/// The way from the last stage to here.
const CONSUMER: &str = "consumer";
/// Stages that are told apart. Names are their writers' choice: more than this is no pipeline.
const MOST_STAGES: usize = 64;
/// Microseconds with 3 digits, a day at most: times of replayed frames count as they were.
const MAX_US: u64 = 24 * 3_600 * 1_000_000;

/// One stage's part of a frame's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageTime<'a> {
    /// As stamped, e.g. `broker:faces`.
    pub stage: &'a str,
    /// From entering to leaving it.
    pub inside_ns: i64,
    /// From leaving whatever was before it: Kafka, and waiting to be taken.
    pub before_ns: i64,
}

/// The parts, in the order of the stamps, the way to this consumer last. Branches that were joined overlap: what was before
/// a stage is what left last before the stage was entered.
pub fn times(frame: &Frame, received_unix_ns: i64) -> Vec<StageTime<'_>> {
    let stamps = || frame.stamps.iter().take(MOST_STAGES).enumerate();
    let before = |own: Option<usize>, entered: i64| {
        let others = stamps().filter(|(n, _)| Some(*n) != own);
        let lefts = others.map(|(_, stamp)| stamp.left_unix_ns.max(stamp.entered_unix_ns));
        let lefts = lefts.chain([frame.capture_time_unix_ns]);
        let left = lefts.filter(|left| *left <= entered).max();
        entered.saturating_sub(left.unwrap_or(entered))
    };
    let mut times: Vec<StageTime<'_>> = stamps()
        .map(|(n, stamp)| StageTime {
            stage: &stamp.stage,
            inside_ns: stamp
                .left_unix_ns
                .saturating_sub(stamp.entered_unix_ns)
                .max(0),
            before_ns: before(Some(n), stamp.entered_unix_ns),
        })
        .collect();
    times.push(StageTime {
        stage: CONSUMER,
        inside_ns: 0,
        before_ns: before(None, received_unix_ns),
    });
    times
}

/// The names of stages seen so far, up to the bound.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// False for one more than are told apart.
    pub fn admit(&mut self, stage: &str) -> bool {
        if self.0.contains(stage) {
            return true;
        }
        let has_room = self.0.len() < MOST_STAGES;
        if has_room {
            self.0.insert(stage.to_owned());
        }
        has_room
    }
}

/// Times of many frames.
#[derive(Debug, Default)]
pub struct Stages {
    /// In the order in which they were first seen.
    known: Vec<StageTally>,
}

#[derive(Debug)]
struct StageTally {
    stage: String,
    inside_us: Histogram<u64>,
    before_us: Histogram<u64>,
}

/// One stage's times. Field names are a contract: scripts read them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageSummary {
    stage: String,
    frames: u64,
    /// In the stage.
    p50_ms: f64,
    p99_ms: f64,
    /// Between the stage before and this one.
    before_p50_ms: f64,
    before_p99_ms: f64,
}

impl std::fmt::Display for StageSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "  {}: {:.1} ms before it (p99 {:.1}), {:.1} ms in it (p99 {:.1})",
            self.stage, self.before_p50_ms, self.before_p99_ms, self.p50_ms, self.p99_ms
        )
    }
}

impl Stages {
    /// Takes a frame into account.
    pub fn count(&mut self, frame: &Frame, received_unix_ns: i64) {
        for time in times(frame, received_unix_ns) {
            let known = self
                .known
                .iter()
                .position(|tally| tally.stage == time.stage);
            let at = match known {
                Some(at) => at,
                None if self.known.len() >= MOST_STAGES => continue,
                None => {
                    self.known.push(StageTally::new(time.stage));
                    self.known.len() - 1
                }
            };
            let us = |ns: i64| u64::try_from(ns / 1_000).unwrap_or(0);
            let tally = &mut self.known[at];
            tally.inside_us.saturating_record(us(time.inside_ns));
            tally.before_us.saturating_record(us(time.before_ns));
        }
    }

    /// Everything so far, the consumer itself last.
    pub fn summary(&self) -> Vec<StageSummary> {
        let (own, stages): (Vec<_>, Vec<_>) =
            self.known.iter().partition(|tally| tally.stage == CONSUMER);
        stages
            .into_iter()
            .chain(own)
            .map(StageTally::summary)
            .collect()
    }
}

impl StageTally {
    fn new(stage: &str) -> Self {
        let histogram = || Histogram::new_with_max(MAX_US, 3).expect("the bounds are valid");
        Self {
            stage: stage.to_owned(),
            inside_us: histogram(),
            before_us: histogram(),
        }
    }

    fn summary(&self) -> StageSummary {
        let ms = |times: &Histogram<u64>, quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        StageSummary {
            stage: self.stage.clone(),
            frames: self.inside_us.len(),
            p50_ms: ms(&self.inside_us, 0.5),
            p99_ms: ms(&self.inside_us, 0.99),
            before_p50_ms: ms(&self.before_us, 0.5),
            before_p99_ms: ms(&self.before_us, 0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::v1::Stamp;

    const MS: i64 = 1_000_000;

    fn frame(stamps: &[(&str, i64, i64)]) -> Frame {
        let stamp = |(stage, entered, left): &(&str, i64, i64)| Stamp {
            stage: (*stage).to_owned(),
            entered_unix_ns: entered * MS,
            left_unix_ns: left * MS,
        };
        Frame {
            capture_time_unix_ns: 100 * MS,
            stamps: stamps.iter().map(stamp).collect(),
            ..Frame::default()
        }
    }

    fn parts(frame: &Frame, received: i64) -> Vec<(&str, i64, i64)> {
        let times = times(frame, received * MS).into_iter();
        times
            .map(|time| (time.stage, time.before_ns / MS, time.inside_ns / MS))
            .collect()
    }

    #[test]
    fn the_parts_of_a_chain_add_up_to_the_whole_way() {
        let frame = frame(&[
            ("producer", 101, 103),
            ("broker:a", 110, 140),
            ("broker:b", 145, 150),
        ]);
        let parts = parts(&frame, 162);
        let expected = [
            ("producer", 1, 2),
            ("broker:a", 7, 30),
            ("broker:b", 5, 5),
            ("consumer", 12, 0),
        ];
        assert_eq!(parts, expected);
        let whole: i64 = parts
            .iter()
            .map(|(_, before, inside)| before + inside)
            .sum();
        assert_eq!(whole, 62);
    }

    #[test]
    fn branches_are_counted_from_where_they_parted() {
        let frame = frame(&[
            ("producer", 100, 101),
            ("broker:slow", 105, 190),
            ("broker:fast", 106, 120),
            ("join", 125, 195),
        ]);
        let befores: Vec<_> = parts(&frame, 200)
            .into_iter()
            .map(|(_, before, _)| before)
            .collect();
        assert_eq!(befores, [0, 4, 5, 5, 5]);
    }

    #[test]
    fn clocks_that_differ_make_no_negative_times() {
        let frame = frame(&[("producer", 90, 80)]);
        assert_eq!(parts(&frame, 50), [("producer", 0, 0), ("consumer", 0, 0)]);
    }

    #[test]
    fn stages_are_summed_up_in_their_order_and_no_more_than_fit() {
        let mut stages = Stages::default();
        for n in 0..200 {
            let name = format!("stage-{n}");
            stages.count(
                &frame(&[("producer", 100, 102), (&name, 110, 115)]),
                120 * MS,
            );
        }
        let summary = stages.summary();
        assert_eq!(summary.len(), MOST_STAGES);
        assert_eq!(
            (summary[0].stage.as_str(), summary[0].frames),
            ("producer", 200)
        );
        assert!((1.9..2.1).contains(&summary[0].p50_ms), "{:?}", summary[0]);
        assert_eq!(summary[MOST_STAGES - 1].stage, CONSUMER);
        let mut names = Names::default();
        assert!((0..MOST_STAGES).all(|n| names.admit(&n.to_string())));
        assert!(names.admit("7") && !names.admit("another"));
    }
}
