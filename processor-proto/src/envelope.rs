//! A Kafka record's bytes to a checked message and back.
//!
//! [`decode`] takes any bytes at all and answers with a message that keeps what `frame.proto` promises,
//! or says what is wrong with it; it never panics. Payloads stay slices of the bytes given: nothing is copied.

mod check;
mod parts;

use bytes::{Bytes, BytesMut};
use prost::Message;
use thiserror::Error;

use crate::v1;
pub use crate::{
    ids::{MAX_SOURCE_ID_BYTES, is_source_id},
    v1::envelope::Kind,
};
pub use parts::MAX_PARTS;

/// The largest end or gap, encoded: an id, a reference, and room for a detail that people read.
pub const MAX_NOTICE_BYTES: usize = 64 << 10;

/// Why bytes are not a message of ours. All of it is the writer's fault: reading again changes nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("not a framelane.v1.Envelope: {0}")]
    NotProtobuf(#[from] prost::DecodeError),
    #[error(
        "an Envelope without frame, end or gap (an empty record, or a kind newer than this program)"
    )]
    NoKind,
    #[error("the {kind} has no id")]
    NoId { kind: &'static str },
    #[error("source id {source_id:?} is not 1 to {MAX_SOURCE_ID_BYTES} bytes of [A-Za-z0-9._-]")]
    BadSourceId { source_id: String },
    #[error("{id}: epochs start at 1")]
    EpochZero { id: v1::FrameId },
    #[error("{id}: {problem}")]
    BadFrame {
        id: v1::FrameId,
        problem: FrameProblem,
    },
    #[error("gap from {first}: {count} frames do not fit behind it")]
    GapTooLong { first: v1::FrameId, count: u64 },
    #[error("the {kind} takes {bytes} bytes, at most {MAX_NOTICE_BYTES} are allowed")]
    NoticeTooLarge { kind: &'static str, bytes: usize },
    #[error("more than {MAX_PARTS} results, detections, attributes, labels and stamps together")]
    TooManyParts,
}

/// What a frame says of itself that cannot be so.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FrameProblem {
    #[error("the time base {num}/{den} s is not positive")]
    TimeBase { num: u32, den: u32 },
    #[error("pts {pts} has no time base")]
    NoTimeBase { pts: i64 },
    #[error("no content: neither inline, nor a reference, nor missing")]
    NoContent,
    #[error("inline content of no codec")]
    NoCodec,
    #[error("a picture of {width}x{height} pixels")]
    NoPixels { width: u32, height: u32 },
    #[error("inline content of 0 bytes")]
    EmptyContent,
    #[error("RAW content of no pixel format")]
    NoPixelFormat,
    #[error("RAW content of {found} bytes where width, height and pixel format make {expected}")]
    RawLength { expected: u64, found: u64 },
    #[error("the reference {reference} names no record")]
    Reference { reference: v1::Reference },
}

/// The message in a Kafka record's value.
///
/// In what comes back every id is there and valid, except that of a gap of reason UNDECODABLE or EXPIRED, which may be
/// missing or of no source.
pub fn decode(value: Bytes) -> Result<Kind, DecodeError> {
    parts::check(&value)?;
    let envelope = v1::Envelope::decode(value)?;
    let kind = envelope.kind.ok_or(DecodeError::NoKind)?;
    kind.check()?;
    Ok(kind)
}

/// The Kafka record's value for a message. The same message always has the same bytes.
pub fn encode(kind: &Kind) -> Bytes {
    // A oneof is written as the fields of the message around it, so no Envelope need be built.
    let mut value = BytesMut::with_capacity(kind.encoded_len());
    kind.encode(&mut value);
    value.freeze()
}

/// Refuses an encoded message of more than [`MAX_PARTS`] parts, which [`decode`] would refuse: for messages that were
/// built rather than decoded.
pub fn check_parts(value: &[u8]) -> Result<(), DecodeError> {
    parts::check(value)
}

impl Kind {
    /// `frame`, `end` or `gap`: the record header `framelane-kind`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Frame(_) => "frame",
            Self::End(_) => "end",
            Self::Gap(_) => "gap",
        }
    }

    /// The frame's id, that of the last frame of an epoch, or the first that is missing.
    /// Always there after [`decode`], except for a gap of reason UNDECODABLE or EXPIRED.
    pub fn id(&self) -> Option<&v1::FrameId> {
        match self {
            Self::Frame(frame) => frame.id.as_ref(),
            Self::End(end) => end.last.as_ref(),
            Self::Gap(gap) => gap.first.as_ref(),
        }
    }

    /// Checks what `frame.proto` promises: for messages that were built rather than decoded.
    pub fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Frame(frame) => frame.check(),
            Self::End(end) => check::notice("end", end.encoded_len())
                .and_then(|()| check::id("end", end.last.as_ref())),
            Self::Gap(gap) => {
                check::notice("gap", gap.encoded_len()).and_then(|()| check::gap(gap))
            }
        }
    }
}

impl v1::Envelope {
    /// `frame`, `end` or `gap`; `empty` if it holds nothing.
    pub fn kind_name(&self) -> &'static str {
        self.kind.as_ref().map_or("empty", Kind::word)
    }
}

impl v1::Frame {
    /// Checks what `frame.proto` promises of a frame.
    pub fn check(&self) -> Result<(), DecodeError> {
        check::frame(self)
    }

    /// The encoded picture, if the frame carries it itself.
    pub fn inline(&self) -> Option<&Bytes> {
        match &self.content {
            Some(v1::frame::Content::Inline(picture)) => Some(picture),
            _ => None,
        }
    }

    /// Where the picture lies, if the frame refers to another record.
    pub fn reference(&self) -> Option<&v1::Reference> {
        match &self.content {
            Some(v1::frame::Content::Reference(reference)) => Some(reference),
            _ => None,
        }
    }

    /// `inline`, `reference` or `missing`.
    pub fn content_word(&self) -> &'static str {
        match &self.content {
            Some(v1::frame::Content::Inline(_)) => "inline",
            Some(v1::frame::Content::Reference(_)) => "reference",
            Some(v1::frame::Content::Missing(_)) | None => "missing",
        }
    }
}

impl From<v1::Frame> for Kind {
    fn from(frame: v1::Frame) -> Self {
        Self::Frame(frame)
    }
}

impl From<v1::EndOfStream> for Kind {
    fn from(end: v1::EndOfStream) -> Self {
        Self::End(end)
    }
}

impl From<v1::Gap> for Kind {
    fn from(gap: v1::Gap) -> Self {
        Self::Gap(gap)
    }
}
