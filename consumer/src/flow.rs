//! The one task that owns everything between Kafka and the sinks.
//!
//! ```text
//! feed -> (reorder window) -> order check -> (pacer) -> (tracking) -> (monitor) -> sinks
//!   ^                                                                             |
//!   +------------- commit <- checkpoint safe with all sinks <---------------------+
//! ```
//! Select an event, apply it, give out what is ready. Only giving out waits (for the slowest sink's queue).

mod error;
mod giving;
mod settle;
pub mod steering;

pub use error::FlowError;

use crate::checkpoints::{Checkpoints, Commits};
use crate::config::Config;
use crate::crew::Crew;
use crate::delivery::Delivery;
use crate::lanes::{Finish, Lane};
use crate::monitor::Monitor;
use crate::picture::PicturePlan;
use crate::progress::Progress;
use crate::reorder::ReadingState;
use crate::sequencer::Sequencer;
use crate::status::Status;
use crate::track::{self, TrackError, Tracking};
use crate::trails::Trails;
use error::COMMIT_GRACE;
use pipeline::kafka::{self, Feed, FeedControl, FeedEvent, Incoming, TopicPartition};
use pipeline::wire;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;
use steering::{Notice, Order, Steering};
use tokio_util::sync::CancellationToken;

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
    /// None if frames stay as they are.
    tracking: Option<Tracking>,
    /// None if there is no condition.
    monitor: Option<Monitor>,
    finish: Finish,
    /// None if no sink looks at pictures.
    pictures: Option<PicturePlan>,
    /// Ends the waits of actions.
    closing: CancellationToken,
    trails: Trails,
    status: Status,
    stage: Stage,
    /// None if nobody steers.
    steering: Option<Steering>,
}

/// What a flow is made of.
pub struct Parts {
    /// The sinks.
    pub crew: Crew,
    /// When enough was read.
    pub finish: Finish,
    /// What the sinks have already.
    pub done: Progress,
    /// Where reading begins at least because of that.
    pub resumed: HashMap<TopicPartition, i64>,
    /// None if no sink looks at pictures.
    pub pictures: Option<PicturePlan>,
    /// None if frames stay as they are.
    pub tracking: Option<Tracking>,
    /// None if there is no condition.
    pub monitor: Option<Monitor>,
    /// Cancelled when the flow has failed.
    pub closing: CancellationToken,
    /// What is committed when the sinks are safe.
    pub commits: Commits,
    /// None if nobody steers.
    pub steering: Option<Steering>,
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
    Restored,
    Ordered(Order),
    Time,
    Shutdown,
}

impl Flow {
    /// Ready to run.
    pub fn new(config: &Config, control: FeedControl, parts: Parts) -> Self {
        let Parts {
            crew,
            finish,
            done,
            resumed,
            pictures,
            tracking,
            monitor,
            closing,
            commits,
            steering,
        } = parts;
        Self {
            sequencer: Sequencer::new(config.reorder, config.rate, &done.reorder),
            status: Status::new(control.clone()),
            control,
            crew,
            checkpoints: Checkpoints::new(commits, resumed),
            lanes: BTreeMap::new(),
            done,
            tracking,
            monitor,
            finish,
            pictures,
            closing,
            trails: Trails::default(),
            stage: Stage::Reading,
            steering,
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
        if result.is_err() {
            self.closing.cancel();
        }
        if let Some(monitor) = &self.monitor {
            monitor.end();
        }
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
            if let Some(why) = self.checkpoints.dead() {
                return Err(FlowError::NoLedger(why.to_owned()));
            }
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
            self.tell();
            let event = self.next_event(feed, shutdown).await?;
            self.apply(event).await?;
            self.tell(); // giving out may wait for a slow sink
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
            restored = restored(&mut self.tracking) => Ok(restored.map(|()| Event::Restored)?),
            order = ordered(&mut self.steering) => Ok(Event::Ordered(order)),
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
            Event::Feed(FeedEvent::Assigned(lane)) => self.begin(lane).await?,
            Event::Feed(FeedEvent::Record { lane, record }) => self.take(lane, record),
            Event::Feed(FeedEvent::ReachedEnd { lane }) => {
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    self.finish.reached_end(lane, Instant::now());
                }
                self.touch();
            }
            Event::Feed(FeedEvent::Expired { lane, from, to }) => self.miss(lane, from, to),
            Event::Feed(FeedEvent::Revoked { lanes, lost, done }) => {
                self.revoke(&lanes, lost).await?;
                self.touch();
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
            Event::Committed | Event::Restored => {}
            Event::Ordered(Order::Read(topics)) => self.control.redirect(topics),
            Event::Ordered(Order::Show(notice)) => self.show_notice(notice).await?,
            Event::Time => {
                self.status.refresh_lag().await;
                self.on_time(Instant::now());
            }
        }
        Ok(())
    }

    /// A partition is to be read.
    async fn begin(&mut self, lane: kafka::Lane) -> Result<(), FlowError> {
        tracing::info!(partition = %lane.tp, offset = lane.start, "reading");
        if let Some(before) = self.checkpoints.set_back(&lane.tp, lane.start) {
            tracing::warn!(
                partition = %lane.tp, offset = lane.start, before,
                "the group goes on before what this consumer has: the topic was made anew, or the group's offsets were \
                 reset. What is read now is taken for new"
            );
            self.done.lanes.remove(&lane.tp);
            self.crew.forget(&lane.tp).await?;
        }
        self.checkpoints.begin_at(&lane.tp, lane.start);
        self.checkpoints.open_lane(lane.id);
        if let Some(tracking) = &mut self.tracking {
            tracking.begin(lane.id, &lane.tp, lane.start);
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.begin(&lane);
        }
        self.lanes.insert(lane.id, Lane::new(lane.tp, lane.start));
        self.touch();
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
        if let Some(steering) = self.steering.as_mut().filter(|_| lane.is_read()) {
            steering.touch();
        }
        lane.take(offset);
        // Tracks and alerts follow from every record; the sinks are spared what they have when it is given.
        let is_followed = self.tracking.is_some() || self.monitor.is_some();
        if !is_followed && self.done.is_done(&lane.tp, offset) {
            lane.hand_over(offset);
            self.control.release(lane_id, 1, record.memory_bytes());
            return;
        }
        self.insert(Delivery::new(record, lane_id, &self.control));
    }

    fn insert(&mut self, delivery: Delivery) {
        self.status.received(&delivery);
        let now = Instant::now();
        self.sequencer
            .set_reading(|| reading_state(&self.lanes, now));
        self.sequencer.insert(delivery, now);
    }

    /// Records are gone before they were read. Whoever tracks has to know in their order.
    fn miss(&mut self, lane_id: u64, from: i64, to: i64) {
        let lane = self.lanes.get_mut(&lane_id);
        let partition = lane.as_ref().map(|lane| lane.tp.to_string());
        tracing::error!(
            partition,
            from,
            to,
            "retention removed records before they were read: keep them longer (topic setting retention.ms), or read \
             faster"
        );
        match lane {
            Some(lane) if self.tracking.is_some() && self.stage == Stage::Reading => {
                lane.take(to - 1);
                let missing = track::expired(&lane.tp, from, to);
                let tp = lane.tp.clone();
                let delivery = Delivery::made_up(missing, tp, to - 1, lane_id, &self.control);
                self.insert(delivery);
            }
            _ => self.control.release(lane_id, 1, 0), // it took a record's room
        }
    }

    fn on_time(&mut self, now: Instant) {
        self.sequencer
            .set_reading(|| reading_state(&self.lanes, now));
        self.sequencer.expire(now);
        let printed = self.status.print_if_due(now, || {
            let progress = |lane: &Lane| (lane.tp.clone(), lane.progress().next);
            self.lanes.values().map(progress).collect()
        });
        match (&mut self.steering, printed) {
            (Some(steering), Some(since)) => steering.take_second(since.as_secs_f64()),
            // Whoever steers may have nothing to be read.
            (None, Some(_)) => self.status.tell_of_waiting(now, self.lanes.is_empty()),
            (_, None) => {}
        }
    }

    /// Whoever steers is to know of a change.
    fn touch(&mut self) {
        if let Some(steering) = &mut self.steering {
            steering.touch();
        }
    }

    fn tell(&mut self) {
        if let Some(steering) = &mut self.steering {
            steering.tell(self.lanes.values(), |tp| self.status.lag_of(tp));
        }
    }

    /// Shows that a source has no picture, to sinks that show pictures.
    async fn show_notice(&mut self, notice: Notice) -> Result<(), FlowError> {
        tracing::info!(source = %notice.source, why = notice.why, "showing a placeholder");
        let delivery = Delivery::absent(notice, &self.control);
        self.crew.give(&Arc::new(delivery)).await?;
        self.checkpoints.count(); // stills get their names with the next one
        Ok(())
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
            Stage::Draining => {
                let waits = self.tracking.as_ref().is_some_and(|all| !all.is_empty());
                let is_given = self.sequencer.is_empty() && !waits;
                // A slow link takes its time for what is left.
                (is_given || self.finish.is_count_reached()) && !self.checkpoints.is_writing_on()
            }
            Stage::Stopped => true,
        }
    }
}

/// Waits for an order; for ever if nobody steers.
async fn ordered(steering: &mut Option<Steering>) -> Order {
    match steering {
        Some(steering) => steering.order().await,
        None => std::future::pending().await,
    }
}

/// Waits for tracks that are looked for; for ever if frames are not tracked.
async fn restored(tracking: &mut Option<Tracking>) -> Result<(), TrackError> {
    match tracking {
        Some(tracking) => tracking.restored().await,
        None => std::future::pending().await,
    }
}

fn reading_state(lanes: &BTreeMap<u64, Lane>, now: Instant) -> ReadingState {
    let caught_up = lanes.values().map(|lane| lane.caught_up(now));
    ReadingState {
        partitions: lanes.len(),
        caught_up: caught_up.min().flatten(), // None is the least: one partition is enough
    }
}
