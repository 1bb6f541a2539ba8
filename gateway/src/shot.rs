//! A record as viewers get it: read, decoded and put into words once, shared by all of them.

use crate::json::{self, Content};
use bytes::{BufMut, Bytes, BytesMut};
use pipeline::envelope::Kind;
use pipeline::kafka::TopicPartition;
use pipeline::v1::{Codec, Frame, PixelFormat, frame};
use serde::Serialize;
use std::sync::OnceLock;

/// The boundary of MJPEG streams.
pub const BOUNDARY: &str = "framelane";

/// An encoded picture and what is needed to decode it.
#[derive(Debug, Clone)]
pub struct Picture {
    pub codec: Codec,
    pub bytes: Bytes,
    /// Pixels.
    pub width: u32,
    pub height: u32,
    /// Of RAW pictures.
    pub pixel_format: PixelFormat,
}

impl Picture {
    /// None if browsers cannot show it as it is.
    pub fn media_type(&self) -> Option<&'static str> {
        match self.codec {
            Codec::Jpeg => Some("image/jpeg"),
            Codec::Png => Some("image/png"),
            Codec::Raw | Codec::H264 | Codec::Unspecified => None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Shot {
    content: Content,
    picture: Result<Picture, String>,
    offset: i64,
    partition: i32,
    /// The JSON object of the record, without its picture.
    says: String,
    message: OnceLock<Bytes>,
    part: OnceLock<Bytes>,
    event: OnceLock<Bytes>,
}

#[derive(Serialize)]
struct PictureLine {
    media_type: &'static str,
    width: u32,
    height: u32,
    bytes: usize,
}

impl Shot {
    /// A record. Its content must be resolved: a frame that still refers to its picture has none.
    pub fn new(lane: &TopicPartition, offset: i64, content: Content) -> Self {
        let says = json::of(lane, offset, &content);
        let picture = match &content {
            Content::Message(Kind::Frame(frame)) => picture_of(frame),
            _ => Err("the record is no frame".to_owned()),
        };
        Self {
            content,
            picture,
            offset,
            partition: lane.partition,
            says,
            message: OnceLock::new(),
            part: OnceLock::new(),
            event: OnceLock::new(),
        }
    }

    /// The same record with another picture, or with the reason why there is none.
    pub fn with_picture(&self, picture: Result<Picture, String>) -> Self {
        let content = match &self.content {
            Content::Message(kind) => Content::Message(kind.clone()), // the picture in it is shared, not copied
            Content::Undecodable { source, error } => Content::Undecodable {
                source: source.clone(),
                error: error.clone(),
            },
        };
        Self {
            content,
            picture,
            offset: self.offset,
            partition: self.partition,
            says: self.says.clone(),
            message: OnceLock::new(),
            part: OnceLock::new(),
            event: OnceLock::new(),
        }
    }

    pub fn offset(&self) -> i64 {
        self.offset
    }

    pub fn content(&self) -> &Content {
        &self.content
    }

    /// None if the record is no frame.
    pub fn frame(&self) -> Option<&Frame> {
        match &self.content {
            Content::Message(Kind::Frame(frame)) => Some(frame),
            _ => None,
        }
    }

    /// Nothing comes behind it in its epoch.
    pub fn is_end(&self) -> bool {
        matches!(self.content, Content::Message(Kind::End(_)))
    }

    /// None if there is none to show.
    pub fn picture(&self) -> Option<&Picture> {
        self.picture.as_ref().ok()
    }

    /// A WebSocket message: 4 bytes of length (big-endian), the JSON object of that length, the picture.
    pub fn message(&self) -> Bytes {
        let make = || {
            let json = self.json();
            let picture = self.shown().map_or(&[][..], |(_, picture)| &picture.bytes);
            let mut message = BytesMut::with_capacity(4 + json.len() + picture.len());
            message.put_u32(u32::try_from(json.len()).expect("JSON is bounded"));
            message.put_slice(json.as_bytes());
            message.put_slice(picture);
            message.freeze()
        };
        self.message.get_or_init(make).clone()
    }

    /// A part of an MJPEG stream, closed by the boundary of the next one: browsers show a part when it is closed. None
    /// if there is no picture.
    pub fn part(&self) -> Option<Bytes> {
        let (media_type, picture) = self.shown()?;
        let make = || {
            let captured_ns = self.frame().map_or(0, |frame| frame.capture_time_unix_ns);
            let id = self.frame().and_then(|frame| frame.id.as_ref());
            let id = id.map(ToString::to_string).unwrap_or_default();
            let head = format!(
                "Content-Type: {media_type}\r\nContent-Length: {}\r\nX-Timestamp: {:.6}\r\nX-Frame: {id}\r\n\r\n",
                picture.bytes.len(),
                captured_ns as f64 / 1e9,
            );
            let tail = format!("\r\n--{BOUNDARY}\r\n");
            let mut part = BytesMut::with_capacity(head.len() + picture.bytes.len() + tail.len());
            part.put_slice(head.as_bytes());
            part.put_slice(&picture.bytes);
            part.put_slice(tail.as_bytes());
            part.freeze()
        };
        Some(self.part.get_or_init(make).clone())
    }

    /// A server-sent event: the JSON object alone.
    pub fn event(&self) -> Bytes {
        let make = || {
            let kind = match &self.content {
                Content::Message(kind) => kind.word(),
                Content::Undecodable { .. } => "undecodable",
            };
            let (partition, offset, says) = (self.partition, self.offset, &self.says);
            format!("event: {kind}\nid: {partition}:{offset}\ndata: {says}\n\n").into()
        };
        self.event.get_or_init(make).clone()
    }

    /// The picture, if browsers can show it as it is.
    pub fn shown(&self) -> Option<(&'static str, &Picture)> {
        let picture = self.picture()?;
        Some((picture.media_type()?, picture))
    }

    /// The JSON object with what is said of the picture that goes with it.
    fn json(&self) -> String {
        let line = self.shown().map(|(media_type, picture)| PictureLine {
            media_type,
            width: picture.width,
            height: picture.height,
            bytes: picture.bytes.len(),
        });
        let word = |value: Option<&String>| serde_json::to_string(&value).unwrap_or_default();
        let line = serde_json::to_string(&line).unwrap_or_default();
        let object = self.says.strip_suffix('}').unwrap_or(&self.says);
        let why = word(
            self.picture
                .as_ref()
                .err()
                .filter(|_| self.frame().is_some()),
        );
        format!("{object},\"picture\":{line},\"no_picture\":{why}}}")
    }
}

fn picture_of(frame: &Frame) -> Result<Picture, String> {
    match &frame.content {
        Some(frame::Content::Inline(bytes)) => Ok(Picture {
            codec: frame.codec(),
            bytes: bytes.clone(),
            width: frame.width,
            height: frame.height,
            pixel_format: frame.pixel_format(),
        }),
        Some(frame::Content::Missing(missing)) => Err(missing.reason().word().to_owned()),
        Some(frame::Content::Reference(_)) | None => Err("unresolved".to_owned()),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use pipeline::v1::FrameId;

    /// A frame of cam0/1 whose picture is these bytes, said to be a JPEG of 4x2 pixels.
    pub fn shot(sequence: u64, bytes: &'static [u8]) -> Shot {
        let mut frame = Frame {
            id: Some(FrameId::new("cam0", 1, sequence)),
            capture_time_unix_ns: 1_500_000_000,
            width: 4,
            height: 2,
            content: Some(frame::Content::Inline(Bytes::from_static(bytes))),
            ..Frame::default()
        };
        frame.set_codec(Codec::Jpeg);
        let content = Content::Message(Kind::Frame(frame));
        Shot::new(&TopicPartition::new("t", 0), 9, content)
    }

    #[test]
    fn a_message_is_a_length_json_and_the_picture() {
        let message = shot(3, b"pixels").message();
        let (length, rest) = message.split_at(4);
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let json: serde_json::Value = serde_json::from_slice(&rest[..length]).unwrap();
        assert_eq!(&rest[length..], b"pixels");
        assert_eq!(
            (&json["sequence"], &json["picture"]["bytes"]),
            (&3.into(), &6.into())
        );
        assert_eq!(json["picture"]["media_type"], "image/jpeg");
        assert!(json["no_picture"].is_null());
    }

    #[test]
    fn a_part_is_closed_by_the_next_boundary() {
        let part = shot(3, b"pixels").part().expect("a picture");
        let text = std::str::from_utf8(&part).unwrap();
        assert!(
            text.contains("Content-Length: 6\r\n") && text.contains("X-Timestamp: 1.500000\r\n"),
            "{text}"
        );
        assert!(
            text.ends_with("\r\n\r\npixels\r\n--framelane\r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_frame_without_a_picture_says_why() {
        let without = shot(3, b"x").with_picture(Err("expired".to_owned()));
        assert_eq!(without.part(), None);
        let message = without.message();
        let json: serde_json::Value = serde_json::from_slice(&message[4..]).unwrap();
        assert_eq!(
            (&json["no_picture"], &json["picture"]),
            (&"expired".into(), &serde_json::Value::Null)
        );
        let event = String::from_utf8(without.event().to_vec()).unwrap();
        assert!(event.starts_with("event: frame\nid: 0:9\ndata: {") && event.ends_with("}\n\n"));
    }
}
