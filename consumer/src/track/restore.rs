//! From a group's progress to the state behind it: the newest snapshot, and the records since. Blocking.

use super::lane::LaneTracks;
use super::output::{Place, message_of};
use super::snapshot::{Owner, SnapshotError};
use crate::delivery::{Content, Origin};
use pipeline::envelope::Kind;
use pipeline::kafka::{
    Admin, Incoming, KafkaConfig, KafkaFault, StretchReader, TopicPartition, TopicSpec,
};
use std::time::{Duration, Instant};

/// A node that restarts is back within this time.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// Where a partition's tracks are found again.
#[derive(Debug, Clone)]
pub struct Restorer {
    /// Where to read. Each try has clients of its own: one that has lost all nodes never finds them again.
    pub kafka: KafkaConfig,
}

/// Why the state is not known.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Reading.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// The snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl Restorer {
    /// The state behind every record before `start`, which is where the group is. Makes the topic of the snapshots if
    /// there is none. Tries again while Kafka does not answer.
    pub fn restore(
        &self,
        owner: &Owner,
        snapshots: &str,
        start: i64,
    ) -> Result<LaneTracks, RestoreError> {
        let began = Instant::now();
        loop {
            match self.try_to_restore(owner, snapshots, start) {
                Err(RestoreError::Kafka(fault))
                    if !fault.is_configuration() && began.elapsed() < PATIENCE =>
                {
                    let partition = &owner.tp;
                    tracing::warn!(%partition, %fault, "the tracks are not found again yet; trying again");
                    std::thread::sleep(PAUSE); // Kafka has to come back
                }
                result => return result,
            }
        }
    }

    fn try_to_restore(
        &self,
        owner: &Owner,
        snapshots: &str,
        start: i64,
    ) -> Result<LaneTracks, RestoreError> {
        let began = Instant::now();
        let tp = &owner.tp;
        let admin = Admin::connect(&self.kafka)?;
        ensure_topic(&admin, snapshots, tp)?;
        let place = TopicPartition::new(snapshots, tp.partition);
        // Not before the last transaction of the one who had the partition before is decided.
        admin.settled_end(&place)?;
        let mut reader = StretchReader::open(&self.kafka, place)?;
        let newest = reader.newest()?;
        let snapshots_read = reader.records_read();
        let Some(record) = newest else {
            tracing::info!(partition = %tp, offset = start, "tracking begins here, with nothing known of before");
            return Ok(LaneTracks::default());
        };
        let snapshot = owner.load(&record)?;
        let from = snapshot.next_offset;
        if from > start {
            tracing::warn!(
                partition = %tp, offset = start, snapshot = from,
                "the group's offset was set back behind its last snapshot: tracking begins anew, with nothing known of before"
            );
            return Ok(LaneTracks::default());
        }
        let mut tracks = LaneTracks::from_snapshot(snapshot);
        let replayed = self.replay(tp, from..start, &mut tracks)?;
        tracing::info!(
            partition = %tp, offset = start, snapshot = from, replayed, snapshots_read, took = ?began.elapsed(),
            "tracking goes on"
        );
        Ok(tracks)
    }

    /// Shows the tracker the records that it had seen after the snapshot.
    fn replay(
        &self,
        tp: &TopicPartition,
        offsets: std::ops::Range<i64>,
        tracks: &mut LaneTracks,
    ) -> Result<usize, KafkaFault> {
        if offsets.is_empty() {
            return Ok(0);
        }
        let mut reader = StretchReader::open(&self.kafka, tp.clone())?;
        let (low, _) = reader.ends()?;
        if low > offsets.start {
            tracing::error!(
                partition = %tp, from = offsets.start, to = low,
                "retention removed records since the last snapshot: the tracks may differ from an uninterrupted run's"
            );
        }
        reader.read(offsets, |record| {
            tracks.observe(&mut message_in(&record));
        })
    }
}

/// One partition for each that is read, so that the newest record of it is the newest snapshot.
fn ensure_topic(admin: &Admin, snapshots: &str, tp: &TopicPartition) -> Result<(), KafkaFault> {
    let partitions = admin.partitions(&tp.topic)?.len();
    let info = admin.ensure_topic(&TopicSpec {
        compacted: true,
        ..TopicSpec::frames(snapshots, i32::try_from(partitions).unwrap_or(i32::MAX))
    })?;
    if info.partitions <= tp.partition {
        return Err(KafkaFault::Unfit(format!(
            "topic {snapshots} has {} partitions and {} has {partitions}: give it as many, e.g. kafka-topics.sh \
             --bootstrap-server HOST:PORT --alter --topic {snapshots} --partitions {partitions}",
            info.partitions, tp.topic
        )));
    }
    Ok(())
}

/// What the flow has shown the tracker.
fn message_in(record: &Incoming) -> Kind {
    let origin = Origin::of(record);
    let place = Place {
        tp: &record.lane,
        offset: record.offset,
        origin: &origin,
    };
    message_of(Content::of(record), place)
}
