//! Giving records to the sinks: tracked, judged, with their pictures on the way.

use super::{Flow, FlowError, Stage};
use crate::delivery::Delivery;
use crate::picture::PictureVerdict;
use crate::track::batch::Part;
use std::sync::Arc;
use std::time::Instant;

impl Flow {
    /// Gives out what is ready.
    pub(super) async fn give_ready(&mut self) -> Result<(), FlowError> {
        // What is not given stays with the sequencer, whose positions are part of the next checkpoint.
        while self.stage != Stage::Stopped && !self.finish.is_count_reached() {
            let Some(delivery) = self.next_ready() else {
                return Ok(());
            };
            self.give(delivery).await?;
            if self.checkpoints.is_due(&self.crew) {
                self.begin_checkpoint().await?;
            }
        }
        Ok(())
    }

    /// The next record to give out, if the tracks before it are known and there is room for what it becomes.
    fn next_ready(&mut self) -> Option<Delivery> {
        if !self.checkpoints.has_room() {
            return None;
        }
        let Some(tracking) = &mut self.tracking else {
            return self.sequencer.pop(Instant::now());
        };
        if let Some(delivery) = tracking.next_resumed() {
            return Some(delivery);
        }
        loop {
            let delivery = self.sequencer.pop(Instant::now())?;
            if let Some(delivery) = tracking.admit(delivery) {
                return Some(delivery);
            }
        }
    }

    async fn give(&mut self, mut delivery: Delivery) -> Result<(), FlowError> {
        let Some(lane) = self.lanes.get_mut(&delivery.lane) else {
            return Ok(()); // given back: another member shows it
        };
        lane.hand_over(delivery.offset);
        self.finish.count();
        self.checkpoints.count();
        if let Some(steering) = &mut self.steering {
            steering.observe(&delivery);
        }
        self.follow(&mut delivery)?;
        let is_followed = self.tracking.is_some() || self.monitor.is_some();
        if is_followed && self.done.is_done(&delivery.tp, delivery.offset) {
            return Ok(());
        }
        if let Some(plan) = &self.pictures {
            if let Some(frame) = delivery.frame() {
                delivery.trails = self.trails.follow(frame);
            }
            delivery.prepare_pictures(plan);
        }
        self.status
            .tally
            .count(&delivery, PictureVerdict::Unchecked);
        self.crew.give(&Arc::new(delivery)).await?;
        Ok(())
    }

    /// Tracks the record and compares it with the condition; what is to be written with its offset waits for the checkpoint.
    fn follow(&mut self, delivery: &mut Delivery) -> Result<(), FlowError> {
        let mut part = match &mut self.tracking {
            Some(tracking) => tracking.track(delivery)?,
            None => None,
        };
        if let Some(monitor) = &mut self.monitor {
            monitor.judge(delivery);
            if self.checkpoints.writes() {
                let part = part.get_or_insert_with(|| Part::behind(delivery));
                monitor.complete(delivery, part)?;
            }
        }
        if let Some(part) = part {
            self.checkpoints.push(delivery.lane, part);
        }
        Ok(())
    }
}
