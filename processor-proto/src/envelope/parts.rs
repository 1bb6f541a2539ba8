//! How many parts a record's value has, before it is decoded: a part of two bytes becomes one of some hundred bytes in
//! memory, so a hostile record of 8 MB would take a gigabyte.
//!
//! Walks the fields of the messages that may hold others without end; passes over everything else by its length.

use super::DecodeError;
use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

/// The most parts (results, detections, attributes, labels, stamps, ...) of one message, all together. Some hundred
/// are common; at about 200 bytes each these take 20 MB.
pub const MAX_PARTS: usize = 100_000;

/// Messages that hold others.
#[derive(Clone, Copy)]
enum Message {
    Envelope,
    Frame,
    Result,
    Detection,
    Struct,
    Entry,
    Value,
    List,
    /// Any other: not looked into.
    Leaf,
}

impl Message {
    /// The message in a field; None if the field holds no message.
    fn part(self, field: u32) -> Option<Self> {
        Some(match (self, field) {
            (Self::Envelope, 1) => Self::Frame,
            (Self::Frame, 13) => Self::Result,
            // Ids and the like, lineage, stamps, labels.
            (Self::Frame, 1 | 4 | 11 | 12 | 14..=16) => Self::Leaf,
            (Self::Result, 5) => Self::Detection,
            (Self::Result, 6) => Self::Struct,
            (Self::Detection, 1) | (Self::Result, 8) => Self::Leaf,
            (Self::Struct, 1) => Self::Entry,
            (Self::Entry, 2) => Self::Value,
            (Self::Value, 5) => Self::Struct,
            (Self::Value, 6) => Self::List,
            (Self::List, 1) => Self::Value,
            _ => return None,
        })
    }
}

/// Refuses a value of too many parts. What is no protobuf at all passes: decoding it says what is wrong.
pub(super) fn check(value: &[u8]) -> Result<(), DecodeError> {
    // Messages to look into: a stack of our own, because the depth is the sender's choice.
    let mut open = vec![(Message::Envelope, value)];
    let mut parts = 0;
    while let Some((message, mut fields)) = open.pop() {
        while let Some((field, content)) = next_field(&mut fields) {
            let Some(part) = content.and_then(|content| Some((message.part(field)?, content)))
            else {
                continue;
            };
            parts += 1;
            if parts > MAX_PARTS {
                return Err(DecodeError::TooManyParts);
            }
            if !matches!(part.0, Message::Leaf) {
                open.push(part);
            }
        }
    }
    Ok(())
}

/// The number of the next field, and its bytes if it has a length. None at the end, or where decoding will fail.
fn next_field<'a>(fields: &mut &'a [u8]) -> Option<(u32, Option<&'a [u8]>)> {
    if !fields.has_remaining() {
        return None;
    }
    let (field, wire_type) = decode_key(fields).ok()?;
    let skipped = match wire_type {
        WireType::Varint => {
            decode_varint(fields).ok()?;
            return Some((field, None));
        }
        WireType::LengthDelimited => usize::try_from(decode_varint(fields).ok()?).ok()?,
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        // Not part of proto3. Decoding passes over them, as over every unknown field.
        WireType::StartGroup | WireType::EndGroup => return Some((field, None)),
    };
    let (content, rest) = fields.split_at_checked(skipped)?;
    *fields = rest;
    Some((
        field,
        (wire_type == WireType::LengthDelimited).then_some(content),
    ))
}
