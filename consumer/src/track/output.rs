//! The record that a tracked record becomes. A function of the record read alone: no clock, no new trace, no stamp, so
//! that every run writes the same bytes.

use crate::delivery::{Content, Origin};
use pipeline::envelope::Kind;
use pipeline::kafka::{Outgoing, TopicPartition};
use pipeline::trace::TraceContext;
use pipeline::v1::{self, frame, gap, missing};
use pipeline::wire;
use std::sync::Arc;

/// What an output record holds of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ContentMode {
    /// Where the picture lies: the topic read must keep it for as long as somebody wants to see it
    Reference,
    /// The picture as it was read, again
    Inline,
}

/// Where a record was read, and what it said around its message.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The partition.
    pub tp: &'a TopicPartition,
    /// Its place there.
    pub offset: i64,
    /// The rest.
    pub origin: &'a Origin,
}

impl Place<'_> {
    fn reference(&self) -> v1::Reference {
        wire::reference_to(self.tp, self.offset)
    }
}

/// Where tracked records go.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The topic.
    pub topic: Arc<str>,
    /// Its partitions.
    pub partitions: i32,
    /// What its records hold of the pictures.
    pub content: ContentMode,
}

impl Destination {
    /// The record for a message that was read at this place.
    pub fn record(&self, message: &Kind, place: Place<'_>) -> Result<Outgoing, wire::TooLarge> {
        let message = match message {
            Kind::Frame(frame) => Kind::Frame(self.placed(frame, place)),
            other => other.clone(),
        };
        let origin = place.origin;
        let fit = |message: &Kind| {
            wire::to_record(
                &self.topic,
                message,
                origin.timestamp_ms,
                &TraceContext::root(),
            )
        };
        let mut record = match (fit(&message), message) {
            (Err(_), Kind::Frame(frame)) => fit(&Kind::Frame(without_picture(frame, place)))?,
            (fitting, _) => fitting?,
        };
        // The partition's number is kept: sources that shared a partition go on sharing one.
        record.partition = Some(place.tp.partition % self.partitions);
        // The trace goes on as it is: a new span's number would be another in every run.
        record
            .headers
            .retain(|(name, _)| *name != TraceContext::HEADER);
        if let Some(trace) = &origin.trace {
            record.headers.push((TraceContext::HEADER, trace.clone()));
        }
        Ok(record)
    }

    fn placed(&self, frame: &v1::Frame, place: Place<'_>) -> v1::Frame {
        let mut frame = frame.clone(); // its picture is shared, not copied
        if self.content == ContentMode::Reference && frame.inline().is_some() {
            frame.content = Some(frame::Content::Reference(place.reference()));
        }
        frame
    }
}

/// A frame that was as large as can be has no room for one more result.
fn without_picture(mut frame: v1::Frame, place: Place<'_>) -> v1::Frame {
    frame.content = Some(frame::Content::Missing(v1::Missing {
        reason: missing::Reason::Omitted.into(),
        last_known: Some(place.reference()),
    }));
    frame
}

/// What stands for a record that is no message: a frame is missing.
pub fn quarantined(why: &str, place: Place<'_>) -> Kind {
    let id = place.origin.named.clone();
    Kind::Gap(v1::Gap {
        count: u64::from(id.is_some()),
        first: Some(id.unwrap_or_default()),
        reason: gap::Reason::Undecodable.into(),
        detail: why.to_owned(),
        origin: Some(place.reference()),
    })
}

/// What a record says, or what stands for it.
pub fn message_of(content: Content, place: Place<'_>) -> Kind {
    match content {
        Content::Message(message) => *message,
        Content::Undecodable(why) | Content::Absent { why, .. } => quarantined(&why, place),
    }
}

/// What stands for records that retention removed before they were read.
pub fn expired(tp: &TopicPartition, from: i64, to: i64) -> Kind {
    Kind::Gap(v1::Gap {
        first: Some(v1::FrameId::default()),
        count: 0,
        reason: gap::Reason::Expired.into(),
        detail: format!(
            "Kafka's retention removed offsets {from} to {} of {tp}",
            to - 1
        ),
        origin: Some(wire::reference_to(tp, from)),
    })
}
