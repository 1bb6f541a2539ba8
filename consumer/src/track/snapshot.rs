//! The state of one partition's tracks as a record: exactly what the tracker goes on from, bit by bit.

use bytes::Bytes;
use pipeline::kafka::{Incoming, Outgoing, TopicPartition};
use pipeline::wire::MAX_ENVELOPE_BYTES;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that is known of the sources of a partition.
#[derive(Clone, PartialEq, Message)]
pub struct TrackState {
    /// By source id.
    #[prost(btree_map = "string, message", tag = "1")]
    pub sources: BTreeMap<String, SourceState>,
}

/// A source's newest epoch.
#[derive(Clone, PartialEq, Message)]
pub struct SourceState {
    /// Older ones are over.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// It is over too.
    #[prost(bool, tag = "2")]
    pub has_ended: bool,
    /// Its objects.
    #[prost(message, required, tag = "3")]
    pub tracker: tracker::Tracker,
}

/// The value of a record in the snapshots topic.
#[derive(Clone, PartialEq, Message)]
pub struct Snapshot {
    /// Of this layout and of the tracker's method: with another one the ids would be others.
    #[prost(uint32, tag = "1")]
    format: u32,
    /// Whose it is.
    #[prost(string, tag = "2")]
    group: String,
    /// The partition read.
    #[prost(string, tag = "3")]
    topic: String,
    /// The partition read.
    #[prost(int32, tag = "4")]
    partition: i32,
    /// The state is that behind every record before this offset.
    #[prost(int64, tag = "5")]
    pub next_offset: i64,
    /// The timestamp of the last of them, milliseconds since the Unix epoch.
    #[prost(int64, tag = "6")]
    pub time_ms: i64,
    /// The state.
    #[prost(message, required, tag = "7")]
    pub state: TrackState,
}

/// Grows with every change after which the same frames give other tracks.
const FORMAT: u32 = 1;

/// Whose snapshots these are.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The consumer group.
    pub group: String,
    /// The partition read.
    pub tp: TopicPartition,
}

/// A snapshot that cannot be used, or not be made.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Somebody else writes there.
    #[error("{place} is no snapshot of ours ({0}): give --track another --group", place = .1)]
    Foreign(String, String),
    /// Made by another version.
    #[error(
        "the snapshot at {place} has format {found}, this consumer knows {FORMAT}: finish with the version that made it, or \
         track anew with another --group"
    )]
    Format {
        /// Where it is.
        place: String,
        /// What it says.
        found: u32,
    },
    /// Too many objects and sources for one record.
    #[error(
        "the tracks of {tp} take {bytes} bytes, a record at most {MAX_ENVELOPE_BYTES}: spread the sources over more partitions"
    )]
    TooLarge {
        /// The partition.
        tp: TopicPartition,
        /// The size.
        bytes: usize,
    },
}

impl Owner {
    /// The record of a state; only the newest of each key is of use.
    pub fn save(
        &self,
        topic: &Arc<str>,
        next_offset: i64,
        time_ms: i64,
        state: &TrackState,
    ) -> Result<Outgoing, SnapshotError> {
        let snapshot = Snapshot {
            format: FORMAT,
            group: self.group.clone(),
            topic: self.tp.topic.to_string(),
            partition: self.tp.partition,
            next_offset,
            time_ms,
            state: state.clone(),
        };
        let payload = Bytes::from(snapshot.encode_to_vec());
        if payload.len() > MAX_ENVELOPE_BYTES {
            return Err(SnapshotError::TooLarge {
                tp: self.tp.clone(),
                bytes: payload.len(),
            });
        }
        Ok(Outgoing {
            topic: Arc::clone(topic),
            partition: Some(self.tp.partition),
            key: format!("{}/{}", self.group, self.tp).into(),
            timestamp_ms: time_ms,
            headers: Vec::new(),
            payload,
        })
    }

    /// The snapshot in a record.
    pub fn load(&self, record: &Incoming) -> Result<Snapshot, SnapshotError> {
        let place = || format!("{}@{}", record.lane, record.offset);
        let foreign = |why: String| SnapshotError::Foreign(why, place());
        let snapshot =
            Snapshot::decode(record.payload.clone()).map_err(|cause| foreign(cause.to_string()))?;
        if snapshot.format != FORMAT {
            let found = snapshot.format;
            return Err(SnapshotError::Format {
                place: place(),
                found,
            });
        }
        let is_ours = snapshot.group == self.group
            && snapshot.topic == *self.tp.topic
            && snapshot.partition == self.tp.partition;
        if !is_ours {
            let Snapshot {
                group,
                topic,
                partition,
                ..
            } = snapshot;
            return Err(foreign(format!(
                "of group {group} for {topic}[{partition}]"
            )));
        }
        Ok(snapshot)
    }
}
