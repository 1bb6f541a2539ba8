//! The tracks of one assigned partition, and when they are to be saved.

use super::snapshot::{Owner, Snapshot, SnapshotError, TrackState};
use pipeline::envelope::Kind;
use pipeline::kafka::Outgoing;
use std::sync::Arc;

/// A snapshot is made after this many records: what a restart has to read again, at most, beside the last transaction.
pub const SNAPSHOT_EVERY_RECORDS: u32 = 256;
/// And after this much time of the records, so that slow sources are as quick to go on.
pub const SNAPSHOT_EVERY_MS: u64 = 10_000;

/// State, and what has changed since it was saved last.
#[derive(Debug, Default)]
pub struct LaneTracks {
    state: TrackState,
    /// None before the first snapshot, which is made at once: what was before is then known for ever.
    saved_at_ms: Option<i64>,
    unsaved_records: u32,
}

impl LaneTracks {
    /// Goes on from a snapshot.
    pub fn from_snapshot(snapshot: Snapshot) -> Self {
        Self {
            state: snapshot.state,
            saved_at_ms: Some(snapshot.time_ms),
            unsaved_records: 0,
        }
    }

    /// Takes the next record in.
    pub fn observe(&mut self, message: &mut Kind) {
        self.state.observe(message);
        self.unsaved_records = self.unsaved_records.saturating_add(1);
    }

    /// The snapshot behind the record of this offset and time, if one is due.
    pub fn snapshot_if_due(
        &mut self,
        owner: &Owner,
        topic: &Arc<str>,
        offset: i64,
        time_ms: i64,
    ) -> Result<Option<Outgoing>, SnapshotError> {
        let is_due = self.saved_at_ms.is_none_or(|saved| {
            self.unsaved_records >= SNAPSHOT_EVERY_RECORDS
                || time_ms.abs_diff(saved) >= SNAPSHOT_EVERY_MS
        });
        if !is_due {
            return Ok(None);
        }
        let record = owner.save(topic, offset + 1, time_ms, &self.state)?;
        self.saved_at_ms = Some(time_ms);
        self.unsaved_records = 0;
        Ok(Some(record))
    }
}
