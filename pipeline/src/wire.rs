//! An Envelope to a Kafka record and back. The record's headers repeat what is needed to filter and to check order.

use crate::kafka::{Incoming, MAX_RECORD_BYTES, Outgoing, TopicPartition};
use crate::trace::TraceContext;
use crate::v1;
use processor_proto::envelope::{self, DecodeError, Kind};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Record header: `frame`, `gap` or `end`.
pub const KIND: &str = "framelane-kind";
/// Record header: the source id.
pub const SOURCE: &str = "framelane-source";
/// Record header: the epoch, decimal.
pub const EPOCH: &str = "framelane-epoch";
/// Record header: the sequence, decimal.
pub const SEQUENCE: &str = "framelane-sequence";

/// The largest encoded Envelope: what [`MAX_RECORD_BYTES`] leaves beside the key, the headers and the batch.
pub const MAX_ENVELOPE_BYTES: usize = MAX_RECORD_BYTES - (16 << 10);

/// An Envelope is too large for any topic.
#[derive(Debug, thiserror::Error)]
#[error(
    "{what} takes {bytes} bytes, at most {MAX_ENVELOPE_BYTES} fit into a record: lower the size or the quality of the \
     pictures"
)]
pub struct TooLarge {
    /// The frame.
    pub what: String,
    /// Its encoded size.
    pub bytes: usize,
}

/// The record for a message that has a valid id. The partition is chosen by the source id.
pub fn to_record(
    topic: &Arc<str>,
    message: &Kind,
    timestamp_ms: i64,
    trace: &TraceContext,
) -> Result<Outgoing, TooLarge> {
    let unnamed = v1::FrameId::default();
    let id = message.id().unwrap_or(&unnamed);
    let payload = envelope::encode(message);
    if payload.len() > MAX_ENVELOPE_BYTES {
        return Err(TooLarge {
            what: format!("{} {id}", message.word()),
            bytes: payload.len(),
        });
    }
    Ok(Outgoing {
        topic: Arc::clone(topic),
        partition: None,
        key: id.source_id.clone().into_bytes().into(),
        timestamp_ms,
        headers: vec![
            (KIND, message.word().to_owned()),
            (SOURCE, id.source_id.clone()),
            (EPOCH, id.epoch.to_string()),
            (SEQUENCE, id.sequence.to_string()),
            (TraceContext::HEADER, trace.to_string()),
        ],
        payload,
    })
}

/// The message in a record. The payload is not copied.
pub fn from_record(record: &Incoming) -> Result<Kind, DecodeError> {
    envelope::decode(record.payload.clone())
}

/// The frame id in a record's headers, without looking at the payload. None if they are not ours.
pub fn id_of(record: &Incoming) -> Option<v1::FrameId> {
    let source = record.header(SOURCE)?;
    if !processor_proto::envelope::is_source_id(source) {
        return None;
    }
    let epoch = record.header(EPOCH)?.parse().ok()?;
    let sequence = record.header(SEQUENCE)?.parse().ok()?;
    Some(v1::FrameId::new(source, epoch, sequence))
}

/// Where a record lies, as a message.
pub fn reference_to(lane: &TopicPartition, offset: i64) -> v1::Reference {
    v1::Reference {
        topic: lane.topic.to_string(),
        partition: lane.partition,
        offset,
    }
}

/// Nanoseconds since the Unix epoch, by this machine's clock.
pub fn now_unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}
