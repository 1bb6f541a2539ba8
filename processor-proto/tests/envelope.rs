//! What a record may hold, and what is said of records that hold something else.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what tests call

use bytes::Bytes;
use processor_proto::{
    envelope::{self, DecodeError, FrameProblem, Kind},
    v1::{self, Codec, FrameId, PixelFormat, frame::Content, gap},
};
use proptest::prelude::*;

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
    assert!(decoded(unknown).is_ok());
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
