//! What a report is about: numbers of all records, in bounded memory.

use super::timeline::{Merge, Timeline};
use super::tracks::Tracks;
use crate::delivery::{Content, Delivery};
use hdrhistogram::Histogram;
use pipeline::envelope::Kind;
use pipeline::v1::{Frame, Gap, Result as StageResult, Status};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sources with a row of their own; those that come later are counted with all others only.
const MOST_SOURCES: usize = 64;
/// Labels that are told apart; later ones are counted together.
const MOST_LABELS: usize = 64;
/// Lines of a list: the newest.
const MOST_LINES: usize = 200;
/// Longer times count as this, in microseconds.
const LONGEST_US: u64 = 24 * 3_600 * 1_000_000;
/// What labels are counted as that are not told apart.
pub const OTHER: &str = "other";

/// Times, in microseconds with two digits.
#[derive(Debug)]
pub struct Times(Histogram<u64>);

/// Everything counted.
#[derive(Debug, Default)]
pub struct Collected {
    pub totals: Totals,
    /// By the time of capture, of all sources.
    pub timeline: Timeline<Bin>,
    pub sources: BTreeMap<Arc<str>, Source>,
    /// Detections in all.
    pub labels: BTreeMap<Arc<str>, u64>,
    pub processors: BTreeMap<String, Processor>,
    pub tracks: Tracks,
    pub latency: Times,
    pub gaps: Vec<GapLine>,
    pub gap_reasons: BTreeMap<&'static str, u64>,
    pub alerts: Vec<AlertLine>,
    /// The first and the last capture time, nanoseconds since the Unix epoch.
    pub span_ns: Option<(i64, i64)>,
}

#[derive(Debug, Default)]
pub struct Totals {
    pub records: u64,
    pub frames: u64,
    pub bytes: u64,
    pub gap_frames: u64,
    pub lost: u64,
    pub recovered: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    pub undecodable: u64,
    pub ends: u64,
    pub detections: u64,
    pub results_not_ok: u64,
    pub alerts: u64,
}

/// What happened within a bin's time.
#[derive(Debug, Default)]
pub struct Bin {
    pub frames: u64,
    pub missing: u64,
    pub alerts: u64,
    pub labels: BTreeMap<Arc<str>, u64>,
    pub latency: Times,
}

/// One source, all its epochs.
#[derive(Debug, Default)]
pub struct Source {
    pub frames: u64,
    pub missing: u64,
    pub epochs: u64,
    pub epoch: u64,
    pub size: (u32, u32),
    pub has_ended: bool,
    pub alerts: u64,
    pub span_ns: Option<(i64, i64)>,
    pub timeline: Timeline<SourceBin>,
}

#[derive(Debug, Default)]
pub struct SourceBin {
    pub frames: u64,
    pub missing: u64,
    pub alerts: u64,
}

#[derive(Debug, Default)]
pub struct Processor {
    pub version: String,
    pub ok: u64,
    pub not_ok: u64,
    pub detections: u64,
    pub queued: Times,
    pub call: Times,
}

#[derive(Debug)]
pub struct GapLine {
    pub source: String,
    pub epoch: u64,
    pub first: u64,
    pub count: u64,
    pub reason: &'static str,
    pub detail: String,
}

#[derive(Debug)]
pub struct AlertLine {
    pub time_ns: i64,
    pub since_ns: i64,
    pub frame: String,
}

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_max(LONGEST_US, 2).expect("the bounds are valid"))
    }
}

impl Times {
    /// Counts a time; one before 0 is of clocks that disagree, and counts as none.
    pub fn record_ns(&mut self, ns: i64) {
        self.0
            .saturating_record(u64::try_from(ns / 1_000).unwrap_or(0));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }
}

impl Merge for Times {
    fn merge(&mut self, other: Self) {
        // Both have the same bounds.
        let _ = self.0.add(other.0);
    }
}

impl Merge for Bin {
    fn merge(&mut self, other: Self) {
        self.frames += other.frames;
        self.missing += other.missing;
        self.alerts += other.alerts;
        self.count_labels(other.labels);
        self.latency.merge(other.latency);
    }
}

impl Bin {
    fn count_labels(&mut self, labels: BTreeMap<Arc<str>, u64>) {
        for (label, count) in labels {
            *self.labels.entry(label).or_default() += count;
        }
    }
}

impl Merge for SourceBin {
    fn merge(&mut self, other: Self) {
        self.frames += other.frames;
        self.missing += other.missing;
        self.alerts += other.alerts;
    }
}

impl Collected {
    /// Takes the next record in.
    pub fn take(&mut self, delivery: &Delivery) {
        let totals = &mut self.totals;
        totals.records += 1;
        totals.bytes += delivery.payload_bytes as u64;
        let verdict = delivery.verdict;
        totals.lost = totals.lost.saturating_add(verdict.lost);
        totals.recovered = totals.recovered.saturating_add(verdict.recovered);
        totals.duplicated += verdict.duplicated;
        totals.out_of_order += verdict.out_of_order;
        match &delivery.content {
            Content::Undecodable(_) => totals.undecodable += 1,
            Content::Absent { .. } => {} // no record
            Content::Message(message) => match &**message {
                Kind::Frame(frame) => self.take_frame(frame, delivery),
                Kind::Gap(gap) => self.take_gap(gap, delivery),
                Kind::End(end) => {
                    totals.ends += 1;
                    if let Some(last) = &end.last {
                        let source = self.source(&last.source_id);
                        source.into_iter().for_each(|one| one.has_ended = true);
                    }
                }
            },
        }
    }

    fn take_frame(&mut self, frame: &Frame, delivery: &Delivery) {
        let Some(id) = &frame.id else {
            return; // a decoded frame always has one
        };
        let (time_ns, missing) = (frame.capture_time_unix_ns, delivery.verdict.lost);
        let alerts = u64::from(delivery.alert().is_some());
        self.totals.frames += 1;
        self.totals.alerts += alerts;
        self.span_ns = Some(wider(self.span_ns, time_ns));
        let mut labels = BTreeMap::<Arc<str>, u64>::new();
        for result in &frame.results {
            for detection in self.take_result(result) {
                let label = self.label(&detection.label);
                *labels.entry(label).or_default() += 1;
                self.tracks.see(id, time_ns, detection);
            }
        }
        for (label, count) in &labels {
            *self.labels.entry(Arc::clone(label)).or_default() += count;
            self.totals.detections += count;
        }
        let latency_ns = latency_ns(frame, delivery);
        self.latency.record_ns(latency_ns);
        let bin = self.timeline.at(time_ns);
        bin.frames += 1;
        bin.missing = bin.missing.saturating_add(missing);
        bin.alerts += alerts;
        bin.latency.record_ns(latency_ns);
        bin.count_labels(labels);
        if let Some(source) = self.source(&id.source_id) {
            source.take_frame(frame, id.epoch, alerts, missing);
        }
        if let Some(alert) = delivery.alert() {
            push(
                &mut self.alerts,
                AlertLine {
                    time_ns,
                    since_ns: alert.since_unix_ns,
                    frame: alert.id(),
                },
            );
        }
    }

    /// Counts a result; returns what it found.
    fn take_result<'a>(&mut self, result: &'a StageResult) -> &'a [pipeline::v1::Detection] {
        let processor = self.processors.entry(result.processor.clone()).or_default();
        processor.version.clone_from(&result.version);
        if result.status() == Status::Ok {
            processor.ok += 1;
        } else {
            processor.not_ok += 1;
            self.totals.results_not_ok += 1;
        }
        processor.detections += result.detections.len() as u64;
        if let Some(timing) = &result.timing {
            let ns = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
            processor.queued.record_ns(ns(timing.queued_ns));
            processor.call.record_ns(ns(timing.call_ns));
        }
        &result.detections
    }

    fn take_gap(&mut self, gap: &Gap, delivery: &Delivery) {
        let id = gap.first.clone().unwrap_or_default();
        let reason = gap.reason().word();
        self.totals.gap_frames = self.totals.gap_frames.saturating_add(gap.count);
        let of_reason = self.gap_reasons.entry(reason).or_default();
        *of_reason = of_reason.saturating_add(gap.count);
        let time_ns = delivery.origin.timestamp_ms.saturating_mul(1_000_000);
        let bin = self.timeline.at(time_ns);
        bin.missing = bin.missing.saturating_add(gap.count);
        self.span_ns = Some(wider(self.span_ns, time_ns));
        if !id.source_id.is_empty()
            && let Some(source) = self.source(&id.source_id)
        {
            source.missing = source.missing.saturating_add(gap.count);
            let bin = source.timeline.at(time_ns);
            bin.missing = bin.missing.saturating_add(gap.count);
        }
        push(
            &mut self.gaps,
            GapLine {
                source: id.source_id,
                epoch: id.epoch,
                first: id.sequence,
                count: gap.count,
                reason,
                detail: gap.detail.clone(),
            },
        );
    }

    /// Makes bins so wide that frames that come regularly leave none empty.
    pub fn widen(&mut self) {
        const FRAMES_A_BIN: i64 = 3;
        let intervals = self.sources.values().filter_map(Source::interval_ns);
        if let Some(interval_ns) = intervals.max() {
            let width_ns = interval_ns.saturating_mul(FRAMES_A_BIN);
            let (first, last) = self.span_ns.unwrap_or_default();
            // A source of two frames far apart must not leave the others without a curve.
            let width_ns = width_ns.min(last.saturating_sub(first) / 40);
            self.timeline.widen_to(width_ns);
            let sources = self.sources.values_mut();
            sources.for_each(|source| source.timeline.widen_to(width_ns));
        }
    }

    /// None if there are too many already.
    fn source(&mut self, id: &str) -> Option<&mut Source> {
        if !self.sources.contains_key(id) {
            if self.sources.len() >= MOST_SOURCES {
                return None;
            }
            self.sources.insert(id.into(), Source::default());
        }
        self.sources.get_mut(id)
    }

    /// The one text that all its counts share.
    fn label(&self, label: &str) -> Arc<str> {
        match self.labels.get_key_value(label) {
            Some((known, _)) => Arc::clone(known),
            None if self.labels.len() < MOST_LABELS => label.into(),
            None => OTHER.into(),
        }
    }
}

impl Source {
    fn take_frame(&mut self, frame: &Frame, epoch: u64, alerts: u64, missing: u64) {
        let time_ns = frame.capture_time_unix_ns;
        self.frames += 1;
        self.missing = self.missing.saturating_add(missing);
        self.alerts += alerts;
        self.size = (frame.width, frame.height);
        self.span_ns = Some(wider(self.span_ns, time_ns));
        if epoch > self.epoch {
            self.epoch = epoch;
            self.epochs += 1;
            self.has_ended = false;
        }
        let bin = self.timeline.at(time_ns);
        bin.frames += 1;
        bin.missing = bin.missing.saturating_add(missing);
        bin.alerts += alerts;
    }

    /// Frames a second while it was there.
    pub fn fps(&self) -> f64 {
        self.interval_ns().map_or(0.0, |ns| 1e9 / ns.max(1) as f64)
    }

    /// From one frame to the next, on the average.
    fn interval_ns(&self) -> Option<i64> {
        let (first, last) = self.span_ns.filter(|(first, last)| last > first)?;
        let frames = i64::try_from(self.frames).ok()?;
        Some(last.saturating_sub(first) / (frames - 1).max(1))
    }
}

/// From capture until the last stage was done with the frame: the same in a replay. Without stages, until it was read.
fn latency_ns(frame: &Frame, delivery: &Delivery) -> i64 {
    let left = frame.stamps.iter().map(|stamp| stamp.left_unix_ns).max();
    left.unwrap_or(delivery.received_unix_ns)
        .saturating_sub(frame.capture_time_unix_ns)
}

fn wider(span: Option<(i64, i64)>, time_ns: i64) -> (i64, i64) {
    let (first, last) = span.unwrap_or((time_ns, time_ns));
    (first.min(time_ns), last.max(time_ns))
}

fn push<T>(lines: &mut Vec<T>, line: T) {
    if lines.len() >= 2 * MOST_LINES {
        lines.drain(..MOST_LINES);
    }
    lines.push(line);
}
