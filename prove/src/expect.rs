//! What must come out: recomputed from what went in, without asking the broker.
//!
//! A frame's normal form leaves out what two right runs may differ in: durations, times, the number of attempts (checked
//! on its own against what the processor wrote into its reply) and the words of an error.

use crate::dice::{drawn, of_bytes, of_text};
use crate::history::{Message, Record};
use crate::plan::{Content, StagePlan};
use bytes::Bytes;
use processor_proto::v1::frame::Content as FrameContent;
use processor_proto::v1::{
    Box as Area, Codec, Detection, Frame, FrameId, Gap, Reference, Result as StageResult, Stamp,
    Status, gap,
};
use prost_types::value::Kind as Value;

/// The version that results carry.
pub const VERSION: &str = "prove";
/// Pictures above this are not decoded: 64 megapixels.
const LARGEST_PIXELS: usize = 64_000_000;
/// The attribute that names the attempt a reply belongs to.
const ATTEMPT: &str = "attempt";

/// What a processor has to say of a frame: a pure function of its id, its picture and the results before.
pub fn result(
    processor: &str,
    id: &FrameId,
    picture: &[u8],
    earlier: usize,
    attempt: u32,
) -> StageResult {
    let parts = [
        of_text(&id.source_id),
        id.epoch,
        id.sequence,
        of_bytes(picture),
        earlier as u64,
    ];
    let sum = drawn(of_text(processor), &parts);
    let value = |kind| prost_types::Value { kind: Some(kind) };
    let attributes = [
        (
            "sum".to_owned(),
            value(Value::StringValue(format!("{sum:016x}"))),
        ),
        (
            ATTEMPT.to_owned(),
            value(Value::NumberValue(f64::from(attempt))),
        ),
    ];
    let area = Area {
        x: (sum % 64) as f32,
        y: (sum >> 8 & 63) as f32,
        width: 8.0,
        height: 8.0,
    };
    StageResult {
        processor: processor.to_owned(),
        version: VERSION.to_owned(),
        status: Status::Ok.into(),
        attempts: attempt,
        detections: vec![Detection::new("thing", 0.5, area)],
        attributes: Some(prost_types::Struct {
            fields: attributes.into(),
        }),
        ..StageResult::default()
    }
}

/// Whether a picture may be decoded at all: its header is whole and claims no more than fits into memory.
pub fn is_decodable(codec: Codec, picture: &[u8]) -> bool {
    match codec {
        Codec::Jpeg => {
            let fits = imagesize::blob_size(picture)
                .is_ok_and(|size| size.width.saturating_mul(size.height) <= LARGEST_PIXELS);
            fits && picture.ends_with(b"\xff\xd9")
        }
        _ => true,
    }
}

/// The message that takes the place of an input record behind a stage, in its normal form.
///
/// `picture` is that of the frame, wherever the input record keeps it.
pub fn output(stage: &StagePlan, input: &Record, picture: &Bytes) -> Message {
    match &input.message {
        Message::Frame(frame) => {
            Message::Frame(Box::new(frame_behind(stage, input, frame, picture)))
        }
        Message::End(end) => Message::End(end.clone()),
        Message::Gap(gap) => Message::Gap(gap.clone()),
        Message::Undecodable => Message::Gap(Gap {
            first: Some(FrameId::new(input.key.clone(), 0, 0)),
            count: 0,
            reason: gap::Reason::Undecodable.into(),
            detail: String::new(),
            origin: Some(origin(input)),
        }),
    }
}

fn frame_behind(stage: &StagePlan, input: &Record, frame: &Frame, picture: &Bytes) -> Frame {
    let id = frame.id.clone().unwrap_or_default();
    let mut behind = frame.clone();
    let fails = stage.behaviour.poison(&id).is_some() || !is_decodable(frame.codec(), picture);
    behind.results.push(if fails {
        StageResult {
            processor: stage.processor.clone(),
            status: Status::Error.into(),
            ..StageResult::default()
        }
    } else {
        result(&stage.processor, &id, picture, frame.results.len(), 1)
    });
    behind.stamps.push(Stamp {
        stage: format!("broker:{}", stage.processor),
        ..Stamp::default()
    });
    if stage.content == Content::Reference && frame.inline().is_some() {
        behind.content = Some(FrameContent::Reference(origin(input)));
    }
    normal_frame(behind)
}

fn origin(record: &Record) -> Reference {
    Reference {
        topic: record.topic.clone(),
        partition: record.partition,
        offset: record.offset,
    }
}

/// The normal form of a message.
pub fn normal(message: &Message) -> Message {
    match message {
        Message::Frame(frame) => Message::Frame(Box::new(normal_frame(Frame::clone(frame)))),
        Message::Gap(gap) => Message::Gap(Gap {
            detail: String::new(),
            ..gap.clone()
        }),
        other => other.clone(),
    }
}

fn normal_frame(mut frame: Frame) -> Frame {
    for stamp in &mut frame.stamps {
        (stamp.entered_unix_ns, stamp.left_unix_ns) = (0, 0);
    }
    for result in &mut frame.results {
        normalise(result);
    }
    frame
}

fn normalise(result: &mut StageResult) {
    result.timing = None;
    match result.status() {
        Status::Ok if attempt_of(result) == Some(result.attempts) => {
            result.attempts = 0;
            if let Some(attributes) = &mut result.attributes {
                attributes.fields.remove(ATTEMPT);
            }
        }
        Status::Error | Status::Timeout => {
            result.set_status(Status::Error);
            result.attempts = 0;
            result.error.clear();
            result.version.clear();
        }
        _ => {}
    }
}

/// The attempt that a processor's reply says it answers.
pub fn attempt_of(result: &StageResult) -> Option<u32> {
    let value = result.attributes.as_ref()?.fields.get(ATTEMPT)?;
    match value.kind {
        Some(Value::NumberValue(number)) => Some(number as u32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_another_attempt_does_not_have_the_normal_form() {
        let id = FrameId::new("s0", 1, 4);
        let normal_of = |attempts| {
            let mut result = result("first", &id, b"pixels", 0, 2);
            result.attempts = attempts;
            normalise(&mut result);
            result
        };
        let mut expected = result("first", &id, b"pixels", 0, 1);
        normalise(&mut expected);
        assert_eq!(normal_of(2), expected);
        assert_ne!(normal_of(1), expected);
    }

    #[test]
    fn bombs_and_halves_are_not_decoded() {
        assert!(is_decodable(Codec::Raw, b"anything"));
        assert!(!is_decodable(Codec::Jpeg, b"\xff\xd8\xff"));
    }
}
