//! Bringing what was given to the sinks to safety: in rounds, before partitions move, and before the end.

use super::Flow;
use super::error::{COMMIT_GRACE, FlowError};
use crate::progress::Progress;
use std::collections::BTreeMap;
use tokio::time::timeout;

impl Flow {
    /// Partitions go to another member: what the sinks have is committed, what they do not have yet is dropped.
    pub(super) async fn revoke(&mut self, ids: &[u64], lost: bool) -> Result<(), FlowError> {
        self.sequencer
            .retain(|delivery| !ids.contains(&delivery.lane));
        if !lost {
            match self.settle().await {
                // The group moves on; its next member shows again what could not be committed.
                Err(fault @ (FlowError::Kafka(_) | FlowError::NoCommit)) => {
                    tracing::error!(%fault, "partitions are given back without their last progress");
                }
                settled => settled?,
            }
        }
        self.checkpoints.drop_lanes(ids);
        if let Some(tracking) = &mut self.tracking {
            tracking.drop_lanes(ids);
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.drop_lanes(ids);
        }
        let mut given = Progress::default();
        for lane in ids.iter().filter_map(|id| self.lanes.remove(id)) {
            tracing::info!(partition = %lane.tp, lost, "partition given back");
            given.lanes.insert(lane.tp.clone(), lane.progress());
        }
        self.done.advance(&given);
        Ok(())
    }

    pub(super) async fn begin_checkpoint(&mut self) -> Result<(), FlowError> {
        let ours = Progress {
            lanes: self
                .lanes
                .values()
                .map(|lane| (lane.tp.clone(), lane.progress()))
                .collect(),
            reorder: self.sequencer.positions(),
        };
        let notes = match &self.monitor {
            Some(monitor) => monitor.notes()?,
            None => BTreeMap::new(),
        };
        self.checkpoints.begin(&ours, notes);
        // The output also holds what was given of partitions that were lost meanwhile: what is safe now includes it.
        let mut progress = Progress {
            lanes: self.done.lanes.clone(),
            reorder: Vec::new(),
        };
        progress.advance(&ours);
        self.crew.begin_checkpoint(progress).await?;
        Ok(())
    }

    /// Brings everything given to the sinks to safety, and commits it.
    pub(super) async fn settle(&mut self) -> Result<(), FlowError> {
        self.wait_until_safe().await?;
        if self.checkpoints.has_unsafe_records() {
            self.begin_checkpoint().await?;
            self.wait_until_safe().await?;
        }
        Ok(self.checkpoints.outcome()?)
    }

    async fn wait_until_safe(&mut self) -> Result<(), FlowError> {
        while !self.crew.is_safe() {
            self.crew.changed().await?;
        }
        self.checkpoints.commit_if_safe(&self.crew);
        timeout(COMMIT_GRACE, self.checkpoints.committed_all())
            .await
            .map_err(|_| FlowError::NoCommit)
    }
}
