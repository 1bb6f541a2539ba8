//! The one task of a join: takes in what the branches have, and writes a row when all of them have it.
//!
//! The delivery protocol is that of any stage ([`Delivery`]), with rows for records: a row's number, which counts from 0
//! in each life of a lane, takes the place of an offset, and a row is done as soon as it is there.

use super::branches::{BranchEvent, Opener, forward};
use super::lane::{JoinLane, Read, Row, Step};
use super::message::{Joiner, Part};
use crate::args::{StageConfig, StageWork};
use crate::ending::{Ending, join_threads};
use crate::engine::{commit_policy, sleep_until};
use crate::lanes::Lanes;
use crate::note::Note;
use crate::output::{Destination, Origin, Output};
use crate::run::{Fence, StageContext};
use crate::status::{Branches, Second, Status};
use crate::writer::{Command, Report, WriterThread};
use anyhow::{Result, anyhow};
use pipeline::kafka::{Feed, FeedControl, FeedEvent, Incoming, Lane};
use pipeline::ordering::{Delivery, Event, LaneId};
use pipeline::wire;
use processor_proto::envelope::Kind;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Events of branches on their way. Records in them are counted by their feeds; this only bounds the rest.
const EVENT_QUEUE: usize = 256;

pub struct JoinEngine {
    start: Instant,
    pub(super) delivery: Delivery<Output>,
    /// By the lane of the first branch, as are all events of the delivery protocol.
    pub(super) lanes: Lanes,
    pub(super) joins: BTreeMap<LaneId, (JoinLane, FeedControl)>,
    joiner: Joiner,
    opener: Opener,
    pub(super) fence: Fence,
    tasks: TaskTracker,
    branch_events: mpsc::Sender<BranchEvent>,
    events: mpsc::Receiver<BranchEvent>,
    pub(super) feed: FeedControl,
    /// The batch that is being written, by lane: the number behind its last row.
    pub(super) writing: BTreeMap<LaneId, i64>,
    pub(super) commands: Option<std::sync::mpsc::Sender<Command>>,
    pub(super) status: Status,
    ending: Ending,
}

enum Input {
    Feed(Option<FeedEvent>),
    Branch(BranchEvent),
    Writer(Option<Report>),
    Time,
    Second,
    Stop,
}

impl JoinEngine {
    pub fn new(
        config: &StageConfig,
        destination: Destination,
        feed: FeedControl,
        context: StageContext,
    ) -> Self {
        let StageWork::Join(topics) = &config.work else {
            unreachable!("a stage without processors is a join");
        };
        let topics: Arc<[Arc<str>]> = topics.iter().map(|topic| topic.as_str().into()).collect();
        let (branch_events, events) = mpsc::channel(EVENT_QUEUE);
        let args = &config.args;
        let ending = Ending::new(feed.clone(), args.drain);
        Self {
            start: Instant::now(),
            delivery: Delivery::new(commit_policy(config.commit_linger)),
            lanes: Lanes::default(),
            joins: BTreeMap::new(),
            joiner: Joiner {
                topics: Arc::clone(&topics),
                content: args.content,
                destination,
            },
            opener: Opener::new(config, topics, context.memory),
            fence: context.fence,
            tasks: TaskTracker::new(),
            branch_events,
            events,
            feed,
            writing: BTreeMap::new(),
            commands: None,
            status: Status::new(args.watchdog, args.delivery, context.show),
            ending,
        }
    }

    /// Runs until told to stop or unable to go on; then commits what it can.
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
                Some(event) = self.events.recv() => Input::Branch(event),
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
                    "Kafka did not take the last frames in time; they are joined again after the next start"
                ));
                break;
            }
        }
        let gave_up = self.ending.is_given_up(self.now());
        self.lanes.cancel_all();
        self.events.close();
        self.tasks.close();
        self.tasks.wait().await;
        drop((self.commands.take(), reports));
        if !gave_up {
            join_threads(feed, thread).await?; // after giving up, the process's end is theirs
        }
        self.status.summary();
        self.ending.outcome()
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn next_deadline(&self) -> Option<Duration> {
        let deadlines = [
            self.delivery.next_deadline(),
            self.lanes.next_deadline(),
            self.ending.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn take_in(&mut self, input: Input) {
        match input {
            Input::Feed(Some(event)) => self.read(event),
            Input::Feed(None) => {}
            Input::Branch(BranchEvent { lane, event }) => self.read_branch(lane, event),
            Input::Writer(Some(report)) => self.written(report),
            Input::Writer(None) => {
                self.ending
                    .give_up(anyhow!("the writer thread has ended"), self.now());
            }
            Input::Time => {
                let lanes = self.lanes.expired(self.now());
                match lanes.is_empty() {
                    true => self.handle(Event::Tick),
                    false => self.handle(Event::DrainExpired { lanes }),
                }
            }
            Input::Second => self.every_second(),
            Input::Stop => self.ending.stop(self.now()),
        }
    }

    fn written(&mut self, report: Report) {
        match report {
            Report::Committed => self.handle(Event::Committed),
            Report::Aborted => self.handle(Event::Aborted),
            Report::Unknown => self.handle(Event::Unknown),
            Report::Recovered(committed) => {
                let committed = self.rows_of(&committed);
                self.handle(Event::Recovered { committed });
            }
            Report::GivenUp(why) => {
                self.ending.give_up(anyhow!(why), self.now());
            }
        }
    }

    fn every_second(&mut self) {
        let joins = self.joins.iter();
        let branches = joins.map(|(id, (join, _))| {
            let branches = Branches {
                positions: join.positions(),
                waiting: join.waiting(),
                waits_for: join.waits_for(),
            };
            (*id, branches)
        });
        self.status.every_second(Second {
            delivery: &self.delivery,
            branches: branches.collect(),
            lanes: &mut self.lanes,
            balancer: None,
            feed: &self.feed,
        });
    }

    fn fail(&mut self, error: anyhow::Error) {
        self.ending.fail(error, self.now());
    }

    fn read(&mut self, event: FeedEvent) {
        match event {
            FeedEvent::Assigned(lane) => self.assigned(lane),
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
            FeedEvent::Record { lane, record } => self.arrive(lane, lane, record),
            FeedEvent::Expired { lane, from, to } => self.expired(lane, lane, from, to),
            FeedEvent::ReachedEnd { .. } => {}
            FeedEvent::Failed(fault) if self.ending.has_begun() => {
                tracing::warn!(%fault, "while stopping");
            }
            FeedEvent::Failed(fault) => self.fail(fault.into()),
        }
    }

    /// `lane` is that of the first branch.
    fn read_branch(&mut self, lane: LaneId, event: FeedEvent) {
        match event {
            FeedEvent::Assigned(branch) => {
                if let Some((join, _)) = self.joins.get_mut(&lane) {
                    tracing::info!(lane = %branch.tp, offset = branch.start, "reading to join");
                    join.opened(&branch.tp.topic, branch.id, branch.start);
                }
            }
            FeedEvent::Record { lane: of, record } => self.arrive(lane, of, record),
            FeedEvent::Expired { lane: of, from, to } => self.expired(lane, of, from, to),
            FeedEvent::ReachedEnd { .. } | FeedEvent::Revoked { .. } => {}
            FeedEvent::Failed(fault)
                if self.ending.has_begun() || self.lanes.get(lane).is_none() =>
            {
                tracing::warn!(%fault, "while stopping");
            }
            FeedEvent::Failed(fault) => self.fail(fault.into()),
        }
    }

    fn assigned(&mut self, lane: Lane) {
        if let Err(superseded) = self.fence.check(&lane) {
            return self.fail(superseded.into()); // without the lane: nothing of it is worked on
        }
        let note = Note::read(&lane.note);
        let branches = match self.opener.open(&lane, &note) {
            Ok(branches) => branches,
            Err(fault) => return self.fail(fault.into()),
        };
        tracing::info!(lane = %lane.tp, offset = lane.start, "reading");
        let id = lane.id;
        let join = JoinLane::new(
            &self.opener.topics,
            lane.tp.partition,
            id,
            lane.start,
            &note,
            self.opener.bounds,
        );
        self.joins.insert(id, (join, branches.control()));
        self.lanes.add(lane);
        self.handle(Event::Assigned { lane: id, start: 0 });
        if let Some(ours) = self.lanes.get(id) {
            let events = self.branch_events.clone();
            self.tasks
                .spawn(forward(id, branches, events, ours.cancel.clone()));
        }
    }

    fn arrive(&mut self, lane: LaneId, of: LaneId, record: Incoming) {
        let input = Origin::of(&record);
        let message = wire::from_record(&record).unwrap_or_else(|error| {
            tracing::warn!(%input, %error, "not a frame: a gap takes its place");
            Kind::Gap(Destination::undecodable(&record, &error.to_string()))
        });
        let (next_offset, bytes) = (record.offset + 1, record.memory_bytes());
        self.take(lane, of, input, message, next_offset, bytes);
    }

    fn expired(&mut self, lane: LaneId, of: LaneId, from: i64, to: i64) {
        let Some((join, _)) = self.joins.get(&lane) else {
            return;
        };
        let branch = join.branch(of);
        let Some(tp) = branch.and_then(|branch| join.partitions().into_iter().nth(branch)) else {
            return;
        };
        tracing::error!(lane = %tp, from, to, "Kafka's retention removed records before they were joined");
        let (input, gap) = Destination::removed(&tp, from, to);
        self.take(lane, of, input, Kind::Gap(gap), to, 0);
    }

    /// Takes what takes the place of a record, and writes what that makes ready.
    fn take(
        &mut self,
        lane: LaneId,
        of: LaneId,
        input: Origin,
        message: Kind,
        next_offset: i64,
        bytes: usize,
    ) {
        let (Some((join, _)), Some(ours)) = (self.joins.get_mut(&lane), self.lanes.get_mut(lane))
        else {
            return; // read before the lane went
        };
        let Some(branch) = join.branch(of) else {
            return;
        };
        ours.bytes += bytes;
        if branch == 0 {
            ours.position = next_offset;
        }
        let part = Part {
            input,
            message,
            entered_unix_ns: wire::now_unix_ns(),
        };
        let read = Read {
            part,
            next_offset,
            bytes,
            at: Instant::now(),
        };
        join.read(branch, read);
        while self.advance(lane) {}
    }

    /// Takes one step; false if there is none now.
    fn advance(&mut self, lane: LaneId) -> bool {
        let Some((join, _)) = self.joins.get_mut(&lane) else {
            return false;
        };
        match join.next() {
            Step::Wait => false,
            Step::Skip(freed) => {
                self.free(lane, &freed);
                true
            }
            Step::Write(row) => {
                self.ready(lane, row);
                true
            }
            Step::Stuck(why) => {
                if !self.ending.has_failed() {
                    self.fail(anyhow!(why));
                }
                false
            }
        }
    }

    fn ready(&mut self, lane: LaneId, row: Row) {
        let output = self.joiner.output(&row.parts);
        if let Some(ours) = self.lanes.get_mut(lane) {
            ours.rates.came(row.came);
            self.status.count(&ours.tp, output.outcome);
        }
        self.handle(Event::Arrived {
            lane,
            offset: row.number,
            bytes: row.bytes,
        });
        self.handle(Event::Completed {
            lane,
            offset: row.number,
            output,
        });
    }
}
