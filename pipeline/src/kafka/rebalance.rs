//! The group's callbacks: partitions come and go. They run on the feed's thread, inside of its polls.

use super::claims::claimed_by_others;
use super::feed::{FeedEvent, Lane};
use super::forgotten::{LOST_ALL_NODES, NodeWatch};
use super::intake::Intake;
use super::member_id::member_id;
use super::reader::POLL;
use super::shared::{Shared, lock};
use super::start::{Group, REQUEST_TIMEOUT};
use super::{KafkaFault, TopicPartition};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Turns librdkafka's callbacks into events.
pub(super) struct FeedContext {
    shared: Arc<Shared>,
    /// The consumer is to be replaced: what its group still gives it on its way out is not taken over.
    is_retired: AtomicBool,
    /// Why what the client got is not taken over: there is nobody it could speak for, or it may be another's.
    adrift: OnceLock<&'static str>,
    /// A static member that was given nothing yet.
    is_new: AtomicBool,
    /// Partitions were taken and given up between two polls, perhaps while a rebalance had begun: see `mend_overtaken`.
    has_mended: AtomicBool,
    /// The consumer's settings.
    client: ClientConfig,
}

/// Between two looks whether a commit on its way has been answered.
const COMMIT_LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Orderly,
    Lost,
}

impl ClientContext for FeedContext {
    fn error(&self, cause: KafkaError, reason: &str) {
        match cause.rdkafka_error_code() {
            // Told to the lane's intake as well, which knows what they mean.
            Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AutoOffsetReset) => {}
            // The client looks its group up even where nobody joins it.
            Some(RDKafkaErrorCode::GroupAuthorizationFailed)
                if matches!(self.shared.group, Group::None) => {}
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
        let is_assignment = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.is_retired.load(Ordering::Relaxed) {
            let answer = match is_assignment {
                true => consumer.incremental_assign(partitions),
                false => consumer.incremental_unassign(partitions),
            };
            tracing::debug!(
                ?answer,
                "a rebalance of the consumer that is being replaced"
            );
            return;
        }
        if is_assignment {
            match self.assigned(consumer, partitions) {
                // Partitions that come while this member leaves go back with it.
                Err(fault) if self.shared.is_closing() => {
                    tracing::debug!(%fault, "not taken over while leaving");
                }
                Err(fault) => {
                    self.shared.send(FeedEvent::Failed(fault));
                }
                Ok(()) => {}
            }
            return;
        }
        let lanes: Vec<_> = partitions
            .elements()
            .iter()
            .map(|e| TopicPartition::new(e.topic(), e.partition()))
            .collect();
        let is_lost = consumer.assignment_lost()
            || self.shared.is_expelled(consumer)
            || self.has_mended.load(Ordering::Relaxed);
        let loss = if is_lost { Loss::Lost } else { Loss::Orderly };
        self.revoked(&lanes, loss);
        if let Err(cause) = consumer.incremental_unassign(partitions) {
            tracing::warn!(%cause, "giving partitions back failed");
        }
    }
}

impl FeedContext {
    pub(super) fn new(shared: Arc<Shared>, client: &ClientConfig) -> Self {
        Self {
            shared,
            is_retired: AtomicBool::new(false),
            adrift: OnceLock::new(),
            is_new: AtomicBool::new(client.get("group.instance.id").is_some()),
            has_mended: AtomicBool::new(false),
            client: client.clone(),
        }
    }

    /// From now on the consumer's rebalances are answered and otherwise ignored.
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    /// A rebalance that began meanwhile may have been answered by it: what is revoked before the next quiet poll may be
    /// another's already.
    pub(super) fn set_mended(&self, has_mended: bool) {
        self.has_mended.store(has_mended, Ordering::Relaxed);
    }

    /// Why the client has to join anew, if it has to.
    pub(super) fn adrift(&self) -> Option<&'static str> {
        self.adrift.get().copied()
    }

    /// Starts an intake for each partition, then lets librdkafka fetch: no record can slip into another queue.
    pub(super) fn assigned(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
    ) -> Result<(), KafkaFault> {
        let shared = &self.shared;
        let id = member_id(consumer);
        if let Group::Member(group) = &shared.group {
            let why = match &id {
                None => Some("the group took this member's id away while it gave it partitions"),
                Some(id) => self.why_not_begin(consumer, group, id, partitions),
            };
            if let Some(why) = why {
                let _ = self.adrift.set(why); // the first reason is as good as a later one
            }
        }
        let notes = match shared.is_expelled(consumer) {
            true => None,
            false => {
                lock(&shared.assignee).assigned(id);
                self.resolve_start(consumer, partitions)?
            }
        };
        if let Some(mut notes) = notes {
            for element in partitions.elements() {
                let tp = TopicPartition::new(element.topic(), element.partition());
                let note = notes.remove(&tp).unwrap_or_default();
                self.start_intake(tp, element.offset().to_raw().unwrap_or(0), note)?;
            }
        }
        consumer
            .incremental_assign(partitions)
            .map_err(KafkaFault::request("taking over partitions"))
    }

    /// A static member that comes back without a rebalance is given what its last life was to get. That life may have
    /// joined with claims to what is another's by then, and librdkafka's assignor believes them: the other is still
    /// finishing. It claims the partitions too, and joins again when it is done.
    fn why_not_begin(
        &self,
        consumer: &BaseConsumer<Self>,
        group: &str,
        id: &str,
        partitions: &TopicPartitionList,
    ) -> Option<&'static str> {
        let is_first = self.is_new.swap(false, Ordering::Relaxed);
        if !is_first || partitions.count() == 0 {
            return None;
        }
        match claimed_by_others(consumer, group, id) {
            Ok(Some(claims)) => partitions
                .elements()
                .iter()
                .any(|e| claims.contains(&TopicPartition::new(e.topic(), e.partition())))
                .then_some("another member may still be finishing what the group gave this one"),
            Ok(None) => Some("the group's members join again while this one begins"),
            Err(cause) => {
                tracing::warn!(%cause, "asking what other members of the consumer group had");
                Some("it is not known what other members of the group had")
            }
        }
    }

    /// Asks until Kafka answers: the member before may have left a transaction that only its timeout decides. An answer
    /// that does not pass by itself is believed after a while: a new topic is not known everywhere at once, but a deleted
    /// one never will be, and meanwhile no other rebalance is served. None: this client never gets an answer any more.
    fn resolve_start(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
    ) -> Result<Option<HashMap<TopicPartition, String>>, KafkaFault> {
        let start = Instant::now();
        let mut nodes = NodeWatch::new(&self.client, start);
        loop {
            match self.shared.start.resolve(
                consumer,
                partitions,
                &self.shared.group,
                &self.shared.begun,
            ) {
                Err(fault @ KafkaFault::Request { .. })
                    if !self.shared.is_closing()
                        && (fault.is_passing() || start.elapsed() < REQUEST_TIMEOUT) =>
                {
                    tracing::warn!(%fault, "it is not known yet where to begin; asking again");
                    if nodes.is_forgotten_by(consumer, self.shared.heard(), Instant::now()) {
                        let _ = self.adrift.set(LOST_ALL_NODES);
                        return Ok(None);
                    }
                    std::thread::sleep(POLL);
                }
                result => return result.map(Some),
            }
        }
    }

    fn start_intake(&self, tp: TopicPartition, start: i64, note: String) -> Result<(), KafkaFault> {
        let shared = &self.shared;
        let Ok(consumer) = shared.consumer() else {
            return Ok(()); // closing
        };
        let queue = consumer
            .split_partition_queue(&tp.topic, tp.partition)
            .ok_or_else(|| KafkaFault::NoTopic(tp.to_string()))?;
        let lane = Lane {
            id: shared.next_lane(),
            tp: tp.clone(),
            start,
            note,
        };
        shared.gate.open(lane.id);
        shared.may_commit(&lane);
        shared.send(FeedEvent::Assigned(lane.clone()));
        let intake = Intake::new(lane.clone(), queue, Arc::clone(shared));
        let thread = intake.spawn().map_err(KafkaFault::no_thread)?;
        lock(&shared.intakes).insert(tp, (lane, thread));
        Ok(())
    }

    pub(super) fn revoked_all(&self, loss: Loss) {
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
        // A client that has lost all nodes never answers a commit, and nobody else looks while this thread waits here.
        let mut nodes = NodeWatch::new(&self.client, Instant::now());
        let wait = || {
            std::thread::sleep(COMMIT_LOOK); // a lock offers no way to wait for some time only
            if let Ok(consumer) = self.shared.consumer()
                && nodes.is_forgotten_by(&consumer, self.shared.heard(), Instant::now())
            {
                nodes = NodeWatch::new(&self.client, Instant::now()); // it is told once more
            }
        };
        let lanes = stopped.iter().map(|(lane, _)| lane);
        self.shared.must_not_commit(lanes, wait);
        for (lane, thread) in stopped {
            // Two threads on one partition's queue would each get a part of it.
            if thread.join().is_err() {
                tracing::error!(lane = %lane.tp, "the intake thread panicked");
            }
        }
    }
}
