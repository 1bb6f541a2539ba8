//! What a consumer makes of any record: a JSON line, a decoded picture, and the results drawn into it.

use bytes::Bytes;
use consumer::decode;
use consumer::delivery::Content;
use consumer::overlay;
use consumer::sinks::json;
use pipeline::envelope::{self, Kind};
use pipeline::kafka::TopicPartition;
use pipeline::v1::{Codec, Frame, PixelFormat};
use serde_json::Value;

/// Larger pictures are left to the limit of the decoder: they would only slow the search down.
const MAX_PIXELS: usize = 1_000_000;
/// As for the processors' decoder; drawing takes no more than the picture.
pub const MEMORY_BYTES: u64 = MAX_PIXELS as u64 * 12 + (64 << 20);

/// A line is one line of valid JSON; a picture is decoded and drawn into, or refused.
pub fn run(data: &[u8]) {
    let content = match envelope::decode(Bytes::copy_from_slice(data)) {
        Ok(kind) => Content::Message(Box::new(kind)),
        Err(error) => Content::Undecodable(error.to_string()),
    };
    check_line(&content);
    if let Content::Message(message) = &content
        && let Kind::Frame(frame) = &**message
    {
        check_picture(frame);
    }
}

fn check_line(content: &Content) {
    let place = TopicPartition::new("topic", 0);
    let line = serde_json::to_string(&json::of(&place, 12, content)).expect("any record is JSON");
    assert!(!line.contains('\n'), "one record, one line");
    let read: Value = serde_json::from_str(&line).expect("what was written can be read");
    let Content::Message(message) = content else {
        assert_eq!(read["kind"], "undecodable");
        return;
    };
    assert_eq!(read["kind"], message.word());
    if let Some(id) = message.id() {
        assert_eq!(read["source"], id.source_id.as_str());
        assert_eq!(read["epoch"], id.epoch);
        assert_eq!(read["sequence"], id.sequence);
    }
}

fn check_picture(frame: &Frame) {
    if let Some(bytes) = frame.inline().filter(|bytes| !is_large(frame, bytes))
        && let Ok(mut picture) = decode::decode(frame, bytes)
    {
        overlay::draw(&mut picture, frame).expect("any result can be drawn");
        decode::to_jpeg(&picture).expect("what is shown can be written");
    }
    let (blank, pixels) = blank();
    let mut picture = decode::decode(&blank, &pixels).expect("a valid picture");
    overlay::draw(&mut picture, frame).expect("any result can be drawn");
}

fn is_large(frame: &Frame, bytes: &[u8]) -> bool {
    let is_raw = frame.codec() == Codec::Raw;
    let size = imagesize::blob_size(bytes);
    !is_raw && size.is_ok_and(|size| size.width.saturating_mul(size.height) > MAX_PIXELS)
}

/// A small picture that can be drawn into.
fn blank() -> (Frame, Bytes) {
    let (width, height) = (96, 64);
    let frame = Frame {
        codec: Codec::Raw.into(),
        pixel_format: PixelFormat::Bgr24.into(),
        width,
        height,
        ..Frame::default()
    };
    (frame, Bytes::from(vec![90; (width * height * 3) as usize]))
}
