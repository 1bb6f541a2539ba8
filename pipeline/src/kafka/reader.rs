//! The feed's own thread: joins the group, serves its rebalances, and joins anew when the group has expelled it.
//!
//! A member can be expelled without being told: a static member that was away for longer than its session gets a new
//! member id and goes on as if nothing had happened, while another member has worked on its partitions. So the id is
//! compared whenever it matters; a changed one means that every lane is lost.

use super::feed::{FeedEvent, Lane};
use super::gate::Gate;
use super::intake::Intake;
use super::member_id::member_id;
use super::start::{Group, Position, StartPolicy, resolve_position};
use super::{GroupStamp, KafkaFault, LaneBounds, TopicPartition};
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// The rhythm in which the thread looks for rebalances and for the end.
const POLL: Duration = Duration::from_millis(50);
/// Joining anew more often than this within a minute means that two instances drive each other out.
const MOST_JOINS_A_MINUTE: usize = 5;

/// What is read.
#[derive(Debug, Clone)]
pub(super) enum Subscription {
    /// This member's share of these topics.
    Topics(Vec<String>),
    /// These, without a group.
    Partitions(Vec<TopicPartition>),
}

/// What the feed's threads and handles share.
pub(super) struct Shared {
    /// None is the end of the stream: the sender itself lives as long as the last control handle.
    events: mpsc::Sender<Option<FeedEvent>>,
    pub gate: Gate,
    start: StartPolicy,
    group: Group,
    consumer: Mutex<Weak<BaseConsumer<FeedContext>>>,
    /// The member id that the lanes were assigned to.
    member: Mutex<Option<String>>,
    intakes: Mutex<HashMap<TopicPartition, (Lane, JoinHandle<()>)>>,
    /// Lanes whose position retention has overtaken, with that position.
    overtaken: Mutex<Vec<(Lane, i64)>>,
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

impl Shared {
    pub(super) fn new(
        events: mpsc::Sender<Option<FeedEvent>>,
        bounds: LaneBounds,
        start: StartPolicy,
        group: Group,
    ) -> Self {
        Self {
            events,
            gate: Gate::new(bounds),
            start,
            group,
            consumer: Mutex::default(),
            member: Mutex::default(),
            intakes: Mutex::default(),
            overtaken: Mutex::default(),
            next_lane: AtomicU64::new(1),
            closing: AtomicBool::new(false),
        }
    }

    /// Hands an event to the service; false if nobody listens any more.
    pub(super) fn send(&self, event: FeedEvent) -> bool {
        self.events.blocking_send(Some(event)).is_ok()
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed) || self.events.is_closed()
    }

    /// The present consumer; an error while there is none.
    pub(super) fn consumer(&self) -> Result<Arc<BaseConsumer<FeedContext>>, KafkaFault> {
        let weak = lock(&self.consumer).clone();
        let none =
            || KafkaFault::Unfit("not connected to the consumer group at present".to_owned());
        weak.upgrade().ok_or_else(none)
    }

    pub(super) fn group_stamp(&self) -> Option<GroupStamp> {
        let consumer = self.consumer().ok()?;
        if self.is_expelled(&consumer) {
            return None;
        }
        let stamp = consumer.group_metadata().map(GroupStamp)?;
        // If the id changed in between, the stamp may already be that of a new life.
        (!self.is_expelled(&consumer)).then_some(stamp)
    }

    /// True if the lanes were assigned to a member that no longer exists.
    fn is_expelled(&self, consumer: &BaseConsumer<FeedContext>) -> bool {
        let assigned_to = lock(&self.member).clone();
        assigned_to.is_some() && assigned_to != member_id(consumer)
    }

    /// Retention has removed what the lane was to read next: the reader thread will mend it.
    pub(super) fn report_overtaken(&self, lane: Lane, position: i64) {
        lock(&self.overtaken).push((lane, position));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every update is complete before its lock is released, so a panic elsewhere leaves it consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Reader {
    client: ClientConfig,
    subscription: Subscription,
    shared: Arc<Shared>,
    consumer: Arc<BaseConsumer<FeedContext>>,
}

/// Why the thread stopped to serve a consumer.
enum End {
    Closed,
    /// The group no longer knows this member; the text says how it showed.
    Expelled(KafkaFault),
    Failed(KafkaFault),
}

impl Reader {
    pub(super) fn open(
        client: ClientConfig,
        subscription: Subscription,
        shared: Arc<Shared>,
    ) -> Result<Self, KafkaFault> {
        let consumer = new_consumer(&client, &shared)?;
        Ok(Self {
            client,
            subscription,
            shared,
            consumer,
        })
    }

    pub(super) fn spawn(self) -> JoinHandle<()> {
        std::thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || {
                let _end = EndOfEvents(Arc::clone(&self.shared));
                self.run();
            })
            .expect("the process may start a thread")
    }

    fn run(mut self) {
        let mut joins: Vec<Instant> = Vec::new();
        loop {
            joins.retain(|join| join.elapsed() < Duration::from_secs(60));
            joins.push(Instant::now());
            let end = match self.begin() {
                Ok(()) => self.serve(),
                Err(fault) => End::Failed(fault),
            };
            let fault = match end {
                End::Closed => return self.leave(),
                End::Failed(fault) => fault,
                End::Expelled(fault) if joins.len() > MOST_JOINS_A_MINUTE => fault,
                End::Expelled(fault) => {
                    tracing::warn!(%fault, "expelled from the consumer group; joining anew");
                    match self.join_anew() {
                        Ok(()) => continue,
                        Err(fault) => fault,
                    }
                }
            };
            self.consumer.context().revoked_all(Loss::Lost);
            self.shared.send(FeedEvent::Failed(fault));
            return;
        }
    }

    fn begin(&self) -> Result<(), KafkaFault> {
        match &self.subscription {
            Subscription::Topics(topics) => {
                let names: Vec<&str> = topics.iter().map(String::as_str).collect();
                self.consumer
                    .subscribe(&names)
                    .map_err(KafkaFault::request(format!("subscribing to {names:?}")))
            }
            Subscription::Partitions(partitions) => {
                let mut list = TopicPartitionList::new();
                for lane in partitions {
                    list.add_partition(&lane.topic, lane.partition);
                }
                self.consumer.context().assigned(&self.consumer, &mut list)
            }
        }
    }

    /// Serves rebalances and errors until closed or expelled.
    fn serve(&self) -> End {
        while !self.shared.is_closing() {
            match self.consumer.poll(POLL) {
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Ok(message)) => {
                    use rdkafka::message::Message;
                    let (topic, partition) = (message.topic(), message.partition());
                    // Unless this consumer is to be replaced anyway, this would be a lost record.
                    if !self.shared.is_expelled(&self.consumer) {
                        return End::Failed(KafkaFault::Unfit(format!(
                            "a record of {topic}[{partition}] came outside of its partition's queue"
                        )));
                    }
                }
                Some(Err(cause)) => match consequence(cause) {
                    None => {}
                    Some(end) => return end,
                },
            }
            self.mend_overtaken();
            if self.shared.is_expelled(&self.consumer) {
                let why = "the group gave this member a new id: its session had ended".to_owned();
                return End::Expelled(KafkaFault::Unfit(why));
            }
        }
        End::Closed
    }

    /// Every lane is another's now. A new consumer has no memory of them.
    fn join_anew(&mut self) -> Result<(), KafkaFault> {
        self.consumer.context().revoked_all(Loss::Lost);
        *lock(&self.shared.member) = None;
        self.consumer = new_consumer(&self.client, &self.shared)?;
        Ok(())
    }

    fn leave(self) {
        if let Subscription::Partitions(_) = self.subscription {
            return self.consumer.context().revoked_all(Loss::Orderly);
        }
        if let Err(cause) = self.consumer.close_queue() {
            tracing::warn!(%cause, "leaving the consumer group failed");
            return self.consumer.context().revoked_all(Loss::Lost);
        }
        while !self.consumer.closed() {
            self.consumer.poll(POLL);
        }
    }

    /// Retention may remove records that were not read yet: say so and go on behind them. Between two polls of this
    /// thread, because (un)assigning inside of a rebalance would be taken for the answer to it.
    fn mend_overtaken(&self) {
        let overtaken = std::mem::take(&mut *lock(&self.shared.overtaken));
        for (lane, position) in overtaken {
            let is_ours = |lane: &Lane| {
                let intakes = lock(&self.shared.intakes);
                intakes
                    .get(&lane.tp)
                    .is_some_and(|(ours, _)| ours.id == lane.id)
            };
            if !is_ours(&lane) {
                continue;
            }
            let event = match self.go_on_at_earliest(&lane.tp) {
                Ok(low) if low > position => {
                    self.shared.gate.take(lane.id, 0); // the gap takes a slot like a record
                    FeedEvent::Expired {
                        lane: lane.id,
                        from: position,
                        to: low,
                    }
                }
                // The position lies beyond the end: the topic was emptied or made anew under the group's feet.
                Ok(low) => FeedEvent::Failed(KafkaFault::Unfit(format!(
                    "{} has no offset {position}, only from {low} on: was the topic deleted and made anew? Use another \
                     --group or reset this one's offsets",
                    lane.tp
                ))),
                Err(fault) => FeedEvent::Failed(fault),
            };
            self.shared.send(event);
        }
    }

    fn go_on_at_earliest(&self, lane: &TopicPartition) -> Result<i64, KafkaFault> {
        let low = resolve_position(&*self.consumer, lane, Position::Earliest)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&lane.topic, lane.partition, Offset::Offset(low))
            .and_then(|()| self.consumer.incremental_unassign(&list))
            .and_then(|()| self.consumer.incremental_assign(&list))
            .map_err(KafkaFault::request(format!(
                "going on in {lane} at offset {low}"
            )))?;
        Ok(low)
    }
}

fn new_consumer(
    client: &ClientConfig,
    shared: &Arc<Shared>,
) -> Result<Arc<BaseConsumer<FeedContext>>, KafkaFault> {
    let context = FeedContext {
        shared: Arc::clone(shared),
    };
    let consumer = BaseConsumer::from_config_and_context(client, context)
        .map(Arc::new)
        .map_err(KafkaFault::request("creating a consumer"))?;
    *lock(&shared.consumer) = Arc::downgrade(&consumer);
    Ok(consumer)
}

/// What an error of the group means; None if librdkafka goes on by itself.
fn consequence(cause: KafkaError) -> Option<End> {
    let code = cause.rdkafka_error_code();
    let is_fatal = matches!(cause, KafkaError::MessageConsumptionFatal(_));
    let fault = KafkaFault::request("reading as a member of the group");
    match code {
        // A join that had to be repeated can fence its own first try, so this need not be another instance.
        Some(RDKafkaErrorCode::FencedInstanceId) => Some(End::Expelled(fault(cause))),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::InconsistentGroupProtocol,
        ) => Some(End::Failed(fault(cause))),
        _ if is_fatal => Some(End::Expelled(fault(cause))),
        _ => {
            tracing::warn!(%cause, "Kafka reports a problem; going on");
            None
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

/// Turns librdkafka's callbacks into events.
pub(super) struct FeedContext {
    shared: Arc<Shared>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Orderly,
    Lost,
}

impl ClientContext for FeedContext {
    fn error(&self, cause: KafkaError, reason: &str) {
        match cause.rdkafka_error_code() {
            // Told to the lane's intake as well, which knows what they mean.
            Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AutoOffsetReset) => {}
            _ => tracing::warn!(%cause, reason, "Kafka connection"),
        }
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
        let loss = if consumer.assignment_lost() || self.shared.is_expelled(consumer) {
            Loss::Lost
        } else {
            Loss::Orderly
        };
        self.revoked(&lanes, loss);
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
        if !shared.is_expelled(consumer) {
            *lock(&shared.member) = member_id(consumer);
            self.resolve_start(consumer, partitions)?;
            for element in partitions.elements() {
                let tp = TopicPartition::new(element.topic(), element.partition());
                self.start_intake(tp, element.offset().to_raw().unwrap_or(0))?;
            }
        }
        consumer
            .incremental_assign(partitions)
            .map_err(KafkaFault::request("taking over partitions"))
    }

    /// Asks until Kafka answers: the member before may have left a transaction that only its timeout decides.
    fn resolve_start(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
    ) -> Result<(), KafkaFault> {
        loop {
            match self
                .shared
                .start
                .resolve(consumer, partitions, self.shared.group)
            {
                Err(fault @ KafkaFault::Request { .. }) if !self.shared.is_closing() => {
                    tracing::warn!(%fault, "it is not known yet where to begin; asking again");
                    std::thread::sleep(POLL);
                }
                result => return result,
            }
        }
    }

    fn start_intake(&self, tp: TopicPartition, start: i64) -> Result<(), KafkaFault> {
        let shared = &self.shared;
        let Ok(consumer) = shared.consumer() else {
            return Ok(()); // closing
        };
        let queue = consumer
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
            shared: Arc::clone(shared),
        };
        let thread = intake.spawn().expect("the process may start a thread");
        lock(&shared.intakes).insert(tp, (lane, thread));
        Ok(())
    }

    fn revoked_all(&self, loss: Loss) {
        let all: Vec<_> = lock(&self.shared.intakes).keys().cloned().collect();
        self.revoked(&all, loss);
    }

    /// Stops the intakes, lets the service finish, and only then returns (and lets the partitions move).
    fn revoked(&self, partitions: &[TopicPartition], loss: Loss) {
        let stopped: Vec<_> = {
            let mut intakes = lock(&self.shared.intakes);
            partitions
                .iter()
                .filter_map(|tp| intakes.remove(tp))
                .collect()
        };
        if stopped.is_empty() {
            return;
        }
        for (lane, _) in &stopped {
            self.shared.gate.close(lane.id);
        }
        let (done, is_done) = oneshot::channel();
        let event = FeedEvent::Revoked {
            lanes: stopped.iter().map(|(lane, _)| lane.id).collect(),
            lost: loss == Loss::Lost,
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
