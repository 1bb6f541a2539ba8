//! The one task that owns the ordering core: takes in what happens, does what the core says.

use crate::args::StageConfig;
use crate::calls::{Balancer, CallLimits, Caller, Progress};
use crate::ending::{Ending, join_threads};
use crate::lanes::Lanes;
use crate::note::Note;
use crate::output::{Destination, Origin, Output};
use crate::policy::{Decision, Policy};
use crate::run::{Fence, StageContext};
use crate::status::{Second, Status};
use crate::work::{Job, Work};
use crate::writer::{Command, Report, WriterThread};
use anyhow::{Result, anyhow};
use pipeline::kafka::{Bookmark, Feed, FeedControl, FeedEvent, Incoming, Lane, MAX_REQUEST_BYTES};
use pipeline::ordering::{Action, Batch, BatchLane, CommitPolicy, Delivery, Event, LaneId};
use pipeline::resolve::Resolver;
use pipeline::wire;
use processor_proto::envelope::Kind;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Outputs of a batch: more only make the next commit wait longer.
const BATCH_RECORDS: usize = 1000;
const BATCH_BYTES: usize = 32 << 20;

/// When a batch is written.
pub fn commit_policy(linger: Duration) -> CommitPolicy {
    CommitPolicy {
        linger,
        max_records: BATCH_RECORDS,
        max_bytes: BATCH_BYTES,
        max_lane_bytes: MAX_REQUEST_BYTES,
    }
}

/// A frame failed, and the settings say to stop before it.
#[derive(Debug, thiserror::Error)]
#[error("--on-failure halt: {0}")]
pub struct Halted(String);

/// A frame whose work is over.
type Finished = (LaneId, i64, Decision);

pub struct Engine {
    start: Instant,
    delivery: Delivery<Output>,
    lanes: Lanes,
    destination: Destination,
    work: Arc<Work>,
    balancer: Arc<Balancer>,
    fence: Fence,
    tasks: TaskTracker,
    finished: mpsc::Sender<Finished>,
    finishing: mpsc::Receiver<Finished>,
    feed: FeedControl,
    commands: Option<std::sync::mpsc::Sender<Command>>,
    status: Status,
    ending: Ending,
}

enum Input {
    Feed(Option<FeedEvent>),
    Finished(Finished),
    Writer(Option<Report>),
    Time,
    Second,
    Stop,
}

impl Engine {
    pub fn new(
        config: &StageConfig,
        destination: Destination,
        balancer: Arc<Balancer>,
        feed: FeedControl,
        context: StageContext,
    ) -> Self {
        let args = &config.args;
        let limits = CallLimits {
            deadline: args.deadline,
            attempts: args.attempts,
            backoff: args.backoff,
        };
        let work = Arc::new(Work {
            caller: Caller::new(Arc::clone(&balancer), limits),
            resolver: Resolver::new(config.kafka.clone()),
            policy: Policy {
                content: args.content,
                on_failure: args.on_failure,
                destination: destination.clone(),
            },
        });
        let ending = Ending::new(feed.clone(), args.drain);
        // Every message stands for a slot, and slots are bounded by the feed's gate.
        let (finished, finishing) = mpsc::channel(1024);
        Self {
            start: Instant::now(),
            delivery: Delivery::new(commit_policy(config.commit_linger)),
            lanes: Lanes::default(),
            destination,
            work,
            status: Status::new(args.watchdog, args.delivery, context.show),
            balancer,
            fence: context.fence,
            tasks: TaskTracker::new(),
            finished,
            finishing,
            feed,
            commands: None,
            ending,
        }
    }

    /// Runs until told to stop, halted by a frame, or unable to go on; then commits what it can.
    pub async fn run(
        mut self,
        mut feed: Feed,
        writer: WriterThread,
        shutdown: CancellationToken,
    ) -> Result<()> {
        let WriterThread {
            commands,
            mut reports,
            thread,
        } = writer;
        self.commands = Some(commands);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let deadline = self
                .next_deadline()
                .map(|at| tokio::time::Instant::from_std(self.start + at));
            let input = tokio::select! {
                event = feed.next() => Input::Feed(event),
                Some(finished) = self.finishing.recv() => Input::Finished(finished),
                report = reports.recv() => Input::Writer(report),
                () = sleep_until(deadline) => Input::Time,
                _ = second.tick() => Input::Second,
                () = shutdown.cancelled(), if !self.ending.has_begun() => Input::Stop,
            };
            if let Input::Feed(None) = input {
                self.ending.feed_ended(self.now());
                break; // all lanes are gone
            }
            self.take_in(input);
            if self.ending.is_given_up(self.now()) {
                self.fail(anyhow!(
                    "Kafka did not take the last results in time; their frames are processed again after the next start"
                ));
                break;
            }
        }
        let gave_up = self.ending.is_given_up(self.now());
        self.lanes.cancel_all();
        self.finishing.close();
        self.tasks.close();
        self.tasks.wait().await;
        drop((self.commands.take(), reports));
        if !gave_up {
            join_threads(feed, thread).await?; // after giving up, the process's end is theirs
        }
        self.status.summary();
        self.ending.outcome()
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn next_deadline(&self) -> Option<Duration> {
        [
            self.delivery.next_deadline(),
            self.lanes.next_deadline(),
            self.ending.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn take_in(&mut self, input: Input) {
        match input {
            Input::Feed(Some(event)) => self.read(event),
            Input::Feed(None) => {}
            Input::Finished((lane, offset, decision)) => self.finish(lane, offset, decision),
            Input::Writer(Some(report)) => match report {
                Report::Committed => self.handle(Event::Committed),
                Report::Aborted => self.handle(Event::Aborted),
                Report::Unknown => self.handle(Event::Unknown),
                Report::Recovered(committed) => self.handle(Event::Recovered { committed }),
                Report::GivenUp(why) => {
                    self.ending.give_up(anyhow!(why), self.now());
                }
            },
            Input::Writer(None) => {
                self.ending
                    .give_up(anyhow!("the writer thread has ended"), self.now());
            }
            Input::Time => {
                let lanes = self.lanes.expired(self.now());
                if lanes.is_empty() {
                    self.handle(Event::Tick);
                } else {
                    self.handle(Event::DrainExpired { lanes });
                }
            }
            Input::Second => {
                self.status.every_second(Second {
                    delivery: &self.delivery,
                    lanes: &mut self.lanes,
                    balancer: Some(&self.balancer),
                    feed: &self.feed,
                    branches: BTreeMap::new(),
                });
            }
            Input::Stop => self.ending.stop(self.now()),
        }
    }

    fn fail(&mut self, error: anyhow::Error) {
        self.ending.fail(error, self.now());
    }

    fn read(&mut self, event: FeedEvent) {
        match event {
            FeedEvent::Assigned(lane) => self.assigned(lane),
            FeedEvent::Record { lane, record } => self.arrive(lane, record),
            FeedEvent::Expired { lane, from, to } => {
                let Some(ours) = self.lanes.get_mut(lane) else {
                    return;
                };
                tracing::error!(lane = %ours.tp, from, to, "Kafka's retention removed records before they were processed");
                let output = self.destination.expired(&ours.tp, from, to);
                let offset = to - 1; // so that the offset to commit is `to`
                ours.rates.came(Instant::now());
                self.handle(Event::Arrived {
                    lane,
                    offset,
                    bytes: 0,
                });
                self.complete(lane, offset, output);
            }
            FeedEvent::ReachedEnd { .. } => {}
            FeedEvent::Revoked { lanes, lost, done } => {
                tracing::info!(lanes = lanes.len(), lost, "partitions are taken away");
                if lost {
                    self.handle(Event::Lost { lanes });
                } else {
                    self.lanes
                        .revoke(&lanes, self.now() + self.ending.drain(), done);
                    self.handle(Event::Revoking { lanes });
                }
            }
            // Offsets are only committed with their results, so nothing depends on reading any more.
            FeedEvent::Failed(fault) if self.ending.has_begun() => {
                tracing::warn!(%fault, "while stopping");
            }
            FeedEvent::Failed(fault) => self.fail(fault.into()),
        }
    }

    fn assigned(&mut self, lane: Lane) {
        if let Err(superseded) = self.fence.check(&lane) {
            return self.fail(superseded.into()); // without the lane: nothing of it is worked on
        }
        tracing::info!(lane = %lane.tp, offset = lane.start, "reading");
        let (id, start) = (lane.id, lane.start);
        self.lanes.add(lane);
        self.handle(Event::Assigned { lane: id, start });
    }

    /// The record takes its slot; then its work begins.
    fn arrive(&mut self, lane: LaneId, record: Incoming) {
        let offset = record.offset;
        let bytes = record.memory_bytes();
        let Some(ours) = self.lanes.get_mut(lane) else {
            return; // read before the lane went
        };
        ours.bytes += bytes;
        ours.position = offset + 1;
        ours.rates.came(Instant::now());
        self.handle(Event::Arrived {
            lane,
            offset,
            bytes,
        });
        let input = Origin::of(&record);
        match wire::from_record(&record) {
            Ok(Kind::Frame(frame)) => self.begin(lane, input, frame),
            Ok(message) => {
                let output = self.destination.pass_on(&input, &message);
                self.complete(lane, offset, output);
            }
            Err(error) => {
                tracing::warn!(%input, %error, "not a frame: quarantined in its place");
                let output = self
                    .destination
                    .quarantine(&input, &record, &error.to_string());
                self.complete(lane, offset, output);
            }
        }
    }

    fn begin(&mut self, lane: LaneId, input: Origin, frame: processor_proto::v1::Frame) {
        let offset = input.offset;
        let needs_pixels = self.balancer.needs_pixels();
        let resolving = needs_pixels
            .then(|| self.work.resolver.resolve(&frame))
            .flatten();
        let progress = Arc::new(Progress::default());
        let Some(ours) = self.lanes.get_mut(lane) else {
            return;
        };
        let id = frame.id.clone().unwrap_or_default();
        ours.under_way.insert(offset, (id, Arc::clone(&progress)));
        let job = Job {
            lane,
            input,
            frame,
            resolving,
            progress,
            processor: self.balancer.processor_name().to_string(),
        };
        let (work, cancel, finished) = (
            Arc::clone(&self.work),
            ours.cancel.clone(),
            self.finished.clone(),
        );
        self.tasks.spawn(async move {
            // Boxed: a future of some KB would be moved several times on its way into the task.
            if let Some(decision) = cancel.run_until_cancelled(Box::pin(work.run(job))).await {
                // The engine has ended: nobody needs the result.
                let _ = finished.send((lane, offset, decision)).await;
            }
        });
    }

    fn finish(&mut self, lane: LaneId, offset: i64, decision: Decision) {
        match decision {
            Decision::Write(output) => self.complete(lane, offset, output),
            Decision::Halt(_) if self.lanes.get(lane).is_none() => {} // for whoever has the partition now
            Decision::Halt(why) => {
                self.ending.skip_drain(); // what is done before it is committed; nothing behind it can be
                self.fail(Halted(why).into());
            }
        }
    }

    fn complete(&mut self, lane: LaneId, offset: i64, output: Output) {
        if let Some(ours) = self.lanes.get_mut(lane) {
            ours.under_way.remove(&offset);
            self.status.count(&ours.tp, output.outcome);
        }
        self.handle(Event::Completed {
            lane,
            offset,
            output,
        });
    }

    fn handle(&mut self, event: Event<Output>) {
        for action in self.delivery.handle(event, self.now()) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action<Output>) {
        match action {
            Action::Write(batch) => self.write(batch),
            Action::Recover { lanes } => {
                let lanes = lanes
                    .into_iter()
                    .filter_map(|id| Some((id, self.lanes.get(id)?.tp.clone())))
                    .collect();
                self.command(Command::Recover { lanes });
            }
            Action::Hold { lane, bytes } => {
                if let Some(ours) = self.lanes.get_mut(lane) {
                    ours.bytes += bytes;
                }
                self.feed.hold(lane, bytes);
            }
            Action::Release { lane, slots, bytes } => {
                self.free(lane, slots, bytes);
            }
            Action::Done {
                lane,
                records,
                bytes,
            } => {
                self.status.commit(records);
                if let Some(ours) = self.lanes.get_mut(lane) {
                    ours.rates.committed(records, Instant::now());
                }
                self.free(lane, 0, bytes);
            }
            Action::Gone { lane } => self.lanes.gone(lane),
            Action::Conflict {
                lane,
                written,
                committed,
            } => {
                let lane = self
                    .lanes
                    .get(lane)
                    .map(|ours| ours.tp.to_string())
                    .unwrap_or_default();
                // The usual reason is a session that has ended without this broker knowing it yet.
                self.feed.doubt(format!(
                    "{lane}: the group is at offset {committed}, this broker wrote up to {written}: another member works on \
                     this partition. If this repeats, another broker runs under the same --group and --instance: give each \
                     its own name"
                ));
            }
        }
    }

    fn free(&mut self, lane: LaneId, slots: usize, bytes: usize) {
        if let Some(ours) = self.lanes.get_mut(lane) {
            ours.bytes -= bytes;
        }
        self.feed.release(lane, slots, bytes);
    }

    fn write(&mut self, batch: Batch<Output>) {
        let note = Note {
            revision: self.fence.revision(),
            ..Note::default()
        };
        let bookmark = |part: &BatchLane| {
            Some(Bookmark {
                tp: self.lanes.get(part.lane)?.tp.clone(),
                next_offset: part.next_offset,
                note: note.to_string(),
            })
        };
        let bookmarks = batch.lanes.iter().filter_map(bookmark).collect();
        // The stamp is of now, when these lanes are ours: if they are lost before the commit, Kafka refuses it.
        self.command(Command::Write {
            outputs: batch.outputs,
            bookmarks,
            stamp: self.feed.group_stamp(),
        });
    }

    fn command(&mut self, command: Command) {
        if let Some(commands) = &self.commands {
            // A writer that has ended shows as the end of its reports.
            let _ = commands.send(command);
        }
    }
}

pub async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
