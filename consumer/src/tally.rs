//! Counts records: how many, how fast, how late, and what is wrong with their order.

use crate::delivery::Delivery;
use crate::order::Verdict;
use crate::picture::PictureVerdict;
use crate::span::What;
use crate::stages::{StageSummary, Stages};
use hdrhistogram::Histogram;
use pipeline::envelope::Kind;
use pipeline::v1::Status;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Latencies are kept in microseconds with 3 digits; replays of old records count as this.
const MAX_LATENCY_US: u64 = 24 * 3_600 * 1_000_000;

/// Counts of one consumer's run.
#[derive(Debug)]
pub struct Tally {
    totals: Totals,
    latency_us: Histogram<u64>,
    stages: Stages,
    sources: BTreeMap<(Arc<str>, u64), SourceTally>,
    /// When the first and the last record were shown.
    shown: Option<(Instant, Instant)>,
    /// At the last line.
    before: (u64, u64),
    recent_latency_us: Histogram<u64>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Totals {
    records: u64,
    frames: u64,
    gaps: u64,
    gap_frames: u64,
    ends: u64,
    undecodable: u64,
    bytes: u64,
    results_ok: u64,
    results_not_ok: u64,
    picture_mismatches: u64,
    verdict: Verdict,
}

#[derive(Debug, Default)]
struct SourceTally {
    frames: u64,
    first_sequence: Option<u64>,
    last_sequence: Option<u64>,
    verdict: Verdict,
    ended: bool,
}

/// Everything counted. Field names are a contract: scripts read them.
#[derive(Debug, Serialize)]
pub struct Summary {
    records: u64,
    frames: u64,
    gaps: u64,
    gap_frames: u64,
    ends: u64,
    undecodable: u64,
    bytes: u64,
    /// Holes that no gap record accounts for.
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
    results_ok: u64,
    results_not_ok: u64,
    picture_mismatches: u64,
    fps: f64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    latency_max_ms: f64,
    seconds: f64,
    /// Where the frames' time went, in the order of the stages.
    stages: Vec<StageSummary>,
    sources: Vec<SourceSummary>,
}

#[derive(Debug, Serialize)]
struct SourceSummary {
    source: String,
    epoch: u64,
    frames: u64,
    first_sequence: Option<u64>,
    last_sequence: Option<u64>,
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
    ended: bool,
}

impl Default for Tally {
    fn default() -> Self {
        let histogram =
            || Histogram::new_with_max(MAX_LATENCY_US, 3).expect("the bounds are valid");
        Self {
            totals: Totals::default(),
            latency_us: histogram(),
            stages: Stages::default(),
            sources: BTreeMap::new(),
            shown: None,
            before: (0, 0),
            recent_latency_us: histogram(),
        }
    }
}

impl Tally {
    /// Takes a record into account.
    pub fn count(&mut self, delivery: &Delivery, picture: PictureVerdict) {
        let now = Instant::now();
        self.shown.get_or_insert((now, now)).1 = now;
        let totals = &mut self.totals;
        totals.records += 1;
        totals.bytes += delivery.payload_bytes as u64;
        totals.picture_mismatches += u64::from(picture == PictureVerdict::Mismatch);
        totals.verdict.add(delivery.verdict);
        match delivery.message() {
            Some(Kind::Frame(frame)) => {
                totals.frames += 1;
                let is_ok = |status| status == Status::Ok;
                let ok = frame.results.iter().filter(|r| is_ok(r.status())).count() as u64;
                totals.results_ok += ok;
                totals.results_not_ok += frame.results.len() as u64 - ok;
                let latency_ns = delivery
                    .received_unix_ns
                    .saturating_sub(frame.capture_time_unix_ns);
                let latency_us = u64::try_from(latency_ns / 1_000).unwrap_or(0);
                self.latency_us.saturating_record(latency_us);
                self.recent_latency_us.saturating_record(latency_us);
                self.stages.count(frame, delivery.received_unix_ns);
            }
            Some(Kind::Gap(gap)) => {
                totals.gaps += 1;
                totals.gap_frames = totals.gap_frames.saturating_add(gap.count);
            }
            Some(Kind::End(_)) => totals.ends += 1,
            None => totals.undecodable += 1,
        }
        self.count_source(delivery);
    }

    fn count_source(&mut self, delivery: &Delivery) {
        let Some(span) = &delivery.span else {
            return;
        };
        let key = (Arc::clone(&span.source), span.epoch);
        let source = self.sources.entry(key).or_default();
        source.verdict.add(delivery.verdict);
        match span.what {
            What::Frame => {
                source.frames += 1;
                let first = source.first_sequence.get_or_insert(span.first);
                *first = span.first.min(*first);
                let last = source.last_sequence.get_or_insert(span.first);
                *last = span.first.max(*last);
            }
            What::End => source.ended = true,
            What::Gap => {}
        }
    }

    /// One line for people: what came since the last call, `since` ago. `lag`: records that wait in Kafka.
    pub fn line(&mut self, since: Duration, lag: Option<i64>) -> String {
        let (frames, bytes) = (self.totals.frames, self.totals.bytes);
        let (frames_before, bytes_before) = std::mem::replace(&mut self.before, (frames, bytes));
        let seconds = since.as_secs_f64().max(1e-3);
        let fps = (frames - frames_before) as f64 / seconds;
        let mb = (bytes - bytes_before) as f64 / 1e6 / seconds;
        let latency = self.recent_latency_us.value_at_quantile(0.5) as f64 / 1e3;
        self.recent_latency_us.reset();
        let lag = lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string());
        let verdict = &self.totals.verdict;
        format!(
            "{frames} frames  {fps:.1} fps  {mb:.1} MB/s  latency p50 {latency:.1} ms  lag {lag}  lost {}  duplicated {}  \
             out of order {}",
            verdict.missing(),
            verdict.duplicated,
            verdict.out_of_order
        )
    }

    /// Everything so far.
    pub fn summary(&self) -> Summary {
        let totals = &self.totals;
        let seconds = self
            .shown
            .map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        let latency_ms = |quantile| self.latency_us.value_at_quantile(quantile) as f64 / 1e3;
        Summary {
            records: totals.records,
            frames: totals.frames,
            gaps: totals.gaps,
            gap_frames: totals.gap_frames,
            ends: totals.ends,
            undecodable: totals.undecodable,
            bytes: totals.bytes,
            lost: totals.verdict.missing(),
            duplicated: totals.verdict.duplicated,
            out_of_order: totals.verdict.out_of_order,
            results_ok: totals.results_ok,
            results_not_ok: totals.results_not_ok,
            picture_mismatches: totals.picture_mismatches,
            fps: if seconds > 0.0 {
                totals.frames as f64 / seconds
            } else {
                0.0
            },
            latency_p50_ms: latency_ms(0.5),
            latency_p99_ms: latency_ms(0.99),
            latency_max_ms: self.latency_us.max() as f64 / 1e3,
            seconds,
            stages: self.stages.summary(),
            sources: self.sources.iter().map(SourceSummary::of).collect(),
        }
    }
}

impl SourceSummary {
    fn of(((source, epoch), tally): (&(Arc<str>, u64), &SourceTally)) -> Self {
        Self {
            source: source.to_string(),
            epoch: *epoch,
            frames: tally.frames,
            first_sequence: tally.first_sequence,
            last_sequence: tally.last_sequence,
            lost: tally.verdict.missing(),
            duplicated: tally.verdict.duplicated,
            out_of_order: tally.verdict.out_of_order,
            ended: tally.ended,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} records in {:.1} s: {} frames ({:.1} fps, {:.1} MB), {} gaps ({} frames), {} ends, {} undecodable",
            self.records,
            self.seconds,
            self.frames,
            self.fps,
            self.bytes as f64 / 1e6,
            self.gaps,
            self.gap_frames,
            self.ends,
            self.undecodable
        )?;
        writeln!(
            f,
            "lost {}, duplicated {}, out of order {}; results ok {}, not ok {}; picture mismatches {}",
            self.lost,
            self.duplicated,
            self.out_of_order,
            self.results_ok,
            self.results_not_ok,
            self.picture_mismatches
        )?;
        write!(
            f,
            "latency p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            self.latency_p50_ms, self.latency_p99_ms, self.latency_max_ms
        )?;
        self.stages
            .iter()
            .try_for_each(|stage| write!(f, "\n{stage}"))
    }
}
