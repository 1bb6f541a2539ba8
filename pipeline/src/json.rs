//! A record as JSON. Field names are a contract: scripts, rules and pages read them.

use crate::kafka::TopicPartition;
use crate::v1::{Detection, EndOfStream, Frame, FrameId, Gap, Reference, Result as StageResult};
use processor_proto::envelope::Kind;
use prost_types::value::Kind as Value;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a record says, or why it says nothing.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// A message.
    Message(&'a Kind),
    /// No message.
    Undecodable {
        /// None: not told.
        source: Option<&'a str>,
        error: &'a str,
    },
    /// No record either: the source has nothing to show.
    Absent { source: &'a str, error: &'a str },
}

/// How much of a record is told.
#[derive(Debug, Clone, Copy)]
pub enum Extent {
    /// Everything, however much it is.
    Full,
    /// What a viewer shows: no timing of single calls, and of what can be many no more than these.
    Viewed(Most),
}

/// How many of each a frame's JSON holds at most.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub results: usize,
    /// Of all results together.
    pub detections: usize,
    pub stamps: usize,
    pub labels: usize,
}

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
    Frame(Box<FrameLine<'a>>),
    End(EndLine<'a>),
    Gap(GapLine<'a>),
    Undecodable {
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<&'a str>,
        error: &'a str,
    },
    Absent {
        source: &'a str,
        error: &'a str,
    },
}

#[derive(Serialize)]
struct FrameLine<'a> {
    source: &'a str,
    epoch: u64,
    sequence: u64,
    capture_time_unix_ns: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pts: Option<i64>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    timing: Option<TimingLine>,
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
    #[serde(skip_serializing_if = "Origin::is_left_out")]
    origin: Origin<'a>,
}

/// Which record a gap stands for.
#[derive(Serialize)]
#[serde(untagged)]
enum Origin<'a> {
    LeftOut,
    /// Null where the gap names none.
    Told(Option<Place<'a>>),
}

#[derive(Serialize)]
struct Place<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

impl<'a> Line<'a> {
    /// The line of a record that lies there and holds this.
    pub fn new(
        lane: &'a TopicPartition,
        offset: i64,
        content: Content<'a>,
        extent: Extent,
    ) -> Self {
        Self {
            topic: &lane.topic,
            partition: lane.partition,
            offset,
            says: match content {
                Content::Message(Kind::Frame(frame)) => {
                    Says::Frame(Box::new(FrameLine::of(frame, extent)))
                }
                Content::Message(Kind::End(end)) => Says::End(EndLine::of(end)),
                Content::Message(Kind::Gap(gap)) => Says::Gap(GapLine::of(gap, extent)),
                Content::Undecodable { source, error } => Says::Undecodable { source, error },
                Content::Absent { source, error } => Says::Absent { source, error },
            },
        }
    }
}

impl Extent {
    fn is_full(self) -> bool {
        matches!(self, Self::Full)
    }

    fn most(self) -> Most {
        match self {
            Self::Full => Most {
                results: usize::MAX,
                detections: usize::MAX,
                stamps: usize::MAX,
                labels: usize::MAX,
            },
            Self::Viewed(most) => most,
        }
    }
}

/// An id that is not there (only gaps of unknown records have none) reads as the empty source.
fn parts(id: Option<&FrameId>) -> (&str, u64, u64) {
    id.map_or(("", 0, 0), |id| (&id.source_id, id.epoch, id.sequence))
}

impl<'a> FrameLine<'a> {
    fn of(frame: &'a Frame, extent: Extent) -> Self {
        let (source, epoch, sequence) = parts(frame.id.as_ref());
        let most = extent.most();
        let mut room = most.detections;
        let shown = frame.results.iter().take(most.results);
        let results: Vec<_> = shown
            .map(|result| {
                let line = ResultLine::of(result, room, extent);
                room -= line.detections.len();
                line
            })
            .collect();
        let all = frame.results.iter().map(|result| result.detections.len());
        let told = most.detections - room;
        let results_left_out = results.len() < frame.results.len() || told < all.sum();
        let stamps = frame.stamps.iter().take(most.stamps);
        let labels = frame.labels.iter().take(most.labels);
        Self {
            source,
            epoch,
            sequence,
            capture_time_unix_ns: frame.capture_time_unix_ns,
            pts: extent.is_full().then_some(frame.pts),
            codec: frame.codec().word(),
            width: frame.width,
            height: frame.height,
            content: frame.content_word(),
            results,
            results_left_out,
            stamps: stamps
                .map(|stamp| StampLine {
                    stage: &stamp.stage,
                    entered_unix_ns: stamp.entered_unix_ns,
                    left_unix_ns: stamp.left_unix_ns,
                })
                .collect(),
            labels: labels
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
        }
    }
}

impl<'a> ResultLine<'a> {
    fn of(result: &'a StageResult, most_detections: usize, extent: Extent) -> Self {
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
            timing: extent.is_full().then(|| TimingLine::of(result)),
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

impl TimingLine {
    fn of(result: &StageResult) -> Self {
        let timing = result.timing.unwrap_or_default();
        Self {
            queued_ns: timing.queued_ns,
            call_ns: timing.call_ns,
            processing_ns: timing.processing_ns,
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
    fn of(gap: &'a Gap, extent: Extent) -> Self {
        let (source, epoch, sequence) = parts(gap.first.as_ref());
        Self {
            source,
            epoch,
            sequence,
            count: gap.count,
            reason: gap.reason().word(),
            detail: &gap.detail,
            origin: match extent {
                Extent::Full => Origin::Told(gap.origin.as_ref().map(Place::of)),
                Extent::Viewed(_) => Origin::LeftOut,
            },
        }
    }
}

impl Origin<'_> {
    fn is_left_out(&self) -> bool {
        matches!(self, Self::LeftOut)
    }
}

impl<'a> Place<'a> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Most = Most {
        results: 0,
        detections: 0,
        stamps: 0,
        labels: 0,
    };

    fn line(message: Kind, extent: Extent) -> String {
        let lane = TopicPartition::new("t", 3);
        let line = Line::new(&lane, 12, Content::Message(&message), extent);
        serde_json::to_string(&line).expect("names are texts")
    }

    fn frame() -> Kind {
        Kind::Frame(Frame {
            id: Some(FrameId::new("cam0", 2, 7)),
            pts: 5,
            results: vec![StageResult {
                processor: "p".to_owned(),
                detections: vec![Detection::default(); 2],
                ..StageResult::default()
            }],
            ..Frame::default()
        })
    }

    #[test]
    fn a_full_line_has_every_name_in_its_place() {
        let detection = r#"{"label":"","confidence":0.0,"box":null,"track_id":0,"text":""}"#;
        assert_eq!(
            line(frame(), Extent::Full),
            format!(
                r#"{{"topic":"t","partition":3,"offset":12,"kind":"frame","source":"cam0","epoch":2,"sequence":7,"capture_time_unix_ns":0,"pts":5,"codec":"unspecified","width":0,"height":0,"content":"missing","results":[{{"processor":"p","version":"","status":"unspecified","attempts":0,"detections":[{detection},{detection}],"attributes":{{}},"error":"","timing":{{"queued_ns":0,"call_ns":0,"processing_ns":0}}}}],"stamps":[],"labels":{{}}}}"#
            )
        );
        let gap = line(Kind::Gap(Gap::default()), Extent::Full);
        assert!(gap.ends_with(r#""origin":null}"#), "{gap}");
    }

    #[test]
    fn a_viewers_line_has_no_more_than_it_is_given_and_says_what_is_missing() {
        let two = Most {
            results: 1,
            detections: 2,
            ..NOTHING
        };
        let whole = line(frame(), Extent::Viewed(two));
        for name in ["\"pts\"", "timing", "results_left_out"] {
            assert!(!whole.contains(name), "{name} in {whole}");
        }
        let one = Most {
            detections: 1,
            ..two
        };
        for most in [one, NOTHING] {
            let cut = line(frame(), Extent::Viewed(most));
            assert!(cut.contains(r#""results_left_out":true"#), "{cut}");
        }
        let gap = line(Kind::Gap(Gap::default()), Extent::Viewed(two));
        assert!(!gap.contains("origin"), "{gap}");
    }
}
