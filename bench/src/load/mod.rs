//! What goes in: topics filled beforehand for throughput, and cameras that wait for nobody for latency.

mod fill;
mod offer;

pub use fill::fill;
pub use offer::{Load, Offer};

use bytes::Bytes;
use pipeline::kafka::Outgoing;
use pipeline::trace::TraceContext;
use pipeline::{envelope::Kind, v1, wire};
use rand::RngExt;
use std::sync::Arc;

/// A picture of this size that nothing can compress.
pub fn picture(bytes: usize) -> Bytes {
    let mut picture = vec![0_u8; bytes];
    rand::rng().fill(&mut picture[..]);
    picture.into()
}

/// The source whose frames lie in this partition.
pub fn source(partition: i32) -> String {
    format!("bench-{partition}")
}

/// A frame as a producer makes it.
pub fn frame(source: &str, sequence: u64, captured_unix_ns: i64, picture: &Bytes) -> v1::Frame {
    let mut frame = v1::Frame {
        id: Some(v1::FrameId::new(source, 1, sequence)),
        capture_time_unix_ns: captured_unix_ns,
        pts: i64::try_from(sequence).unwrap_or(i64::MAX),
        time_base: Some(v1::TimeBase { num: 1, den: 30 }),
        width: 1280,
        height: 720,
        keyframe: true,
        content: Some(v1::frame::Content::Inline(picture.clone())),
        stamps: vec![v1::Stamp {
            stage: "producer".to_owned(),
            entered_unix_ns: captured_unix_ns,
            left_unix_ns: captured_unix_ns,
        }],
        ..v1::Frame::default()
    };
    frame.set_codec(v1::Codec::Jpeg);
    frame.set_pixel_format(v1::PixelFormat::Bgr24);
    frame
}

/// The record of a frame, made by the code that producers use.
fn record(topic: &Arc<str>, partition: i32, frame: v1::Frame) -> Outgoing {
    let timestamp_ms = frame.capture_time_unix_ns / 1_000_000;
    let mut record = wire::to_record(
        topic,
        &Kind::Frame(frame),
        timestamp_ms,
        &TraceContext::root(),
    )
    .expect("no benchmark's picture is larger than a record");
    record.partition = Some(partition);
    record
}
