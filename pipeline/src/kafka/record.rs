//! Records as they come from and go to Kafka, with the bytes copied once out of the client's buffers.

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use std::fmt;
use std::sync::Arc;

/// Kafka's own topics, and those in which Framelane keeps claims, snapshots and the registry: nobody else writes there.
pub fn is_internal_topic(name: &str) -> bool {
    name.starts_with("__") || name.starts_with("framelane.")
}

/// One partition of one topic: the unit of order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// Counts from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition by name and number.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// A record read from Kafka.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Where it was read.
    pub lane: TopicPartition,
    /// Its place in the partition. Offsets grow, with holes.
    pub offset: i64,
    /// The record's timestamp: the capture time, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The source id.
    pub key: Option<Bytes>,
    /// In the order of the record; names are ASCII.
    pub headers: Vec<(String, Bytes)>,
    /// An encoded Envelope, if all is well.
    pub payload: Bytes,
}

impl Incoming {
    /// Copies the message: one retained `BorrowedMessage` would pin its whole fetch response.
    pub(super) fn copy_of(message: &BorrowedMessage<'_>, lane: TopicPartition) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|header| {
                    let value = Bytes::copy_from_slice(header.value.unwrap_or_default());
                    (header.key.to_owned(), value)
                })
                .collect()
        });
        Self {
            lane,
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
            key: message.key().map(Bytes::copy_from_slice),
            headers,
            payload: message
                .payload()
                .map_or_else(Bytes::new, Bytes::copy_from_slice),
        }
    }

    /// The last header of that name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// What it costs to keep this record in memory, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(k, v)| k.len() + v.len()).sum();
        self.payload.len() + self.key.as_ref().map_or(0, Bytes::len) + headers
    }
}

/// A record to be written.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The topic to write to.
    pub topic: Arc<str>,
    /// The partition, or None to choose it by the key.
    pub partition: Option<i32>,
    /// The source id.
    pub key: Bytes,
    /// The capture time, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// An encoded Envelope. Empty: no value at all, which removes the key from a compacted topic. Whoever reads an
    /// [`Incoming`] sees no difference.
    pub payload: Bytes,
}

impl Outgoing {
    pub(super) fn native_headers(&self) -> OwnedHeaders {
        self.headers.iter().fold(
            OwnedHeaders::new_with_capacity(self.headers.len()),
            |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            },
        )
    }
}
