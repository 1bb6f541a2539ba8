//! A record as JSON: what viewers are told of it. The names are those of `consumer --sink jsonl:`, and a contract.

use pipeline::envelope::Kind;
use pipeline::kafka::TopicPartition;
use pipeline::v1::{Detection, EndOfStream, Frame, FrameId, Gap, Result as StageResult};
use prost_types::value::Kind as Value;
use serde::Serialize;
use std::collections::BTreeMap;

/// Nobody looks at more, and a hostile record holds millions.
const MAX_DETECTIONS: usize = 1_000;
const MAX_RESULTS: usize = 100;
const MAX_STAMPS: usize = 100;
/// What a viewer is sent beside a picture, at most; results that make more are left out.
const MAX_BYTES: usize = 256 << 10;

/// What a record says, or why it says nothing.
#[derive(Debug)]
pub enum Content {
    Message(Kind),
    Undecodable { source: String, error: String },
}

/// The JSON object of a record.
pub fn of(lane: &TopicPartition, offset: i64, content: &Content) -> String {
    let place = |says| Line {
        topic: &lane.topic,
        partition: lane.partition,
        offset,
        says,
    };
    let write = |line: &Line<'_>| {
        serde_json::to_string(line).expect("names are texts, and numbers are numbers or null")
    };
    let json = write(&place(Says::of(content, Amount::All)));
    if json.len() <= MAX_BYTES {
        return json;
    }
    write(&place(Says::of(content, Amount::NoResults)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Amount {
    All,
    NoResults,
}

#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    #[serde(flatten)]
    says: Says<'a>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Says<'a> {
    Frame(Box<FrameLine<'a>>),
    End(EndLine<'a>),
    Gap(GapLine<'a>),
    Undecodable { source: &'a str, error: &'a str },
}

#[derive(Serialize)]
struct FrameLine<'a> {
    source: &'a str,
    epoch: u64,
    sequence: u64,
    capture_time_unix_ns: i64,
    codec: &'static str,
    width: u32,
    height: u32,
    content: &'static str,
    results: Vec<ResultLine<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    results_left_out: bool,
    stamps: Vec<StampLine<'a>>,
    labels: BTreeMap<&'a str, &'a str>,
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
}

impl<'a> Says<'a> {
    fn of(content: &'a Content, amount: Amount) -> Self {
        match content {
            Content::Message(Kind::Frame(frame)) => {
                Self::Frame(Box::new(FrameLine::of(frame, amount)))
            }
            Content::Message(Kind::End(end)) => Self::End(EndLine::of(end)),
            Content::Message(Kind::Gap(gap)) => Self::Gap(GapLine::of(gap)),
            Content::Undecodable { source, error } => Self::Undecodable { source, error },
        }
    }
}

/// An id that is not there (only gaps of unknown records have none) reads as the empty source.
fn parts(id: Option<&FrameId>) -> (&str, u64, u64) {
    id.map_or(("", 0, 0), |id| (&id.source_id, id.epoch, id.sequence))
}

impl<'a> FrameLine<'a> {
    fn of(frame: &'a Frame, amount: Amount) -> Self {
        let (source, epoch, sequence) = parts(frame.id.as_ref());
        let shown = match amount {
            Amount::All => MAX_RESULTS,
            Amount::NoResults => 0,
        };
        let mut room = MAX_DETECTIONS;
        let results = frame.results.iter().take(shown).map(|result| {
            let line = ResultLine::of(result, room);
            room -= line.detections.len();
            line
        });
        let results: Vec<_> = results.collect();
        let detections = |lines: &[ResultLine<'_>]| -> usize {
            lines.iter().map(|line| line.detections.len()).sum()
        };
        let all: usize = frame
            .results
            .iter()
            .map(|result| result.detections.len())
            .sum();
        let stamps = frame.stamps.iter().take(MAX_STAMPS).map(|stamp| StampLine {
            stage: &stamp.stage,
            entered_unix_ns: stamp.entered_unix_ns,
            left_unix_ns: stamp.left_unix_ns,
        });
        let labels = frame.labels.iter().take(shown);
        Self {
            source,
            epoch,
            sequence,
            capture_time_unix_ns: frame.capture_time_unix_ns,
            codec: frame.codec().word(),
            width: frame.width,
            height: frame.height,
            content: frame.content_word(),
            results_left_out: results.len() < frame.results.len() || detections(&results) < all,
            results,
            stamps: stamps.collect(),
            labels: labels
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
        }
    }
}

impl<'a> ResultLine<'a> {
    fn of(result: &'a StageResult, most_detections: usize) -> Self {
        let attributes = result.attributes.iter().flat_map(|all| &all.fields);
        let detections = result.detections.iter().take(most_detections);
        Self {
            processor: &result.processor,
            version: &result.version,
            status: result.status().word(),
            attempts: result.attempts,
            detections: detections.map(DetectionLine::of).collect(),
            attributes: attributes
                .map(|(name, value)| (name.as_str(), to_json(value)))
                .collect(),
            error: &result.error,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(detections: usize, label: &str) -> Content {
        let detection = Detection {
            label: label.to_owned(),
            confidence: f32::NAN,
            ..Detection::default()
        };
        Content::Message(Kind::Frame(Frame {
            id: Some(FrameId::new("cam0", 2, 7)),
            results: vec![StageResult {
                processor: "people".to_owned(),
                detections: vec![detection; detections],
                ..StageResult::default()
            }],
            ..Frame::default()
        }))
    }

    fn parse(content: &Content) -> serde_json::Value {
        let json = of(&TopicPartition::new("t", 3), 12, content);
        assert!(json.len() <= MAX_BYTES, "{} bytes", json.len());
        serde_json::from_str(&json).expect("it is JSON")
    }

    #[test]
    fn a_frame_says_where_it_lies_and_what_was_found() {
        let line = parse(&frame(2, "person"));
        assert_eq!(
            (&line["kind"], &line["topic"], &line["offset"]),
            (&"frame".into(), &"t".into(), &12.into())
        );
        assert_eq!(line["results"][0]["detections"][1]["label"], "person");
        assert!(
            line["results"][0]["detections"][0]["confidence"].is_null(),
            "JSON knows no NaN"
        );
        assert!(line["results_left_out"].is_null());
    }

    #[test]
    fn a_hostile_frame_is_cut_down_and_says_so() {
        assert_eq!(parse(&frame(5_000, "x"))["results_left_out"], true);
        let long = parse(&frame(900, &"y".repeat(10_000)));
        assert_eq!(long["results_left_out"], true);
        assert_eq!(long["results"].as_array().map(Vec::len), Some(0));
    }
}
