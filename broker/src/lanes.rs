//! The lanes that are ours, the work under way in each, and the revocations that wait for it.

use crate::calls::Progress;
use crate::rates::Rates;
use pipeline::kafka::{Lane, TopicPartition};
use pipeline::ordering::LaneId;
use processor_proto::v1::FrameId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// One lane of ours.
#[derive(Debug)]
pub struct OurLane {
    pub tp: TopicPartition,
    /// Cancels the lane's work.
    pub cancel: CancellationToken,
    /// Frames whose work is under way, by offset: for the watchdog.
    pub under_way: BTreeMap<i64, (FrameId, Arc<Progress>)>,
    /// Bytes of the records in the window.
    pub bytes: usize,
    /// Behind the last record read.
    pub position: i64,
    /// How fast and how late it is.
    pub rates: Rates,
}

/// Lanes that another member waits for.
#[derive(Debug)]
struct Revocation {
    lanes: BTreeSet<LaneId>,
    /// When the rest of the work is given up; None once it is.
    deadline: Option<Duration>,
    /// Dropped (which is an answer too) when the last lane is gone.
    _done: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
pub struct Lanes {
    lanes: BTreeMap<LaneId, OurLane>,
    revocations: Vec<Revocation>,
}

impl Lanes {
    pub fn add(&mut self, lane: Lane) {
        let ours = OurLane {
            tp: lane.tp,
            cancel: CancellationToken::new(),
            under_way: BTreeMap::new(),
            bytes: 0,
            position: lane.start,
            rates: Rates::default(),
        };
        self.lanes.insert(lane.id, ours);
    }

    pub fn get(&self, id: LaneId) -> Option<&OurLane> {
        self.lanes.get(&id)
    }

    pub fn get_mut(&mut self, id: LaneId) -> Option<&mut OurLane> {
        self.lanes.get_mut(&id)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (LaneId, &mut OurLane)> {
        self.lanes.iter_mut().map(|(id, lane)| (*id, lane))
    }

    pub fn iter(&self) -> impl Iterator<Item = (LaneId, &OurLane)> {
        self.lanes.iter().map(|(id, lane)| (*id, lane))
    }

    /// The lanes move as soon as they are gone, and their work is given up at the deadline.
    pub fn revoke(&mut self, lanes: &[LaneId], deadline: Duration, done: oneshot::Sender<()>) {
        let lanes: BTreeSet<_> = lanes
            .iter()
            .copied()
            .filter(|id| self.lanes.contains_key(id))
            .collect();
        if !lanes.is_empty() {
            self.revocations.push(Revocation {
                lanes,
                deadline: Some(deadline),
                _done: done,
            });
        }
    }

    /// Nothing of the lane is written any more: its work is pointless, its next owner may begin.
    pub fn gone(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.remove(&id) {
            lane.cancel.cancel();
        }
        for revocation in &mut self.revocations {
            revocation.lanes.remove(&id);
        }
        self.revocations
            .retain(|revocation| !revocation.lanes.is_empty());
    }

    /// Ends all work, wanted or not.
    pub fn cancel_all(&self) {
        self.lanes.values().for_each(|lane| lane.cancel.cancel());
    }

    /// When the next revocation's time is over.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.revocations
            .iter()
            .filter_map(|revocation| revocation.deadline)
            .min()
    }

    /// The lanes whose time is over now. Their work is cancelled; each is named once.
    pub fn expired(&mut self, now: Duration) -> Vec<LaneId> {
        let mut expired = Vec::new();
        for revocation in &mut self.revocations {
            if revocation.deadline.is_some_and(|deadline| deadline <= now) {
                revocation.deadline = None;
                expired.extend(&revocation.lanes);
            }
        }
        for lane in expired.iter().filter_map(|id| self.lanes.get(id)) {
            lane.cancel.cancel();
        }
        expired
    }
}
