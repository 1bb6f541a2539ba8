//! The records of the registry topic, taken in one after the other.

use crate::model::{Key, Spec, Version, Versioned};
use crate::objects::{Objects, Unreadable};
use crate::wire;
use pipeline::kafka::Incoming;
use std::collections::BTreeMap;

/// The header that says which write a record is part of, and how many records that has: `ID/COUNT`.
pub(super) const WRITE: &str = "framelane-write";
/// The header that says who wrote it, for people.
pub(super) const BY: &str = "framelane-by";

/// What all records so far say.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    pub objects: Objects,
    /// Behind the last record.
    pub next_offset: i64,
    /// Who deleted what, as long as the topic knows.
    pub deletions: BTreeMap<Key, Deletion>,
}

/// A record that removed an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deletion {
    pub by: String,
    pub at: jiff::Timestamp,
}

/// What one record was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// None for a key that names no object.
    pub key: Option<Key>,
    pub version: Version,
    pub write: Option<WriteMark>,
}

/// Which write a record is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WriteMark {
    pub id: u64,
    /// Records of the write.
    pub count: usize,
}

impl std::fmt::Display for WriteMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}/{}", self.id, self.count)
    }
}

impl WriteMark {
    fn of(record: &Incoming) -> Option<Self> {
        let (id, count) = record.header(WRITE)?.split_once('/')?;
        Some(Self {
            id: u64::from_str_radix(id, 16).ok()?,
            count: count.parse().ok()?,
        })
    }
}

impl Log {
    /// Takes the next record in.
    pub fn take(&mut self, record: &Incoming) -> Taken {
        self.next_offset = record.offset + 1;
        let version = version_of(record.offset);
        let text = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
        let key: Option<Key> = text.parse().ok();
        match &key {
            None if record.payload.is_empty() => {
                self.objects.unreadable.remove(&*text);
            }
            None => self.note_unreadable(&text, version, "a key that is not KIND/NAME".to_owned()),
            Some(key) if record.payload.is_empty() => {
                self.objects.remove(key);
                let deletion = Deletion {
                    by: record.header(BY).unwrap_or_default().to_owned(),
                    at: jiff::Timestamp::from_millisecond(record.timestamp_ms)
                        .unwrap_or(jiff::Timestamp::UNIX_EPOCH),
                };
                self.deletions.insert(key.clone(), deletion);
            }
            Some(key) => match object_of(record, key) {
                Ok(object) => {
                    self.deletions.remove(key);
                    self.objects.insert(object);
                }
                // The object stays as it was: a release that knows more may have written it, and nobody said that it is gone.
                Err(why) => self.note_unreadable(&text, version, why),
            },
        }
        let write = WriteMark::of(record);
        Taken {
            key,
            version,
            write,
        }
    }

    fn note_unreadable(&mut self, key: &str, version: Version, why: String) {
        tracing::warn!(key, version, why, "a record of the registry cannot be read");
        let unreadable = Unreadable { version, why };
        self.objects.unreadable.insert(key.to_owned(), unreadable);
    }
}

/// The object of a record with a value.
pub(super) fn object_of(record: &Incoming, key: &Key) -> Result<Versioned<Spec>, String> {
    let object = wire::decode(&record.payload, version_of(record.offset))?;
    match object.key() == *key {
        true => Ok(object),
        false => Err(format!("it is about {}", object.key())),
    }
}

/// The version that a record gives its object.
fn version_of(offset: i64) -> Version {
    u64::try_from(offset).map_or(0, |offset| offset + 1)
}

/// The offset of the record of a version; None for 0.
pub(super) fn offset_of(version: Version) -> Option<i64> {
    i64::try_from(version.checked_sub(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Object;
    use crate::wire::Stamp;
    use bytes::Bytes;
    use pipeline::kafka::TopicPartition;

    fn record(offset: i64, key: &str, payload: Vec<u8>) -> Incoming {
        Incoming {
            lane: TopicPartition::new("r", 0),
            offset,
            timestamp_ms: 1_000,
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            headers: vec![
                (WRITE.to_owned(), Bytes::from_static(b"00000000000000ff/2")),
                (BY.to_owned(), Bytes::from_static(b"u@h")),
            ],
            payload: payload.into(),
        }
    }

    fn source() -> (Object, Vec<u8>) {
        let text = "{kind: Source, name: a, spec: {host: h, camera: 0}}";
        let object = crate::yaml::parse(text, "x").unwrap().remove(0);
        let written_at = jiff::Timestamp::UNIX_EPOCH;
        let bytes = wire::encode(
            &object,
            0,
            &Stamp {
                written_by: "u".into(),
                written_at,
            },
        );
        (object, bytes)
    }

    #[test]
    fn records_become_objects_with_their_versions() {
        let (object, bytes) = source();
        let mut log = Log::default();
        let taken = log.take(&record(6, "source/a", bytes));
        assert_eq!(taken.write, Some(WriteMark { id: 255, count: 2 }));
        assert_eq!(log.objects.version(&object.key()), 7);
        log.take(&record(9, "source/a", Vec::new()));
        assert_eq!(log.objects.version(&object.key()), 0);
        assert_eq!(log.deletions[&object.key()].by, "u@h");
        assert_eq!(log.next_offset, 10);
    }

    #[test]
    fn what_cannot_be_read_is_noted_and_changes_no_object() {
        let (object, bytes) = source();
        let key = object.key();
        let mut log = Log::default();
        log.take(&record(0, "source/a", bytes.clone()));
        log.take(&record(1, "source/a", b"rubbish".to_vec()));
        log.take(&record(2, "what is this", bytes.clone()));
        log.take(&record(3, "source/b", bytes.clone()));
        let kept = log.objects.get(&key).expect("as it was read last");
        assert_eq!((kept.version, kept.object()), (1, object));
        assert_eq!(log.objects.len(), 1);
        assert_eq!(log.objects.unreadable.len(), 3);
        // A writer has to have seen it to replace it.
        assert_eq!(log.objects.version(&key), 2);
        log.take(&record(4, "source/a", bytes));
        assert_eq!((log.objects.len(), log.objects.unreadable.len()), (1, 2));
        log.take(&record(5, "source/a", b"rubbish".to_vec()));
        log.take(&record(6, "source/a", Vec::new()));
        log.take(&record(7, "what is this", Vec::new()));
        assert_eq!((log.objects.len(), log.objects.unreadable.len()), (0, 1));
    }

    #[test]
    fn what_was_known_stays_when_only_an_unreadable_record_is_left_of_it() {
        let (object, bytes) = source();
        let (mut before, mut after) = (Log::default(), Log::default());
        before.take(&record(0, "source/a", bytes));
        after.take(&record(1, "source/a", b"rubbish".to_vec()));
        after.objects.keep_unreadable(&before.objects);
        let kept = after.objects.get(&object.key()).expect("as it was known");
        assert_eq!(kept.object(), object);
        assert_eq!(after.objects.version(&object.key()), 2);
        let mut gone = Log::default();
        gone.objects.keep_unreadable(&before.objects);
        assert!(gone.objects.is_empty());
    }
}
