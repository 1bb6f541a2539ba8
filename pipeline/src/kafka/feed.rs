//! Records of a consumer group's share, or of fixed partitions, as one bounded stream of events.
//!
//! ```text
//! feed thread: rebalances, errors          --+
//! intake thread per partition (see intake) --+--> mpsc --> the service's one task
//! ```
//! A revocation is an event too: the feed thread waits for its `done`, so that the service can commit what it has
//! before the partition moves. Events of a lane carry its id, which is new at every assignment.

use super::gate::Gate;
use super::intake::Intake;
use super::start::{Group, REQUEST_TIMEOUT, StartPolicy};
use super::{GroupStamp, Incoming, KafkaConfig, KafkaFault, LaneBounds, TopicPartition};
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Events waiting for the service's task. Records in them are already counted by the gate; this only bounds the rest.
const EVENT_QUEUE: usize = 256;

/// One assignment of one partition.
#[derive(Debug, Clone)]
pub struct Lane {
    /// New at every assignment; never used twice in a process.
    pub id: u64,
    /// The partition.
    pub tp: TopicPartition,
    /// The first offset that may be read.
    pub start: i64,
}

/// What happened to the partitions read.
#[derive(Debug)]
pub enum FeedEvent {
    /// A partition is read from now on.
    Assigned(Lane),
    /// The next record of a lane.
    Record {
        /// The lane's id.
        lane: u64,
        /// The record; its bytes count against the bounds until released.
        record: Incoming,
    },
    /// Retention removed the records from `from` up to but excluding `to` before they were read. Counts as one record
    /// of no bytes.
    Expired {
        /// The lane's id.
        lane: u64,
        /// The first missing offset.
        from: i64,
        /// The next offset that exists.
        to: i64,
    },
    /// All committed records that there are now have been read.
    ReachedEnd {
        /// The lane's id.
        lane: u64,
    },
    /// The lanes go to another member (or the service closes). No more records of them come.
    Revoked {
        /// The lanes' ids.
        lanes: Vec<u64>,
        /// True if they are another's already: nothing of them may be committed any more.
        lost: bool,
        /// To be sent (or dropped) when the service is done with them; the group waits for it.
        done: oneshot::Sender<()>,
    },
    /// Reading cannot go on.
    Failed(KafkaFault),
}

/// How a group knows its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// By name: a member that restarts under the same name within the session timeout gets its partitions back at once.
    Static(String),
    /// By connection: a member that leaves is replaced at once, one that dies after the session timeout.
    Dynamic,
}

/// A place in a consumer group.
#[derive(Debug, Clone)]
pub struct GroupMember {
    /// The group's id.
    pub group: String,
    /// How the group knows this member.
    pub membership: Membership,
    /// After this much silence the group gives a member's partitions to others.
    pub session_timeout: Duration,
}

/// A stream of [`FeedEvent`]s. Dropping it without [`Feed::close`] abandons the partitions.
#[derive(Debug)]
pub struct Feed {
    events: mpsc::Receiver<Option<FeedEvent>>,
    control: FeedControl,
    thread: Option<JoinHandle<()>>,
}

/// What the service tells the feed, from any thread.
#[derive(Debug, Clone)]
pub struct FeedControl {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    /// None is the end of the stream: the sender itself lives as long as the last control handle.
    pub events: mpsc::Sender<Option<FeedEvent>>,
    pub gate: Gate,
    start: StartPolicy,
    group: Group,
    consumer: OnceLock<Weak<BaseConsumer<FeedContext>>>,
    intakes: Mutex<HashMap<TopicPartition, (Lane, JoinHandle<()>)>>,
    next_lane: AtomicU64,
    closing: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

impl Feed {
    /// Joins a group and reads this member's share of the topics. A name that begins with `^` is a regular expression.
    pub fn subscribe(
        config: &KafkaConfig,
        member: &GroupMember,
        topics: &[String],
        start: StartPolicy,
        bounds: LaneBounds,
    ) -> Result<Self, KafkaFault> {
        let instance = match &member.membership {
            Membership::Static(name) => Some(name.as_str()),
            Membership::Dynamic => None,
        };
        let client = config.group_consumer(&member.group, instance, member.session_timeout);
        let topics = topics.to_vec();
        Self::open(&client, start, bounds, Group::Member, move |consumer, _| {
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            consumer
                .subscribe(&names)
                .map_err(KafkaFault::request(format!("subscribing to {names:?}")))
        })
    }

    /// Reads fixed partitions without a group: nothing is ever committed and nobody is disturbed.
    pub fn assign(
        config: &KafkaConfig,
        partitions: &[TopicPartition],
        start: StartPolicy,
        bounds: LaneBounds,
    ) -> Result<Self, KafkaFault> {
        let mut client = config.consumer();
        // The client insists on a name; without commits and subscriptions no group of that name comes to exist.
        client.set(
            "group.id",
            format!("framelane-reader-{:016x}", rand::random::<u64>()),
        );
        let partitions = partitions.to_vec();
        Self::open(
            &client,
            start,
            bounds,
            Group::None,
            move |consumer, context| {
                let mut list = TopicPartitionList::new();
                for lane in &partitions {
                    list.add_partition(&lane.topic, lane.partition);
                }
                context.assigned(consumer, &mut list)
            },
        )
    }

    fn open(
        client: &rdkafka::ClientConfig,
        start: StartPolicy,
        bounds: LaneBounds,
        group: Group,
        begin: impl FnOnce(&BaseConsumer<FeedContext>, &FeedContext) -> Result<(), KafkaFault>
        + Send
        + 'static,
    ) -> Result<Self, KafkaFault> {
        let (sender, events) = mpsc::channel(EVENT_QUEUE.max(2 * bounds.lane_records));
        let shared = Arc::new(Shared {
            events: sender,
            gate: Gate::new(bounds),
            start,
            group,
            consumer: OnceLock::new(),
            intakes: Mutex::default(),
            next_lane: AtomicU64::new(1),
            closing: AtomicBool::new(false),
        });
        let context = FeedContext {
            shared: Arc::clone(&shared),
        };
        let consumer = BaseConsumer::from_config_and_context(client, context)
            .map(Arc::new)
            .map_err(KafkaFault::request("creating a consumer"))?;
        shared.consumer.get_or_init(|| Arc::downgrade(&consumer));
        let control = FeedControl { shared };
        let thread = std::thread::Builder::new()
            .name("feed".to_owned())
            .spawn({
                let control = control.clone();
                move || {
                    let _end = EndOfEvents(Arc::clone(&control.shared));
                    match begin(&consumer, consumer.context()) {
                        Ok(()) => control.run(consumer),
                        Err(fault) => control.fail(fault),
                    }
                }
            })
            .expect("the process may start a thread");
        Ok(Self {
            events,
            control,
            thread: Some(thread),
        })
    }

    /// The next event; None after [`FeedControl::close`], when everything has been handed over.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        self.events.recv().await.flatten()
    }

    /// The next event for callers without a runtime; None as in [`Feed::next`].
    pub fn next_blocking(&mut self) -> Option<FeedEvent> {
        self.events.blocking_recv().flatten()
    }

    /// A handle for other tasks and threads.
    pub fn control(&self) -> FeedControl {
        self.control.clone()
    }

    /// Waits for the feed's threads. Call it after [`FeedControl::close`], when `next` has returned None.
    pub fn join(mut self) {
        self.events.close();
        self.control.close();
        if let Some(thread) = self.thread.take() {
            // A panic in the feed thread has closed the stream of events, which the service has already seen.
            let _ = thread.join();
        }
    }
}

impl FeedControl {
    /// Says that records of a lane are done with and their memory is free.
    pub fn release(&self, lane: u64, records: usize, bytes: usize) {
        self.shared.gate.release(lane, records, bytes);
    }

    /// Bytes taken and not yet released.
    pub fn held_bytes(&self) -> usize {
        self.shared.gate.held_bytes()
    }

    /// Ends the feed: all lanes are revoked (with an event each service must answer), then the stream ends.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
    }

    /// Who this member is in the group's present generation; None without a group or after the end.
    pub fn group_stamp(&self) -> Option<GroupStamp> {
        self.consumer()?.group_metadata().map(GroupStamp)
    }

    /// Commits the offsets of the next records to read. Blocks until Kafka has answered.
    pub fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), KafkaFault> {
        let Some(consumer) = self.consumer() else {
            return Ok(());
        };
        consumer
            .commit(&offset_list(offsets), CommitMode::Sync)
            .map_err(KafkaFault::request("committing offsets"))
    }

    /// What the group has committed for these partitions. Blocks; waits for open transactions to be decided.
    pub fn committed(&self, lanes: &[TopicPartition]) -> Result<Vec<Option<i64>>, KafkaFault> {
        let mut list = TopicPartitionList::new();
        for lane in lanes {
            list.add_partition(&lane.topic, lane.partition);
        }
        let Some(consumer) = self.consumer() else {
            return Ok(vec![None; lanes.len()]);
        };
        let committed = consumer
            .committed_offsets(list, REQUEST_TIMEOUT)
            .map_err(KafkaFault::request("reading committed offsets"))?;
        let offset_of = |lane: &TopicPartition| match committed
            .find_partition(&lane.topic, lane.partition)?
            .offset()
        {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        Ok(lanes.iter().map(offset_of).collect())
    }

    /// The offset after the newest record, as far as the client knows without asking: for lag displays.
    pub fn end_offset(&self, lane: &TopicPartition) -> Option<i64> {
        let consumer = self.consumer()?;
        consumer
            .fetch_watermarks(&lane.topic, lane.partition, REQUEST_TIMEOUT)
            .ok()
            .map(|(_, high)| high)
    }

    fn consumer(&self) -> Option<Arc<BaseConsumer<FeedContext>>> {
        self.shared.consumer.get()?.upgrade()
    }

    /// The feed thread: serves rebalances and errors until closed, then leaves in order.
    fn run(&self, consumer: Arc<BaseConsumer<FeedContext>>) {
        const POLL: Duration = Duration::from_millis(50);
        while !self.shared.closing.load(Ordering::Relaxed) && !self.shared.events.is_closed() {
            match consumer.poll(POLL) {
                None | Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(cause)) => self.report(cause),
            }
        }
        match self.shared.group {
            Group::Member => {
                if let Err(cause) = consumer.close_queue() {
                    tracing::warn!(%cause, "leaving the consumer group failed");
                } else {
                    while !consumer.closed() {
                        consumer.poll(POLL);
                    }
                }
            }
            Group::None => consumer.context().revoked_all(),
        }
    }

    fn fail(&self, fault: KafkaFault) {
        self.shared.send(FeedEvent::Failed(fault));
    }

    fn report(&self, cause: KafkaError) {
        let fatal = matches!(cause, KafkaError::MessageConsumptionFatal(_))
            || matches!(
                cause.rdkafka_error_code(),
                Some(
                    RDKafkaErrorCode::FencedInstanceId
                        | RDKafkaErrorCode::TopicAuthorizationFailed
                        | RDKafkaErrorCode::GroupAuthorizationFailed
                        | RDKafkaErrorCode::InconsistentGroupProtocol
                )
            );
        if fatal {
            self.fail(KafkaFault::request("reading as a member of the group")(
                cause,
            ));
        } else {
            tracing::warn!(%cause, "Kafka reports a problem; going on");
        }
    }
}

/// Ends the stream however the feed thread ends, by a panic too.
struct EndOfEvents(Arc<Shared>);

impl Drop for EndOfEvents {
    fn drop(&mut self) {
        // An error means that nobody listens.
        let _ = self.0.events.blocking_send(None);
    }
}

impl Shared {
    /// Hands an event to the service; false if nobody listens any more.
    pub(super) fn send(&self, event: FeedEvent) -> bool {
        self.events.blocking_send(Some(event)).is_ok()
    }

    fn intakes(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<TopicPartition, (Lane, JoinHandle<()>)>> {
        self.intakes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Turns librdkafka's callbacks into events.
pub(super) struct FeedContext {
    shared: Arc<Shared>,
}

impl ClientContext for FeedContext {
    fn error(&self, cause: KafkaError, reason: &str) {
        tracing::warn!(%cause, reason, "Kafka connection");
    }
}

impl ConsumerContext for FeedContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            if let Err(fault) = self.assigned(consumer, partitions) {
                self.shared.send(FeedEvent::Failed(fault));
            }
            return;
        }
        let lanes: Vec<_> = partitions
            .elements()
            .iter()
            .map(|e| TopicPartition::new(e.topic(), e.partition()))
            .collect();
        self.revoked(&lanes, consumer.assignment_lost());
        if let Err(cause) = consumer.incremental_unassign(partitions) {
            tracing::warn!(%cause, "giving partitions back failed");
        }
    }
}

impl FeedContext {
    /// Starts an intake for each partition, then lets librdkafka fetch: no record can slip into another queue.
    fn assigned(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
    ) -> Result<(), KafkaFault> {
        let shared = &self.shared;
        shared.start.resolve(consumer, partitions, shared.group)?;
        let Some(owned) = shared.consumer.get().and_then(Weak::upgrade) else {
            return Ok(()); // closing
        };
        for element in partitions.elements() {
            let tp = TopicPartition::new(element.topic(), element.partition());
            let start = element.offset().to_raw().unwrap_or(0);
            let queue = owned
                .split_partition_queue(&tp.topic, tp.partition)
                .ok_or_else(|| KafkaFault::NoTopic(tp.to_string()))?;
            let lane = Lane {
                id: shared.next_lane.fetch_add(1, Ordering::Relaxed),
                tp: tp.clone(),
                start,
            };
            shared.gate.open(lane.id);
            shared.send(FeedEvent::Assigned(lane.clone()));
            let intake = Intake {
                lane: lane.clone(),
                position: start,
                queue,
                consumer: Arc::clone(&owned),
                shared: Arc::clone(shared),
            };
            let thread = intake.spawn().expect("the process may start a thread");
            shared.intakes().insert(tp, (lane, thread));
        }
        consumer
            .incremental_assign(partitions)
            .map_err(KafkaFault::request("taking over partitions"))
    }

    fn revoked_all(&self) {
        let all: Vec<_> = self.shared.intakes().keys().cloned().collect();
        self.revoked(&all, false);
    }

    /// Stops the intakes, lets the service finish, and only then returns (and lets the partitions move).
    fn revoked(&self, partitions: &[TopicPartition], lost: bool) {
        let stopped: Vec<_> = {
            let mut intakes = self.shared.intakes();
            partitions
                .iter()
                .filter_map(|tp| intakes.remove(tp))
                .collect()
        };
        for (lane, _) in &stopped {
            self.shared.gate.close(lane.id);
        }
        let (done, is_done) = oneshot::channel();
        let event = FeedEvent::Revoked {
            lanes: stopped.iter().map(|(lane, _)| lane.id).collect(),
            lost,
            done,
        };
        if self.shared.send(event) {
            let _ = is_done.blocking_recv(); // an error means the service has ended: nothing to wait for
        }
        for (lane, thread) in stopped {
            // Two threads on one partition's queue would each get a part of it.
            if thread.join().is_err() {
                tracing::error!(lane = %lane.tp, "the intake thread panicked");
            }
        }
    }
}

pub(super) fn offset_list(offsets: &[(TopicPartition, i64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (lane, offset) in offsets {
        list.add_partition_offset(&lane.topic, lane.partition, Offset::Offset(*offset))
            .expect("the list has this partition only once");
    }
    list
}
