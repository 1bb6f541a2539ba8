//! The one task that owns everything between Kafka and the sinks.
//!
//! ```text
//! feed -> (reorder window) -> order check -> (pacer) -> sinks
//!   ^                                                     |
//!   +------ commit <- checkpoint safe with all sinks <----+
//! ```
//! Select an event, apply it, give out what is ready. Only giving out waits (for the slowest sink's queue).

use crate::checkpoints::Checkpoints;
use crate::config::{Config, PictureCheck};
use crate::crew::{Crew, CrewError};
use crate::delivery::Delivery;
use crate::lanes::{Finish, Lane};
use crate::picture::PictureVerdict;
use crate::progress::Progress;
use crate::reorder::ReadingState;
use crate::sequencer::Sequencer;
use crate::status::Status;
use pipeline::kafka::{Feed, FeedControl, FeedEvent, Incoming, KafkaFault};
use pipeline::{resolve::Resolver, wire};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Why the flow stops before its end.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// Reading or committing.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// Kafka did not answer when the last progress was to be committed.
    #[error(
        "Kafka did not answer within {COMMIT_GRACE:?}: the last progress of the group is not committed. Sinks that write \
         files have kept theirs: the same command goes on behind it"
    )]
    NoCommit,
    /// A sink.
    #[error(transparent)]
    Sinks(#[from] CrewError),
}

/// How long a commit may take before partitions are given back or the consumer ends without it. A node that restarts
/// answers within it.
const COMMIT_GRACE: Duration = Duration::from_secs(15);

/// Everything between Kafka and the sinks.
pub struct Flow {
    control: FeedControl,
    crew: Crew,
    checkpoints: Checkpoints,
    /// By the id of the assignment.
    lanes: BTreeMap<u64, Lane>,
    /// What the sinks have of partitions that are not assigned now; at the start, what they had before.
    done: Progress,
    sequencer: Sequencer,
    finish: Finish,
    /// None if no sink looks at pictures.
    pictures: Option<(Arc<Resolver>, PictureCheck)>,
    status: Status,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    /// Everything asked for was read; what waits is still shown.
    Draining,
    /// A person has seen enough.
    Stopped,
}

enum Event {
    Feed(FeedEvent),
    FeedEnded,
    Sinks,
    Committed,
    Time,
    Shutdown,
}

impl Flow {
    /// Ready to run.
    pub fn new(
        config: &Config,
        control: FeedControl,
        crew: Crew,
        finish: Finish,
        done: Progress,
        pictures: Option<(Arc<Resolver>, PictureCheck)>,
    ) -> Self {
        let checkpoints = Checkpoints::new(config.group.as_ref().map(|_| control.clone()));
        Self {
            sequencer: Sequencer::new(config.reorder, config.rate, &done.reorder),
            status: Status::new(control.clone()),
            control,
            crew,
            checkpoints,
            lanes: BTreeMap::new(),
            done,
            finish,
            pictures,
            stage: Stage::Reading,
        }
    }

    /// Runs until everything asked for was shown, the token is cancelled, or something fails; then lets the sinks finish
    /// and leaves the group.
    pub async fn run(
        mut self,
        mut feed: Feed,
        shutdown: CancellationToken,
    ) -> Result<(), FlowError> {
        let result = self.show(&mut feed, &shutdown).await;
        self.status.end().await;
        // At the same time: others take over the partitions while a video is still being made.
        let (finished, ()) = tokio::join!(self.crew.finish(), feed.close());
        result?;
        Ok(finished?)
    }

    async fn show(
        &mut self,
        feed: &mut Feed,
        shutdown: &CancellationToken,
    ) -> Result<(), FlowError> {
        let mut last_try = None;
        loop {
            self.give_ready().await?;
            self.advance_stage();
            if self.is_over() {
                let settled = self.settle().await;
                let last_try = *last_try.get_or_insert_with(|| Instant::now() + COMMIT_GRACE);
                match settled {
                    // A member that the group took for dead gets its partitions anew, and commits then.
                    Err(FlowError::Kafka(_))
                        if self.stage == Stage::Draining && Instant::now() < last_try =>
                    {
                        self.stage = Stage::Reading;
                    }
                    settled => return settled,
                }
            } else if self.checkpoints.is_due(&self.crew) {
                self.begin_checkpoint().await?;
            }
            let event = self.next_event(feed, shutdown).await?;
            self.apply(event).await?;
        }
    }

    async fn next_event(
        &mut self,
        feed: &mut Feed,
        shutdown: &CancellationToken,
    ) -> Result<Event, FlowError> {
        let wake = self.next_wake();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(Event::Shutdown),
            changed = self.crew.changed() => Ok(changed.map(|()| Event::Sinks)?),
            () = self.checkpoints.committed() => Ok(Event::Committed),
            () = tokio::time::sleep_until(wake.into()) => Ok(Event::Time),
            event = feed.next() => Ok(event.map_or(Event::FeedEnded, Event::Feed)),
        }
    }

    fn next_wake(&self) -> Instant {
        let wakes = [
            self.checkpoints.next_due(&self.crew),
            self.sequencer.next_wake(Instant::now()),
        ];
        let status = self.status.next_due();
        wakes
            .into_iter()
            .flatten()
            .min()
            .map_or(status, |wake| wake.min(status))
    }

    async fn apply(&mut self, event: Event) -> Result<(), FlowError> {
        match event {
            Event::Feed(FeedEvent::Assigned(lane)) => {
                tracing::info!(partition = %lane.tp, offset = lane.start, "reading");
                self.lanes.insert(lane.id, Lane::new(lane.tp, lane.start));
            }
            Event::Feed(FeedEvent::Record { lane, record }) => self.take(lane, record),
            Event::Feed(FeedEvent::ReachedEnd { lane }) => {
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    self.finish.reached_end(lane, Instant::now());
                }
            }
            Event::Feed(FeedEvent::Expired { lane, from, to }) => {
                self.control.release(lane, 1, 0); // it took a record's room
                let partition = self.lanes.get(&lane).map(|lane| lane.tp.to_string());
                tracing::error!(
                    partition,
                    from,
                    to,
                    "retention removed records before they were read: keep them longer \
                    (topic setting retention.ms), or read faster"
                );
            }
            Event::Feed(FeedEvent::Revoked { lanes, lost, done }) => {
                self.revoke(&lanes, lost).await?;
                let _ = done.send(()); // the feed does not wait any longer if it is closing
            }
            Event::Feed(FeedEvent::Failed(fault)) => return Err(fault.into()),
            Event::Shutdown | Event::FeedEnded => self.stage = Stage::Stopped,
            Event::Sinks => {
                if self.crew.has_quit() {
                    self.stage = Stage::Stopped;
                }
                self.checkpoints.commit_if_safe(&self.crew);
            }
            Event::Committed => {}
            Event::Time => {
                self.status.refresh_lag().await;
                self.on_time(Instant::now());
            }
        }
        Ok(())
    }

    /// Takes a record from Kafka. What is not to be shown is dropped, which frees its room.
    fn take(&mut self, lane_id: u64, record: Incoming) {
        let Some(lane) = self.lanes.get_mut(&lane_id) else {
            return; // given back in the meantime
        };
        let offset = record.offset;
        if self.stage != Stage::Reading || self.finish.refuses(lane, offset, record.timestamp_ms) {
            self.control.release(lane_id, 1, record.memory_bytes());
            return;
        }
        lane.take(offset);
        if self.done.is_done(&lane.tp, offset) {
            lane.hand_over(offset);
            self.control.release(lane_id, 1, record.memory_bytes());
            return;
        }
        let delivery = Delivery::new(record, lane_id, &self.control);
        self.status.received(&delivery);
        let now = Instant::now();
        self.sequencer
            .set_reading(|| reading_state(&self.lanes, now));
        self.sequencer.insert(delivery, now);
    }

    async fn give_ready(&mut self) -> Result<(), FlowError> {
        // What is not given stays with the sequencer, whose positions are part of the next checkpoint.
        while self.stage != Stage::Stopped && !self.finish.is_count_reached() {
            let Some(delivery) = self.sequencer.pop(Instant::now()) else {
                return Ok(());
            };
            self.give(delivery).await?;
            if self.checkpoints.is_due(&self.crew) {
                self.begin_checkpoint().await?;
            }
        }
        Ok(())
    }

    async fn give(&mut self, mut delivery: Delivery) -> Result<(), FlowError> {
        let Some(lane) = self.lanes.get_mut(&delivery.lane) else {
            return Ok(()); // given back: another member shows it
        };
        lane.hand_over(delivery.offset);
        self.finish.count();
        self.checkpoints.count();
        if let Some((resolver, check)) = &self.pictures {
            delivery.prepare_pictures(resolver, *check);
        }
        self.status
            .tally
            .count(&delivery, PictureVerdict::Unchecked);
        self.crew.give(&Arc::new(delivery)).await?;
        Ok(())
    }

    fn on_time(&mut self, now: Instant) {
        self.sequencer
            .set_reading(|| reading_state(&self.lanes, now));
        self.sequencer.expire(now);
        self.status.print_if_due(now, || {
            let progress = |lane: &Lane| (lane.tp.clone(), lane.progress().next);
            self.lanes.values().map(progress).collect()
        });
    }

    fn advance_stage(&mut self) {
        let now_ms = wire::now_unix_ns() / 1_000_000;
        let have_ended = || self.sequencer.have_all_ended();
        if self.stage == Stage::Reading
            && self
                .finish
                .is_reading_over(self.lanes.values_mut(), now_ms, have_ended)
        {
            self.stage = Stage::Draining;
            self.sequencer.flush(Instant::now());
        }
    }

    fn is_over(&self) -> bool {
        match self.stage {
            Stage::Reading => false,
            Stage::Draining => self.sequencer.is_empty() || self.finish.is_count_reached(),
            Stage::Stopped => true,
        }
    }

    /// Partitions go to another member: what the sinks have is committed, what they do not have yet is dropped.
    async fn revoke(&mut self, ids: &[u64], lost: bool) -> Result<(), FlowError> {
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
        let mut given = Progress::default();
        for lane in ids.iter().filter_map(|id| self.lanes.remove(id)) {
            tracing::info!(partition = %lane.tp, lost, "partition given back");
            given.lanes.insert(lane.tp.clone(), lane.progress());
        }
        self.done.advance(&given);
        Ok(())
    }

    async fn begin_checkpoint(&mut self) -> Result<(), FlowError> {
        let progress = Progress {
            lanes: self
                .lanes
                .values()
                .map(|lane| (lane.tp.clone(), lane.progress()))
                .collect(),
            reorder: self.sequencer.positions(),
        };
        self.checkpoints.begin(&progress);
        self.crew.begin_checkpoint(progress).await?;
        Ok(())
    }

    /// Brings everything given to the sinks to safety, and commits it.
    async fn settle(&mut self) -> Result<(), FlowError> {
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

fn reading_state(lanes: &BTreeMap<u64, Lane>, now: Instant) -> ReadingState {
    let caught_up = lanes.values().map(|lane| lane.caught_up(now));
    ReadingState {
        partitions: lanes.len(),
        caught_up: caught_up.min().flatten(), // None is the least: one partition is enough
    }
}
