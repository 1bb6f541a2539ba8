//! Tracked records that wait for their transaction. Pure.

use crate::delivery::Delivery;
use pipeline::kafka::{Bookmark, Outgoing, TopicPartition};
use std::collections::BTreeMap;

/// Records of any number of partitions, to be written together with their offsets.
#[derive(Debug, Default)]
pub struct Batch {
    /// By the id of the assignment.
    parts: BTreeMap<u64, Part>,
    payload_bytes: usize,
}

/// What one partition's records became.
#[derive(Debug)]
pub struct Part {
    /// The partition read.
    pub tp: TopicPartition,
    /// In the order of the partition.
    pub records: Vec<Outgoing>,
    /// The offset to commit with them.
    pub next_offset: i64,
    /// What Kafka is to keep with that offset.
    pub note: String,
}

impl Part {
    /// Nothing but the offset behind a record.
    pub fn behind(delivery: &Delivery) -> Self {
        Self {
            tp: delivery.tp.clone(),
            records: Vec::new(),
            next_offset: delivery.offset + 1,
            note: String::new(),
        }
    }

    fn payload_bytes(&self) -> usize {
        let records = self.records.iter();
        records.map(|record| record.payload.len()).sum()
    }
}

impl Batch {
    /// Adds what the lane's next record became.
    pub fn push(&mut self, lane: u64, part: Part) {
        self.payload_bytes += part.payload_bytes();
        match self.parts.get_mut(&lane) {
            None => drop(self.parts.insert(lane, part)),
            Some(known) => {
                known.records.extend(part.records);
                known.next_offset = part.next_offset;
                known.note = part.note;
            }
        }
    }

    /// Adds everything of a batch that was made later.
    pub fn append(&mut self, later: Self) {
        for (lane, part) in later.parts {
            self.push(lane, part);
        }
    }

    /// Drops the parts of other lanes.
    pub fn retain(&mut self, keep: impl Fn(u64, &Part) -> bool) {
        self.parts.retain(|&lane, part| keep(lane, part));
        self.payload_bytes = self.parts.values().map(Part::payload_bytes).sum();
    }

    /// True if there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The size of all payloads.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// All records; those of a partition in their order.
    pub fn records(&self) -> impl Iterator<Item = &Outgoing> {
        self.parts.values().flat_map(|part| &part.records)
    }

    /// The offsets to commit with them.
    pub fn offsets(&self) -> Vec<Bookmark> {
        let parts = self.parts.values();
        parts
            .map(|part| Bookmark {
                tp: part.tp.clone(),
                next_offset: part.next_offset,
                note: part.note.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn part(partition: i32, offset: i64) -> Part {
        Part {
            tp: TopicPartition::new("t", partition),
            records: vec![Outgoing {
                topic: "out".into(),
                partition: Some(partition),
                key: Bytes::new(),
                timestamp_ms: offset,
                headers: Vec::new(),
                payload: Bytes::from_static(b"12345"),
            }],
            next_offset: offset + 1,
            note: format!("behind {offset}"),
        }
    }

    #[test]
    fn a_batch_that_failed_goes_first_and_a_lost_lane_leaves_nothing() {
        let (mut failed, mut later) = (Batch::default(), Batch::default());
        failed.push(1, part(0, 3));
        failed.push(2, part(1, 8));
        later.push(1, part(0, 4));
        later.push(3, part(2, 0));
        failed.append(later);
        assert_eq!(failed.payload_bytes(), 20);
        failed.retain(|lane, _| lane != 2);
        assert_eq!(failed.payload_bytes(), 15);
        let times: Vec<i64> = failed.records().map(|r| r.timestamp_ms).collect();
        assert_eq!(times, [3, 4, 0]);
        let bookmark = |partition, offset: i64| Bookmark {
            tp: TopicPartition::new("t", partition),
            next_offset: offset + 1,
            note: format!("behind {offset}"),
        };
        assert_eq!(failed.offsets(), [bookmark(0, 4), bookmark(2, 0)]);
    }
}
