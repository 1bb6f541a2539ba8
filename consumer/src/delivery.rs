//! One record on its way to the sinks: all of them share it, and its memory is free when the last one is done.

use crate::flow::steering::Notice;
use crate::monitor::Judged;
use crate::order::Verdict;
use crate::pace::Captured;
use crate::picture::{Fetching, PicturePlan, Pictures};
use crate::span::Span;
use crate::trails::Trail;
use pipeline::envelope::Kind;
use pipeline::kafka::{FeedControl, Incoming, TopicPartition};
use pipeline::trace::TraceContext;
use pipeline::v1::{Frame, FrameId};
use pipeline::wire;
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
    /// What the record said beside it.
    pub origin: Origin,
    /// What is wrong with its place in its source.
    pub verdict: Verdict,
    /// Where the tracked objects in it came from, if a sink looks at pictures.
    pub(crate) trails: Vec<Trail>,
    /// What `--when` says of it.
    pub(crate) judged: Judged,
    /// What it looks like, worked out when the first sink asks.
    pub(crate) pictures: Pictures,
    /// The assignment under which it was taken.
    pub(crate) lane: u64,
    _room: Room,
}

/// What a record says around its message.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The record's time, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// W3C trace context, as it was written.
    pub trace: Option<String>,
    /// The frame that the record's headers name.
    pub named: Option<FrameId>,
}

impl Origin {
    /// Of a record.
    pub fn of(record: &Incoming) -> Self {
        Self {
            timestamp_ms: record.timestamp_ms,
            trace: record.header(TraceContext::HEADER).map(str::to_owned),
            named: wire::id_of(record),
        }
    }
}

/// What a record holds.
#[derive(Debug)]
pub enum Content {
    /// A message.
    Message(Box<Kind>),
    /// No message; why not.
    Undecodable(String),
    /// No record either: a source has nothing to show.
    Absent {
        /// Its name.
        source: Arc<str>,
        /// Why, for people.
        why: String,
    },
}

impl Content {
    /// Of a record.
    pub fn of(record: &Incoming) -> Self {
        match wire::from_record(record) {
            Ok(message) => Self::Message(Box::new(message)),
            Err(cause) => Self::Undecodable(cause.to_string()),
        }
    }
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
        let content = Content::of(&record);
        let origin = Origin::of(&record);
        let span = match &content {
            Content::Message(message) => Span::of(message),
            Content::Undecodable(_) | Content::Absent { .. } => None,
        };
        Self {
            tp: record.lane,
            offset: record.offset,
            received_unix_ns: wire::now_unix_ns(),
            payload_bytes,
            content,
            span,
            origin,
            verdict: Verdict::default(),
            trails: Vec::new(),
            judged: Judged::default(),
            pictures: Pictures::default(),
            lane,
            _room: room,
        }
    }

    /// What stands for records that nobody can read any more. It takes a record's room, of no bytes.
    pub fn made_up(
        message: Kind,
        tp: TopicPartition,
        offset: i64,
        lane: u64,
        control: &FeedControl,
    ) -> Self {
        let received_unix_ns = wire::now_unix_ns();
        Self {
            tp,
            offset,
            received_unix_ns,
            payload_bytes: 0,
            span: Span::of(&message),
            content: Content::Message(Box::new(message)),
            origin: Origin {
                timestamp_ms: received_unix_ns / 1_000_000,
                ..Origin::default()
            },
            verdict: Verdict::default(),
            trails: Vec::new(),
            judged: Judged::default(),
            pictures: Pictures::default(),
            lane,
            _room: Room {
                control: control.clone(),
                lane,
                bytes: 0,
            },
        }
    }

    /// What stands for a source that has nothing to show. It is of no lane, and no progress knows it.
    pub fn absent(notice: Notice, control: &FeedControl) -> Self {
        /// No assignment has this id.
        const NO_LANE: u64 = 0;
        let received_unix_ns = wire::now_unix_ns();
        Self {
            tp: TopicPartition::new(notice.topic, 0),
            offset: i64::MAX,
            received_unix_ns,
            payload_bytes: 0,
            content: Content::Absent {
                source: notice.source,
                why: notice.why,
            },
            span: None,
            origin: Origin::default(),
            verdict: Verdict::default(),
            trails: Vec::new(),
            judged: Judged::default(),
            pictures: Pictures::default(),
            lane: NO_LANE,
            _room: Room {
                control: control.clone(),
                lane: NO_LANE,
                bytes: 0,
            },
        }
    }

    /// What it says, if it is a message.
    pub fn message(&self) -> Option<&Kind> {
        match &self.content {
            Content::Message(message) => Some(message),
            Content::Undecodable(_) | Content::Absent { .. } => None,
        }
    }

    /// True for what is no record, but says why there is none.
    pub fn is_absence(&self) -> bool {
        matches!(self.content, Content::Absent { .. })
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

    /// `frame`, `gap`, `end`, `undecodable` or `absent`.
    pub fn word(&self) -> &'static str {
        match &self.content {
            Content::Message(message) => message.word(),
            Content::Undecodable(_) => "undecodable",
            Content::Absent { .. } => "absent",
        }
    }

    /// Prepares for a picture that lies in another record. Call it in the order of the records.
    pub fn prepare_pictures(&mut self, plan: &PicturePlan) {
        let fetching = match self.alert() {
            Some(_) => Fetching::Now, // it will be looked at
            None => plan.fetching,
        };
        self.pictures = match self.frame() {
            Some(frame) => Pictures::of(frame, plan, fetching),
            None => Pictures::default(),
        };
    }

    /// `topic[partition]@offset`, for messages.
    pub fn place(&self) -> String {
        format!("{}@{}", self.tp, self.offset)
    }
}
