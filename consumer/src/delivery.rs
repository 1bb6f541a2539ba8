//! One record on its way to the sinks: all of them share it, and its memory is free when the last one is done.

use crate::config::PictureCheck;
use crate::order::Verdict;
use crate::pace::Captured;
use crate::picture::Pictures;
use crate::span::Span;
use pipeline::envelope::Kind;
use pipeline::kafka::{FeedControl, Incoming, TopicPartition};
use pipeline::v1::Frame;
use pipeline::{resolve::Resolver, wire};
use std::fmt;
use std::sync::Arc;

/// A record with what is known of its place among the others.
#[derive(Debug)]
pub struct Delivery {
    /// Where it was read.
    pub tp: TopicPartition,
    /// Its place there.
    pub offset: i64,
    /// When it was taken from Kafka, nanoseconds since the Unix epoch.
    pub received_unix_ns: i64,
    /// The size of its value.
    pub payload_bytes: usize,
    /// What it says.
    pub content: Content,
    /// The part of its source that it accounts for.
    pub span: Option<Span>,
    /// What is wrong with its place in its source.
    pub verdict: Verdict,
    /// What it looks like, worked out when the first sink asks.
    pub(crate) pictures: Pictures,
    /// The assignment under which it was taken.
    pub(crate) lane: u64,
    _room: Room,
}

/// What a record holds.
#[derive(Debug)]
pub enum Content {
    /// A message.
    Message(Box<Kind>),
    /// No message; why not.
    Undecodable(String),
}

/// The record's share of the feed's bounds; given back when dropped.
struct Room {
    control: FeedControl,
    lane: u64,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.control.release(self.lane, 1, self.bytes);
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({} bytes)", self.bytes)
    }
}

impl Delivery {
    /// Decodes a record. It gives its room back to `control` when it is dropped.
    pub fn new(record: Incoming, lane: u64, control: &FeedControl) -> Self {
        let room = Room {
            control: control.clone(),
            lane,
            bytes: record.memory_bytes(),
        };
        let payload_bytes = record.payload.len();
        let content = match wire::from_record(&record) {
            Ok(message) => Content::Message(Box::new(message)),
            Err(cause) => Content::Undecodable(cause.to_string()),
        };
        let span = match &content {
            Content::Message(message) => Span::of(message),
            Content::Undecodable(_) => None,
        };
        Self {
            tp: record.lane,
            offset: record.offset,
            received_unix_ns: wire::now_unix_ns(),
            payload_bytes,
            content,
            span,
            verdict: Verdict::default(),
            pictures: Pictures::default(),
            lane,
            _room: room,
        }
    }

    /// What it says, if it is a message.
    pub fn message(&self) -> Option<&Kind> {
        match &self.content {
            Content::Message(message) => Some(message),
            Content::Undecodable(_) => None,
        }
    }

    /// The frame, if it is one.
    pub fn frame(&self) -> Option<&Frame> {
        match self.message()? {
            Kind::Frame(frame) => Some(frame),
            _ => None,
        }
    }

    /// When the frame was captured.
    pub fn captured(&self) -> Option<Captured> {
        let (frame, span) = (self.frame()?, self.span.as_ref()?);
        Some(Captured {
            source: Arc::clone(&span.source),
            epoch: span.epoch,
            time_unix_ns: frame.capture_time_unix_ns,
        })
    }

    /// `frame`, `gap`, `end` or `undecodable`.
    pub fn word(&self) -> &'static str {
        match &self.content {
            Content::Message(message) => message.word(),
            Content::Undecodable(_) => "undecodable",
        }
    }

    /// Starts to fetch a picture that lies in another record. Call it in the order of the records.
    pub fn prepare_pictures(&mut self, resolver: &Arc<Resolver>, check: PictureCheck) {
        self.pictures = match self.frame() {
            Some(frame) => Pictures::of(frame, resolver, check),
            None => Pictures::default(),
        };
    }

    /// `topic[partition]@offset`, for messages.
    pub fn place(&self) -> String {
        format!("{}@{}", self.tp, self.offset)
    }
}
