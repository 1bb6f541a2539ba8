//! A record as a JSON line. Field names are a contract: scripts read them.

use crate::delivery::{Content, Delivery};
use pipeline::envelope::Kind;
use pipeline::kafka::TopicPartition;
use pipeline::v1::{Detection, EndOfStream, Frame, FrameId, Gap, Reference, Result as StageResult};
use prost_types::value::Kind as Value;
use serde::Serialize;
use std::collections::BTreeMap;

/// One line: where the record lies, and what it says.
#[derive(Serialize)]
pub struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    #[serde(flatten)]
    says: Says<'a>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Says<'a> {
    Frame(FrameLine<'a>),
    End(EndLine<'a>),
    Gap(GapLine<'a>),
    Undecodable { error: &'a str },
    Absent { source: &'a str, error: &'a str },
}

#[derive(Serialize)]
struct FrameLine<'a> {
    source: &'a str,
    epoch: u64,
    sequence: u64,
    capture_time_unix_ns: i64,
    pts: i64,
    codec: &'static str,
    width: u32,
    height: u32,
    content: &'static str,
    results: Vec<ResultLine<'a>>,
    stamps: Vec<StampLine<'a>>,
    labels: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct ResultLine<'a> {
    processor: &'a str,
    version: &'a str,
    status: &'static str,
    attempts: u32,
    detections: Vec<DetectionLine<'a>>,
    attributes: BTreeMap<&'a str, serde_json::Value>,
    error: &'a str,
    timing: TimingLine,
}

#[derive(Serialize)]
struct DetectionLine<'a> {
    label: &'a str,
    confidence: f32,
    r#box: Option<[f32; 4]>,
    track_id: u64,
    text: &'a str,
}

#[derive(Serialize)]
struct TimingLine {
    queued_ns: u64,
    call_ns: u64,
    processing_ns: u64,
}

#[derive(Serialize)]
struct StampLine<'a> {
    stage: &'a str,
    entered_unix_ns: i64,
    left_unix_ns: i64,
}

#[derive(Serialize)]
struct EndLine<'a> {
    source: &'a str,
    epoch: u64,
    sequence: u64,
    empty: bool,
    reason: &'static str,
    detail: &'a str,
}

#[derive(Serialize)]
struct GapLine<'a> {
    source: &'a str,
    epoch: u64,
    sequence: u64,
    count: u64,
    reason: &'static str,
    detail: &'a str,
    origin: Option<OriginLine<'a>>,
}

#[derive(Serialize)]
struct OriginLine<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

impl<'a> Line<'a> {
    /// The line of a record on its way to the sinks.
    pub fn of(delivery: &'a Delivery) -> Self {
        Self::new(&delivery.tp, delivery.offset, &delivery.content)
    }

    /// The line of a record that holds this.
    pub fn new(tp: &'a TopicPartition, offset: i64, content: &'a Content) -> Self {
        Self {
            topic: &tp.topic,
            partition: tp.partition,
            offset,
            says: match content {
                Content::Message(message) => match &**message {
                    Kind::Frame(frame) => Says::Frame(FrameLine::of(frame)),
                    Kind::End(end) => Says::End(EndLine::of(end)),
                    Kind::Gap(gap) => Says::Gap(GapLine::of(gap)),
                },
                Content::Undecodable(error) => Says::Undecodable { error },
                Content::Absent { source, why } => Says::Absent { source, error: why },
            },
        }
    }
}

/// An id that is not there (only gaps of unknown records have none) reads as the empty source.
fn parts(id: Option<&FrameId>) -> (&str, u64, u64) {
    id.map_or(("", 0, 0), |id| (&id.source_id, id.epoch, id.sequence))
}

impl<'a> FrameLine<'a> {
    fn of(frame: &'a Frame) -> Self {
        let (source, epoch, sequence) = parts(frame.id.as_ref());
        let stamps = frame.stamps.iter().map(|stamp| StampLine {
            stage: &stamp.stage,
            entered_unix_ns: stamp.entered_unix_ns,
            left_unix_ns: stamp.left_unix_ns,
        });
        Self {
            source,
            epoch,
            sequence,
            capture_time_unix_ns: frame.capture_time_unix_ns,
            pts: frame.pts,
            codec: frame.codec().word(),
            width: frame.width,
            height: frame.height,
            content: frame.content_word(),
            results: frame.results.iter().map(ResultLine::of).collect(),
            stamps: stamps.collect(),
            labels: &frame.labels,
        }
    }
}

impl<'a> ResultLine<'a> {
    fn of(result: &'a StageResult) -> Self {
        let timing = result.timing.unwrap_or_default();
        let attributes = result.attributes.iter().flat_map(|all| &all.fields);
        Self {
            processor: &result.processor,
            version: &result.version,
            status: result.status().word(),
            attempts: result.attempts,
            detections: result.detections.iter().map(DetectionLine::of).collect(),
            attributes: attributes
                .map(|(name, value)| (name.as_str(), to_json(value)))
                .collect(),
            error: &result.error,
            timing: TimingLine {
                queued_ns: timing.queued_ns,
                call_ns: timing.call_ns,
                processing_ns: timing.processing_ns,
            },
        }
    }
}

impl<'a> DetectionLine<'a> {
    fn of(detection: &'a Detection) -> Self {
        Self {
            label: &detection.label,
            confidence: detection.confidence,
            r#box: detection.r#box.map(|b| [b.x, b.y, b.width, b.height]),
            track_id: detection.track_id,
            text: &detection.text,
        }
    }
}

impl<'a> EndLine<'a> {
    fn of(end: &'a EndOfStream) -> Self {
        let (source, epoch, sequence) = parts(end.last.as_ref());
        Self {
            source,
            epoch,
            sequence,
            empty: end.empty,
            reason: end.reason().word(),
            detail: &end.detail,
        }
    }
}

impl<'a> GapLine<'a> {
    fn of(gap: &'a Gap) -> Self {
        let (source, epoch, sequence) = parts(gap.first.as_ref());
        Self {
            source,
            epoch,
            sequence,
            count: gap.count,
            reason: gap.reason().word(),
            detail: &gap.detail,
            origin: gap.origin.as_ref().map(OriginLine::of),
        }
    }
}

impl<'a> OriginLine<'a> {
    fn of(origin: &'a Reference) -> Self {
        Self {
            topic: &origin.topic,
            partition: origin.partition,
            offset: origin.offset,
        }
    }
}

/// Numbers that JSON does not know (NaN, infinities) become null.
fn to_json(value: &prost_types::Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Value::NullValue(_)) => serde_json::Value::Null,
        Some(Value::BoolValue(flag)) => (*flag).into(),
        Some(Value::NumberValue(number)) => (*number).into(),
        Some(Value::StringValue(text)) => text.as_str().into(),
        Some(Value::ListValue(list)) => list.values.iter().map(to_json).collect(),
        Some(Value::StructValue(fields)) => fields
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), to_json(value)))
            .collect(),
    }
}
