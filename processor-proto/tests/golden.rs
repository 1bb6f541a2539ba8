//! The bytes of every kind of message, kept as files: what was written once can be read for ever.
//!
//! After an intended, compatible change: `REGENERATE_GOLDEN=1 cargo test -p processor-proto --test golden`.
//! The messages name every field, without `..Default::default()`: a new field must be given a value here.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what tests call

use std::{collections::BTreeMap, env, fmt::Debug, fs, path::Path};

use bytes::Bytes;
use processor_proto::{
    envelope::{self, Kind},
    v1::*,
};
use prost::Message;
use prost_types::{ListValue, Struct, Value, value};

/// Decodes the file to `expected` and encodes it to the file's bytes again.
fn check<M: Message + Default + PartialEq + Debug>(name: &str, expected: &M) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name);
    if env::var_os("REGENERATE_GOLDEN").is_some() {
        fs::write(&path, expected.encode_to_vec()).unwrap();
    }
    let golden = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let decoded = M::decode(Bytes::from(golden.clone())).unwrap();
    assert_eq!(&decoded, expected, "{name} now means something else");
    assert_eq!(
        decoded.encode_to_vec(),
        golden,
        "{name} is now written in other bytes"
    );
    golden
}

/// As `check`, for what a Kafka record holds.
fn check_record(name: &str, expected: impl Into<Kind>) {
    let expected = expected.into();
    let golden = check(
        name,
        &Envelope {
            kind: Some(expected.clone()),
        },
    );
    assert_eq!(
        envelope::decode(golden.clone().into()).as_ref(),
        Ok(&expected)
    );
    assert_eq!(envelope::encode(&expected), golden);
}

#[test]
fn a_frame_with_every_field() {
    check_record("frame_inline.bin", full_frame());
}

#[test]
fn a_frame_with_a_reference() {
    check_record(
        "frame_reference.bin",
        Frame {
            content: Some(frame::Content::Reference(reference())),
            ..full_frame()
        },
    );
}

#[test]
fn a_frame_whose_picture_is_missing() {
    check_record(
        "frame_missing.bin",
        Frame {
            content: Some(frame::Content::Missing(Missing {
                reason: missing::Reason::Expired.into(),
                last_known: Some(reference()),
            })),
            ..full_frame()
        },
    );
}

#[test]
fn an_end_of_stream() {
    check_record(
        "end.bin",
        EndOfStream {
            last: Some(FrameId::new("cam0", 3, 899)),
            empty: false,
            reason: end_of_stream::Reason::Failed.into(),
            detail: "the camera was unplugged".into(),
        },
    );
}

#[test]
fn the_end_of_an_empty_epoch() {
    check_record(
        "end_empty.bin",
        EndOfStream {
            last: Some(FrameId::new("cam0", 4, 0)),
            empty: true,
            reason: end_of_stream::Reason::Stopped.into(),
            detail: String::new(),
        },
    );
}

#[test]
fn a_gap() {
    check_record(
        "gap.bin",
        Gap {
            first: Some(FrameId::new("cam0", 3, 100)),
            count: 25,
            reason: gap::Reason::SourceStalled.into(),
            detail: "no picture for 1 s".into(),
            origin: Some(reference()),
        },
    );
}

#[test]
fn a_request() {
    check(
        "process_request.bin",
        &ProcessRequest {
            frame: Some(full_frame()),
            attempt: 2,
        },
    );
}

#[test]
fn a_response() {
    check(
        "process_response.bin",
        &ProcessResponse {
            id: Some(FrameId::new("cam0", 3, 42)),
            result: Some(full_result()),
            picture: Some(Picture {
                codec: Codec::Raw.into(),
                pixel_format: PixelFormat::Gray8.into(),
                width: 2,
                height: 3,
                content: Bytes::from_static(&[1, 2, 3, 4, 5, 6]),
            }),
        },
    );
}

#[test]
fn a_description() {
    check("describe_request.bin", &DescribeRequest {});
    check(
        "describe_response.bin",
        &DescribeResponse {
            name: "faces".into(),
            version: "1.2.3".into(),
            max_in_flight: 8,
            needs_pixels: true,
            max_batch: 0, // written before there were batches
            max_batch_wait_us: 0,
        },
    );
    check(
        "describe_response_batch.bin",
        &DescribeResponse {
            name: "people".into(),
            version: "2".into(),
            max_in_flight: 4,
            needs_pixels: true,
            max_batch: 16,
            max_batch_wait_us: 5_000,
        },
    );
}

#[test]
fn a_batch() {
    let alone = |attempt| ProcessRequest {
        frame: Some(full_frame()),
        attempt,
    };
    check(
        "process_batch_request.bin",
        &ProcessBatchRequest {
            requests: vec![alone(1), alone(2)],
        },
    );
    let outcomes = [
        batched_outcome::Outcome::Response(ProcessResponse {
            id: Some(FrameId::new("cam0", 3, 42)),
            result: Some(full_result()),
            picture: None,
        }),
        batched_outcome::Outcome::Refusal(Refusal {
            code: 3,
            message: "the picture is cut off".into(),
        }),
    ];
    check(
        "process_batch_response.bin",
        &ProcessBatchResponse {
            outcomes: outcomes
                .map(|outcome| BatchedOutcome {
                    outcome: Some(outcome),
                })
                .into(),
        },
    );
}

fn reference() -> Reference {
    Reference {
        topic: "cam0".into(),
        partition: 7,
        offset: 1_234_567_890_123,
    }
}

fn full_frame() -> Frame {
    Frame {
        id: Some(FrameId {
            source_id: "cam0".into(),
            epoch: 3,
            sequence: 42,
        }),
        capture_time_unix_ns: 1_700_000_000_123_456_789,
        pts: -126_000,
        time_base: Some(TimeBase {
            num: 1,
            den: 90_000,
        }),
        codec: Codec::Jpeg.into(),
        pixel_format: PixelFormat::Bgr24.into(),
        width: 768,
        height: 576,
        keyframe: true,
        content: Some(frame::Content::Inline(Bytes::from_static(
            b"\xff\xd8 a picture \xff\xd9",
        ))),
        results: vec![
            full_result(),
            Result {
                processor: "people".into(),
                version: "0.1.0".into(),
                status: Status::Timeout.into(),
                attempts: 3,
                detections: vec![],
                attributes: None,
                error: "no answer within 2 s".into(),
                timing: None,
            },
        ],
        lineage: vec![FrameId::new("cam0", 3, 40), FrameId::new("cam1", 1, 7)],
        stamps: vec![Stamp {
            stage: "producer".into(),
            entered_unix_ns: 1_700_000_000_123_456_790,
            left_unix_ns: 1_700_000_000_125_000_000,
        }],
        labels: BTreeMap::from([
            ("site".into(), "north".into()),
            ("lens".into(), "wide".into()),
        ]),
    }
}

fn full_result() -> Result {
    Result {
        processor: "faces".into(),
        version: "1.2.3".into(),
        status: Status::Ok.into(),
        attempts: 1,
        detections: vec![Detection {
            r#box: Some(Box {
                x: 1.5,
                y: -2.0,
                width: 64.25,
                height: 128.0,
            }),
            label: "face".into(),
            confidence: 0.875,
            track_id: 12,
            text: "Ada".into(),
        }],
        attributes: Some(Struct {
            fields: BTreeMap::from([
                ("light".into(), of(value::Kind::NumberValue(0.5))),
                ("night".into(), of(value::Kind::BoolValue(false))),
                (
                    "notes".into(),
                    of(value::Kind::ListValue(ListValue {
                        values: vec![of(value::Kind::StringValue("blurred".into()))],
                    })),
                ),
            ]),
        }),
        error: "one of two models failed".into(),
        timing: Some(Timing {
            queued_ns: 1_000,
            call_ns: 20_000_000,
            processing_ns: 18_000_000,
        }),
    }
}

fn of(kind: value::Kind) -> Value {
    Value { kind: Some(kind) }
}
