//! Tracking that survives: frames get track ids, and these are the same however often the consumer dies.
//!
//! ```text
//! assigned -> newest snapshot -> records since, seen again -> frame: (state, frame) -> (state, ids, output)
//!                                                                                        |
//!            one transaction: outputs + offsets + snapshots <- sinks have them safe <----+
//! ```
//! The state behind the group's offset is a function of the records before it, so it need not be saved with every
//! transaction: a snapshot now and then bounds what a restart reads again, which does not grow with the history.

mod backlog;
pub mod batch;
mod lane;
mod ledger;
mod output;
mod restore;
mod snapshot;
pub mod sources;
pub mod topics;
mod transactions;

pub use ledger::{Ledger, LedgerFault};
pub use output::{ContentMode, Destination, Place, expired};
pub use restore::{RestoreError, Restorer};
pub use transactions::{Transactions, Writing, Written};

use crate::delivery::{Content, Delivery};
use batch::Part;
use lane::LaneTracks;
use output::quarantined;
use pipeline::kafka::TopicPartition;
use pipeline::wire::TooLarge;
use snapshot::{Owner, SnapshotError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::task::{JoinError, JoinSet};

/// Why tracking cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// The state before is not known.
    #[error("the tracks of {tp} cannot be found again: {cause}")]
    Restore {
        /// The partition.
        tp: TopicPartition,
        /// Why.
        cause: Box<RestoreError>,
    },
    /// A snapshot cannot be made.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// An output cannot be made.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// A bug.
    #[error("finding tracks again panicked: {0}")]
    Panicked(#[from] JoinError),
}

/// With a group: what makes tracks survive.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// Finds the state again.
    pub restorer: Restorer,
    /// The group.
    pub group: String,
    /// Where tracked records go, if anywhere but to the sinks.
    pub destination: Option<Destination>,
}

/// The tracks of every partition that is read.
#[derive(Debug)]
pub struct Tracking {
    /// None without a group: nothing is kept.
    keeping: Option<Keeping>,
    /// By the id of the assignment.
    lanes: BTreeMap<u64, TrackedLane>,
    restoring: JoinSet<(u64, Result<LaneTracks, RestoreError>)>,
    /// Records that waited for the state before them; they go first.
    resumed: VecDeque<Delivery>,
}

#[derive(Debug)]
struct TrackedLane {
    owner: Owner,
    snapshots: Arc<str>,
    /// None until the state before is known.
    tracks: Option<LaneTracks>,
    /// Records that wait for that; bounded by the feed, whose room they hold.
    parked: Vec<Delivery>,
}

impl Tracking {
    /// Nothing is read yet.
    pub fn new(keeping: Option<Keeping>) -> Self {
        Self {
            keeping,
            lanes: BTreeMap::new(),
            restoring: JoinSet::new(),
            resumed: VecDeque::new(),
        }
    }

    /// A partition is read from this offset on. Finds the state before it, in the background.
    pub fn begin(&mut self, lane: u64, tp: &TopicPartition, start: i64) {
        let group = self.keeping.as_ref().map(|keeping| keeping.group.clone());
        let owner = Owner {
            group: group.unwrap_or_default(),
            tp: tp.clone(),
        };
        let snapshots = topics::snapshots_of(&owner.group, &tp.topic);
        let mut tracks = None;
        if let Some(Keeping { restorer, .. }) = self.keeping.clone() {
            let (owner, snapshots) = (owner.clone(), Arc::clone(&snapshots));
            self.restoring
                .spawn_blocking(move || (lane, restorer.restore(&owner, &snapshots, start)));
        } else {
            tracing::info!(partition = %tp, offset = start, "tracking begins here, with nothing known of before");
            tracks = Some(LaneTracks::default());
        }
        let tracked = TrackedLane {
            owner,
            snapshots,
            tracks,
            parked: Vec::new(),
        };
        self.lanes.insert(lane, tracked);
    }

    /// Waits until one more state is known; for ever if none is looked for. Cancel-safe.
    pub async fn restored(&mut self) -> Result<(), TrackError> {
        let Some(found) = self.restoring.join_next().await else {
            return std::future::pending().await;
        };
        let (id, found) = found?;
        let Some(lane) = self.lanes.get_mut(&id) else {
            return Ok(()); // given back in the meantime
        };
        let tp = || lane.owner.tp.clone();
        lane.tracks = Some(found.map_err(|cause| TrackError::Restore {
            tp: tp(),
            cause: Box::new(cause),
        })?);
        self.resumed.extend(lane.parked.drain(..));
        Ok(())
    }

    /// The next record that has waited long enough.
    pub fn next_resumed(&mut self) -> Option<Delivery> {
        self.resumed.pop_front()
    }

    /// The record, unless it has to wait for the state before it.
    pub fn admit(&mut self, delivery: Delivery) -> Option<Delivery> {
        match self.lanes.get_mut(&delivery.lane) {
            Some(lane) if lane.tracks.is_none() => {
                lane.parked.push(delivery);
                None
            }
            _ => Some(delivery),
        }
    }

    /// True if no record waits.
    pub fn is_empty(&self) -> bool {
        self.resumed.is_empty() && self.lanes.values().all(|lane| lane.parked.is_empty())
    }

    /// Partitions are another's now.
    pub fn drop_lanes(&mut self, lanes: &[u64]) {
        self.lanes.retain(|id, _| !lanes.contains(id));
        self.resumed
            .retain(|delivery| !lanes.contains(&delivery.lane));
    }

    /// Gives the record its tracks. Returns what is to be written with its offset; None if nothing is kept.
    pub fn track(&mut self, delivery: &mut Delivery) -> Result<Option<Part>, TrackError> {
        let Some(lane) = self.lanes.get_mut(&delivery.lane) else {
            return Ok(None);
        };
        let Some(tracks) = &mut lane.tracks else {
            return Ok(None); // only admitted records come here
        };
        let place = Place {
            tp: &delivery.tp,
            offset: delivery.offset,
            origin: &delivery.origin,
        };
        let mut instead;
        let message = match &mut delivery.content {
            Content::Message(message) => message.as_mut(),
            Content::Undecodable(why) | Content::Absent { why, .. } => {
                instead = quarantined(why, place);
                &mut instead
            }
        };
        tracks.observe(message);
        let Some(keeping) = &self.keeping else {
            return Ok(None);
        };
        let mut records = Vec::new();
        if let Some(destination) = &keeping.destination {
            records.push(destination.record(message, place)?);
        }
        let time_ms = delivery.origin.timestamp_ms;
        let snapshot =
            tracks.snapshot_if_due(&lane.owner, &lane.snapshots, delivery.offset, time_ms)?;
        records.extend(snapshot);
        Ok(Some(Part {
            records,
            ..Part::behind(delivery)
        }))
    }
}
