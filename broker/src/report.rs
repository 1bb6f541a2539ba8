//! What a stage says of itself once a second, to whoever runs it.

use crate::rates::Recent;
use pipeline::kafka::TopicPartition;
use std::sync::Arc;

/// A stage, as it is now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StageReport {
    /// Records written since the stage began.
    pub committed: u64,
    pub failed: u64,
    /// Calls of all stages that use these processors.
    pub in_flight: usize,
    /// By address.
    pub replicas: Vec<ReplicaReport>,
    pub lanes: Vec<LaneReport>,
}

/// One address of a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaReport {
    pub address: Arc<str>,
    /// HOST:PORT as it was declared.
    pub declared: Arc<str>,
    pub is_up: bool,
    pub in_flight: usize,
}

/// One partition.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneReport {
    pub tp: TopicPartition,
    /// Slots taken, or records of a join that wait for others.
    pub slots: usize,
    /// Frames whose work is under way.
    pub under_way: usize,
    pub bytes: usize,
    /// Records behind; None: not known yet.
    pub lag: Option<i64>,
    pub committed: u64,
    pub recent: Recent,
    /// Of a join: the topics that hold it up.
    pub waits_for: Vec<Arc<str>>,
}

impl StageReport {
    /// Records a second, of all lanes.
    pub fn fps(&self) -> f64 {
        let fps: f64 = self.lanes.iter().map(|lane| lane.recent.fps).sum();
        fps + 0.0 // the sum of nothing is -0.0
    }

    pub fn slots(&self) -> usize {
        self.lanes.iter().map(|lane| lane.slots).sum()
    }

    /// Of all lanes; None: of none it is known.
    pub fn lag(&self) -> Option<i64> {
        let lags = self.lanes.iter().filter_map(|lane| lane.lag);
        lags.fold(None, |sum, lag| Some(sum.unwrap_or(0) + lag))
    }

    /// Replicas that are up.
    pub fn up(&self) -> usize {
        self.replicas.iter().filter(|replica| replica.is_up).count()
    }
}

/// The line of the second, for people.
impl std::fmt::Display for StageReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lag = self
            .lag()
            .map_or_else(|| "?".to_owned(), |lag| lag.to_string());
        write!(f, "{:.1} fps, ", self.fps())?;
        if self.replicas.is_empty() {
            write!(f, "{} records waiting, lag {lag}, ", self.slots())?;
        } else {
            write!(
                f,
                "{} calls in flight, {} frames waiting, lag {lag}, {} failed, {}/{} processors up, ",
                self.in_flight,
                self.slots(),
                self.failed,
                self.up(),
                self.replicas.len(),
            )?;
        }
        write!(f, "{} partitions", self.lanes.len())
    }
}
