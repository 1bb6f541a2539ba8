//! Tracked records that wait for their transaction. Pure.

use crate::delivery::Delivery;
use pipeline::kafka::{Bookmark, Outgoing, TopicPartition};
use pipeline::ordering::BatchSize;
use std::collections::{BTreeMap, VecDeque};

/// Records of any number of partitions, to be written together with their offsets.
#[derive(Debug, Default)]
pub struct Batch {
    /// What each record read became, with the id of its assignment; those of a partition in their order.
    parts: VecDeque<(u64, Part)>,
    records: usize,
    bytes: usize,
}

/// What a record of a partition became.
#[derive(Debug)]
pub struct Part {
    /// The partition read.
    pub tp: TopicPartition,
    /// To be written in this order.
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

    /// What it takes to keep it: one without records is not for nothing.
    fn bytes(&self) -> usize {
        let record = |record: &Outgoing| size_of::<Outgoing>() + record.payload.len();
        let records: usize = self.records.iter().map(record).sum();
        size_of::<Self>() + self.note.len() + records
    }
}

impl Batch {
    /// Adds what a record became; those of a lane come in their order.
    pub fn push(&mut self, lane: u64, part: Part) {
        self.records += part.records.len();
        self.bytes += part.bytes();
        self.parts.push_back((lane, part));
    }

    /// Adds everything of a batch that was made later.
    pub fn append(&mut self, mut later: Self) {
        self.records += later.records;
        self.bytes += later.bytes;
        self.parts.append(&mut later.parts);
    }

    /// Takes away what comes first, as much as the size allows, and no less than one part.
    pub fn split_off_first(&mut self, size: &BatchSize) -> Self {
        let mut first = Self::default();
        while (first.is_empty() || !size.is_full(first.records, first.bytes))
            && let Some((lane, part)) = self.parts.pop_front()
        {
            self.records -= part.records.len();
            self.bytes -= part.bytes();
            first.push(lane, part);
        }
        first
    }

    /// Drops the parts of other lanes.
    pub fn retain(&mut self, keep: impl Fn(u64, &Part) -> bool) {
        self.parts.retain(|(lane, part)| keep(*lane, part));
        let parts = || self.parts.iter().map(|(_, part)| part);
        (self.records, self.bytes) = (
            parts().map(|part| part.records.len()).sum(),
            parts().map(Part::bytes).sum(),
        );
    }

    /// True if there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many records are to be written.
    pub fn record_count(&self) -> usize {
        self.records
    }

    /// What it takes to keep it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All records; those of a partition in their order.
    pub fn records(&self) -> impl Iterator<Item = &Outgoing> {
        self.parts.iter().flat_map(|(_, part)| &part.records)
    }

    /// The offsets to commit with them: of each partition, those of its last part.
    pub fn offsets(&self) -> Vec<Bookmark> {
        let last: BTreeMap<u64, &Part> = self
            .parts
            .iter()
            .map(|(lane, part)| (*lane, part))
            .collect();
        let bookmark = |part: &Part| Bookmark {
            tp: part.tp.clone(),
            next_offset: part.next_offset,
            note: part.note.clone(),
        };
        last.into_values().map(bookmark).collect()
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

    fn bookmark(partition: i32, offset: i64) -> Bookmark {
        Bookmark {
            tp: TopicPartition::new("t", partition),
            next_offset: offset + 1,
            note: format!("behind {offset}"),
        }
    }

    fn times(batch: &Batch) -> Vec<i64> {
        batch.records().map(|record| record.timestamp_ms).collect()
    }

    #[test]
    fn a_batch_that_failed_goes_first_and_a_lost_lane_leaves_nothing() {
        let (mut failed, mut later) = (Batch::default(), Batch::default());
        failed.push(1, part(0, 3));
        failed.push(2, part(1, 8));
        later.push(1, part(0, 4));
        later.push(3, part(2, 0));
        failed.append(later);
        let (of_four, records) = (failed.bytes(), failed.record_count());
        assert_eq!(records, 4);
        failed.retain(|lane, _| lane != 2);
        assert_eq!(
            (failed.bytes(), failed.record_count()),
            (of_four / 4 * 3, 3)
        );
        assert_eq!(times(&failed), [3, 4, 0]);
        assert_eq!(failed.offsets(), [bookmark(0, 4), bookmark(2, 0)]);
    }

    #[test]
    fn a_batch_is_written_in_whole_parts_each_with_the_offsets_behind_it() {
        let mut all = Batch::default();
        for offset in 0..3 {
            all.push(1, part(0, offset));
            all.push(2, part(1, 10 + offset));
        }
        let first = all.split_off_first(&BatchSize::new(3, usize::MAX));
        assert_eq!(times(&first), [0, 10, 1]);
        assert_eq!(first.offsets(), [bookmark(0, 1), bookmark(1, 10)]);
        let second = all.split_off_first(&BatchSize::new(1000, 1));
        assert_eq!(times(&second), [11], "one part at least");
        assert_eq!(times(&all), [2, 12]);
        let left = part(0, 2).bytes() + part(1, 12).bytes();
        assert_eq!((all.record_count(), all.bytes()), (2, left));
        let rest = all.split_off_first(&BatchSize::new(1000, usize::MAX));
        assert_eq!(rest.offsets(), [bookmark(0, 2), bookmark(1, 12)]);
        assert!(all.is_empty() && all.bytes() == 0);
    }
}
