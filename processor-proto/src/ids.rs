//! Frame ids: how they are written for people, and their order within a source.

use std::{cmp::Ordering, fmt};

use crate::v1::{FrameId, Reference};

/// The longest source id in bytes: what Kafka allows for a topic's name, so that a source can name its topic.
pub const MAX_SOURCE_ID_BYTES: usize = 249;

impl FrameId {
    /// The id of frame `sequence` (from 0) of the given epoch (from 1) of a source.
    pub fn new(source_id: impl Into<String>, epoch: u64, sequence: u64) -> Self {
        Self {
            source_id: source_id.into(),
            epoch,
            sequence,
        }
    }
}

/// Source, epoch and sequence: `cam0/1/42`.
impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.source_id, self.epoch, self.sequence)
    }
}

/// By source, then in the order in which the source made its frames.
impl Ord for FrameId {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |id: &Self| (id.epoch, id.sequence);
        self.source_id
            .cmp(&other.source_id)
            .then_with(|| key(self).cmp(&key(other)))
    }
}

impl PartialOrd for FrameId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Topic, partition and offset: `cam0[0]@12`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}

/// True for 1 to 249 bytes of `[A-Za-z0-9._-]`.
pub fn is_source_id(text: &str) -> bool {
    (1..=MAX_SOURCE_ID_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_as_source_epoch_sequence() {
        assert_eq!(FrameId::new("cam0", 1, 42).to_string(), "cam0/1/42");
    }

    #[test]
    fn ids_order_by_epoch_before_sequence() {
        let mut ids = [
            FrameId::new("b", 1, 0),
            FrameId::new("a", 2, 0),
            FrameId::new("a", 1, 10),
            FrameId::new("a", 1, 9),
        ];
        ids.sort();
        let text: Vec<_> = ids.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["a/1/9", "a/1/10", "a/2/0", "b/1/0"]);
    }

    #[test]
    fn source_ids_are_names_that_kafka_takes() {
        assert!(is_source_id("cam-0.left_Door"));
        assert!(is_source_id(&"x".repeat(249)));
        for bad in ["", "cam 0", "cam/0", "kamerä", "a\n", &"x".repeat(250)] {
            assert!(!is_source_id(bad), "{bad:?}");
        }
    }
}
