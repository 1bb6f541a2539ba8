//! What a record may hold, and what is said of records that hold something else.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what tests call

use bytes::Bytes;
use processor_proto::{
    envelope::{self, DecodeError, FrameProblem, Kind},
    v1::{self, Codec, FrameId, PixelFormat, frame::Content, gap},
};
use proptest::prelude::*;
use prost_types::value::Kind::{ListValue, NumberValue as Number};

fn frame() -> v1::Frame {
    v1::Frame {
        id: Some(FrameId::new("cam0", 1, 42)),
        time_base: Some(v1::TimeBase { num: 1, den: 30 }),
        codec: Codec::Raw.into(),
        pixel_format: PixelFormat::Bgr24.into(),
        width: 2,
        height: 2,
        keyframe: true,
        content: Some(Content::Inline(Bytes::from_static(&[7; 12]))),
        ..v1::Frame::default()
    }
}

fn decoded(kind: impl Into<Kind>) -> Result<Kind, DecodeError> {
    envelope::decode(envelope::encode(&kind.into()))
}

fn problem_of(change: impl FnOnce(&mut v1::Frame)) -> FrameProblem {
    let mut frame = frame();
    change(&mut frame);
    match decoded(frame) {
        Err(DecodeError::BadFrame { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_frame_comes_back_as_it_was_without_a_copy_of_its_picture() {
    let value = envelope::encode(&frame().into());
    let range = value.as_ptr_range();
    let Ok(Kind::Frame(back)) = envelope::decode(value.clone()) else {
        panic!("not a frame")
    };
    assert_eq!(back, frame());
    assert!(range.contains(&back.inline().unwrap().as_ptr()));
}

#[test]
fn an_empty_record_and_an_unknown_kind_are_no_kind() {
    assert_eq!(envelope::decode(Bytes::new()), Err(DecodeError::NoKind));
    let field_9 = Bytes::from_static(&[9 << 3 | 2, 1, 0]);
    assert_eq!(envelope::decode(field_9), Err(DecodeError::NoKind));
}

#[test]
fn text_is_not_protobuf() {
    let error = envelope::decode(Bytes::from_static(b"hello, world")).unwrap_err();
    assert!(matches!(error, DecodeError::NotProtobuf(_)), "{error}");
}

#[test]
fn ids_must_be_there_and_valid() {
    let no_id = |kind: Kind, word| {
        let error = decoded(kind).unwrap_err();
        assert_eq!(error, DecodeError::NoId { kind: word });
    };
    no_id(v1::Frame::default().into(), "frame");
    no_id(v1::EndOfStream::default().into(), "end");
    no_id(v1::Gap::default().into(), "gap");

    let with_id = |id| {
        decoded(v1::EndOfStream {
            last: Some(id),
            ..Default::default()
        })
    };
    assert!(with_id(FrameId::new("cam0", 1, 0)).is_ok());
    assert!(matches!(
        with_id(FrameId::new("cam 0", 1, 0)),
        Err(DecodeError::BadSourceId { .. })
    ));
    assert!(matches!(
        with_id(FrameId::new("cam0", 0, 0)),
        Err(DecodeError::EpochZero { .. })
    ));
}

#[test]
fn a_frame_says_what_its_picture_is() {
    use FrameProblem as P;
    assert_eq!(problem_of(|f| f.content = None), P::NoContent);
    assert_eq!(problem_of(|f| f.codec = 0), P::NoCodec);
    assert_eq!(
        problem_of(|f| f.width = 0),
        P::NoPixels {
            width: 0,
            height: 2
        }
    );
    assert_eq!(
        problem_of(|f| f.content = Some(Content::Inline(Bytes::new()))),
        P::EmptyContent
    );
    assert_eq!(problem_of(|f| f.pixel_format = 0), P::NoPixelFormat);
    assert_eq!(
        problem_of(|f| f.height = u32::MAX),
        P::RawLength {
            expected: 2 * u64::from(u32::MAX) * 3,
            found: 12
        }
    );
    let nowhere = v1::Reference::default();
    assert!(matches!(
        problem_of(|f| f.content = Some(Content::Reference(nowhere))),
        P::Reference { .. }
    ));
}

#[test]
fn a_time_base_is_positive_and_there_if_it_is_needed() {
    let zero = v1::TimeBase { num: 1, den: 0 };
    assert_eq!(
        problem_of(|f| f.time_base = Some(zero)),
        FrameProblem::TimeBase { num: 1, den: 0 }
    );
    let without = |f: &mut v1::Frame| {
        f.time_base = None;
        f.pts = 9;
    };
    assert_eq!(problem_of(without), FrameProblem::NoTimeBase { pts: 9 });
}

#[test]
fn a_later_versions_codec_is_carried_on() {
    let mut later = frame();
    later.codec = 77;
    assert_eq!(decoded(later.clone()), Ok(later.into()));
}

#[test]
fn an_undecodable_gap_may_know_nothing_and_others_must_fit() {
    let unknown = v1::Gap {
        reason: gap::Reason::Undecodable.into(),
        ..Default::default()
    };
    assert!(decoded(unknown.clone()).is_ok());
    // What it does know is written into keys and headers.
    let nobody = v1::Gap {
        first: Some(FrameId::new("no such source", 0, 0)),
        ..unknown
    };
    assert!(matches!(
        decoded(nobody),
        Err(DecodeError::BadSourceId { .. })
    ));
    let beyond = v1::Gap {
        first: Some(FrameId::new("cam0", 1, u64::MAX)),
        count: 1,
        reason: gap::Reason::Overload.into(),
        ..Default::default()
    };
    assert!(matches!(
        decoded(beyond),
        Err(DecodeError::GapTooLong { .. })
    ));
}

#[test]
fn what_an_end_or_a_gap_says_is_short_enough_to_be_passed_on() {
    let long = "x".repeat(envelope::MAX_NOTICE_BYTES);
    let end = v1::EndOfStream {
        last: Some(FrameId::new("cam0", 1, 0)),
        detail: long.clone(),
        ..Default::default()
    };
    // Of this gap nothing else is checked.
    let gap = v1::Gap {
        reason: gap::Reason::Undecodable.into(),
        first: Some(FrameId::new(long, 0, 0)),
        ..Default::default()
    };
    for kind in [Kind::from(end), gap.into()] {
        let error = decoded(kind).unwrap_err();
        assert!(
            matches!(error, DecodeError::NoticeTooLarge { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_record_of_millions_of_tiny_parts_is_refused_before_it_is_decoded() {
    let mut frame = frame();
    frame.results = vec![v1::Result::default(); envelope::MAX_PARTS - 10];
    assert!(decoded(frame.clone()).is_ok());
    let of_results = vec![v1::Result::default(); 2 * envelope::MAX_PARTS];
    let of_detections = vec![v1::Result {
        detections: vec![v1::Detection::default(); 2 * envelope::MAX_PARTS],
        ..Default::default()
    }];
    for results in [of_results, of_detections] {
        frame.results = results;
        let value = envelope::encode(&frame.clone().into());
        assert_eq!(
            envelope::check_parts(&value),
            Err(DecodeError::TooManyParts)
        );
        assert_eq!(envelope::decode(value), Err(DecodeError::TooManyParts));
    }
}

#[test]
fn parts_are_counted_as_deep_as_they_lie() {
    // {"k": [{"k": [...]}]}, each level twice.
    let mut value = prost_types::Value {
        kind: Some(Number(1.0)),
    };
    for _ in 0..17 {
        let list = ListValue(prost_types::ListValue {
            values: vec![value.clone(), value],
        });
        value = prost_types::Value { kind: Some(list) };
    }
    let mut frame = frame();
    frame.results = vec![v1::Result {
        attributes: Some(prost_types::Struct {
            fields: [("k".to_owned(), value)].into(),
        }),
        ..Default::default()
    }];
    assert_eq!(decoded(frame), Err(DecodeError::TooManyParts));
}

#[test]
fn errors_are_short_whatever_the_record_says() {
    let long = "\u{1}".repeat(1 << 20);
    let id = decoded(v1::EndOfStream {
        last: Some(FrameId::new(long.clone(), 1, 0)),
        ..Default::default()
    });
    let mut by_reference = frame();
    by_reference.content = Some(Content::Reference(v1::Reference {
        topic: long.clone(),
        partition: -1,
        offset: 0,
    }));
    let mut lineage = frame();
    lineage.lineage = vec![FrameId::new(long, 1, 0)];
    for result in [id, decoded(by_reference), decoded(lineage)] {
        let said = result.unwrap_err().to_string();
        assert!(said.len() < 4096, "{} bytes", said.len());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = envelope::decode(bytes.into());
    }

    #[test]
    fn any_damage_is_a_message_or_an_error(at in 0usize..60, to in any::<u8>(), cut in 0usize..60) {
        let mut bytes = envelope::encode(&frame().into()).to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        bytes.truncate(bytes.len() - cut % bytes.len());
        if let Ok(kind) = envelope::decode(bytes.into()) {
            // What was let in can be written and read again.
            prop_assert_eq!(decoded(kind.clone()), Ok(kind));
        }
    }
}
