//! The feed's own thread: joins the group, serves its rebalances, and joins anew when the group has expelled it.
//!
//! A member can be expelled without being told: a static member that was away for longer than its session gets a new
//! member id and goes on as if nothing had happened, while another member has worked on its partitions. So the id is
//! compared whenever it matters; a changed one means that every lane is lost.

use super::access::Access;
use super::feed::{FeedEvent, Lane};
use super::forgotten::{LOST_ALL_NODES, NodeWatch, PROBE};
use super::member_id::member_id;
use super::orphans::OrphanWatch;
use super::rebalance::{FeedContext, Loss};
use super::shared::{Shared, lock};
use super::start::{Position, resolve_position};
use super::{KafkaFault, TopicPartition};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The rhythm in which the thread looks for rebalances and for the end.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// Being fenced more often than this within a minute means that two instances drive each other out.
const MOST_FENCES_A_MINUTE: usize = 5;

/// A member that the group has not taken in after this time starts anew: far more than a rebalance takes in which all
/// others finish their work first.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);

/// What is read.
#[derive(Debug, Clone)]
pub(super) enum Subscription {
    /// This member's share of these topics.
    Topics(Vec<String>),
    /// These, without a group.
    Partitions(Vec<TopicPartition>),
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
    /// Other topics are wanted.
    Redirected,
    /// The group no longer knows this member, which was away for too long; the text says how it showed.
    Expelled(KafkaFault),
    /// Another member has its name, or had it for a moment.
    Fenced(KafkaFault),
    Failed(KafkaFault),
}

/// When this member was fenced, within the last minute. A session that ended because Kafka was away is none: it may be
/// away again and again.
#[derive(Default)]
struct Fences(Vec<Instant>);

impl Fences {
    /// Counts one more.
    fn are_too_many(&mut self, now: Instant) -> bool {
        self.0
            .retain(|fence| now.duration_since(*fence) < Duration::from_secs(60));
        self.0.push(now);
        self.0.len() > MOST_FENCES_A_MINUTE
    }
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

    pub(super) fn spawn(self) -> Result<JoinHandle<()>, KafkaFault> {
        std::thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || {
                let _end = EndOfEvents(Arc::clone(&self.shared));
                self.run();
            })
            .map_err(KafkaFault::no_thread)
    }

    fn run(mut self) {
        let mut fences = Fences::default();
        loop {
            let end = self.begin().map_or_else(|end| end, |()| self.serve());
            let fault = match end {
                End::Closed => return self.leave(),
                End::Redirected => match self.redirect() {
                    Ok(()) => continue,
                    Err(fault) => fault,
                },
                End::Failed(fault) => fault,
                End::Fenced(fault) if fences.are_too_many(Instant::now()) => fault,
                End::Expelled(fault) | End::Fenced(fault) => {
                    tracing::warn!(%fault, "beginning anew with a new client");
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

    fn begin(&self) -> Result<(), End> {
        match &self.subscription {
            Subscription::Topics(topics) if topics.is_empty() => Ok(()),
            Subscription::Topics(topics) => {
                self.wait_for_kafka()?;
                let names: Vec<&str> = topics.iter().map(String::as_str).collect();
                self.consumer
                    .subscribe(&names)
                    .map_err(KafkaFault::request(format!("subscribing to {names:?}")))
                    .map_err(End::Failed)
            }
            Subscription::Partitions(partitions) => {
                let mut list = TopicPartitionList::new();
                for lane in partitions {
                    list.add_partition(&lane.topic, lane.partition);
                }
                let context = self.consumer.context();
                let assigned = context.assigned(&self.consumer, &mut list);
                assigned.map_err(End::Failed)?;
                // Nothing was read yet, so another client can begin in its place.
                match context.adrift() {
                    None => Ok(()),
                    Some(why) => Err(End::Expelled(KafkaFault::Failed(why.to_owned()))),
                }
            }
        }
    }

    /// Joining only begins when Kafka answers: a client that joins while nothing answers can lose its first connection
    /// and never make another (seen with librdkafka 2.12 and a node that stalled). One that has lost all nodes while it waits
    /// never gets an answer either: another takes its place.
    fn wait_for_kafka(&self) -> Result<(), End> {
        const ASK: Duration = Duration::from_secs(2);
        let mut nodes = NodeWatch::new(&self.client, Instant::now());
        while !self.shared.is_closing() {
            match self.consumer.fetch_metadata(Some(PROBE), ASK) {
                Ok(_) => break,
                Err(cause) => tracing::warn!(%cause, "waiting for Kafka before joining the group"),
            }
            if nodes.is_forgotten_by(&self.consumer, self.shared.heard(), Instant::now()) {
                return Err(self.end_of_a_lost_client());
            }
        }
        Ok(())
    }

    /// Serves rebalances and errors until closed or expelled.
    fn serve(&self) -> End {
        let start = Instant::now();
        let mut orphans = match &self.subscription {
            Subscription::Topics(topics) => OrphanWatch::new(&self.client, topics, start),
            Subscription::Partitions(_) => None,
        };
        let mut nodes = NodeWatch::new(&self.client, start);
        while !self.shared.is_closing() {
            match self.consumer.poll(POLL) {
                None => self.consumer.context().set_mended(false),
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Ok(message)) => {
                    let (topic, partition) = (message.topic(), message.partition());
                    // Unless this consumer is to be replaced anyway, this would be a lost record.
                    if !self.shared.is_expelled(&self.consumer) {
                        return End::Failed(KafkaFault::Failed(format!(
                            "a record of {topic}[{partition}] came outside of its partition's queue"
                        )));
                    }
                }
                Some(Err(cause)) => match self.consequence(cause) {
                    None => {}
                    Some(end) => return end,
                },
            }
            self.mend_overtaken();
            if let Some(orphans) = &mut orphans {
                orphans.look(&self.consumer, Instant::now());
            }
            if nodes.is_forgotten_by(&self.consumer, self.shared.heard(), Instant::now()) {
                return self.end_of_a_lost_client();
            }
            if start.elapsed() >= JOIN_PATIENCE && self.has_not_joined() {
                let why = format!("the group did not take this member in within {JOIN_PATIENCE:?}");
                return End::Expelled(KafkaFault::Failed(why));
            }
            if self.may_redirect() {
                return End::Redirected;
            }
            if let Some(why) = lock(&self.shared.doubt).take() {
                return End::Fenced(KafkaFault::Failed(why)); // if it repeats, two work under one name
            }
            if self.shared.is_expelled(&self.consumer) {
                let new_id = "the group gave this member a new id: its session had ended";
                let why = self.consumer.context().adrift().unwrap_or(new_id);
                return End::Expelled(KafkaFault::Failed(why.to_owned()));
            }
        }
        End::Closed
    }

    /// Another client takes its place, unless nobody but the reader of these events knows where it would go on.
    fn end_of_a_lost_client(&self) -> End {
        let why = LOST_ALL_NODES;
        match self.subscription {
            Subscription::Topics(_) => End::Expelled(KafkaFault::Failed(why.to_owned())),
            Subscription::Partitions(_) => {
                let what_to_do = "start again; with --group it goes on by itself";
                End::Failed(KafkaFault::Failed(format!("{why}: {what_to_do}")))
            }
        }
    }

    /// False too while there may be nothing to join for: a pattern that no topic matches yet.
    fn has_not_joined(&self) -> bool {
        match &self.subscription {
            Subscription::Topics(topics) if topics.is_empty() => false,
            Subscription::Topics(topics) if !topics.iter().any(|topic| topic.starts_with('^')) => {
                member_id(&self.consumer).is_none()
            }
            _ => false,
        }
    }

    fn reads_nothing(&self) -> bool {
        matches!(&self.subscription, Subscription::Topics(topics) if topics.is_empty())
    }

    /// A client whose first join still waits for metadata stops the process when its topics change (an assertion of
    /// librdkafka 2.12): one that has joined takes the change, or keeps it until the rebalance under way is over.
    fn may_redirect(&self) -> bool {
        let has_joined = || self.reads_nothing() || member_id(&self.consumer).is_some();
        lock(&self.shared.redirection).is_some() && has_joined()
    }

    /// The topics of the next [`Reader::begin`]. With none the group is left: a subscription to nothing is none.
    fn redirect(&mut self) -> Result<(), KafkaFault> {
        let Some(topics) = lock(&self.shared.redirection).take() else {
            return Ok(());
        };
        tracing::info!(?topics, "reading other topics");
        if topics.is_empty() && !self.reads_nothing() {
            self.leave_group();
            self.consumer.context().retire();
            lock(&self.shared.assignee).assigned(None);
            self.consumer = new_consumer(&self.client, &self.shared)?;
        }
        self.get_to_know(&topics);
        self.subscription = Subscription::Topics(topics);
        Ok(())
    }

    /// A client that has yet to hear of one of the topics takes those that it is to read no more for deleted: they would be
    /// lost rather than given back in order. If Kafka does not answer now, that is what happens.
    fn get_to_know(&self, topics: &[String]) {
        const ASK: Duration = Duration::from_secs(2);
        let mut names = topics.iter().filter(|topic| !topic.starts_with('^'));
        names.all(|topic| self.consumer.fetch_metadata(Some(topic), ASK).is_ok());
    }

    /// Every lane is another's now. A new consumer has no memory of them.
    fn join_anew(&mut self) -> Result<(), KafkaFault> {
        /// A member that waits for another's work looks again after this time.
        const PAUSE: Duration = Duration::from_millis(250);
        let old = self.consumer.context();
        if old.adrift().is_some() {
            std::thread::sleep(PAUSE);
        }
        old.retire();
        old.revoked_all(Loss::Lost);
        lock(&self.shared.assignee).assigned(None);
        self.consumer = new_consumer(&self.client, &self.shared)?;
        if let Some(topics) = lock(&self.shared.redirection).take() {
            self.subscription = Subscription::Topics(topics);
        }
        Ok(())
    }

    fn leave(self) {
        match self.subscription {
            Subscription::Partitions(_) => self.consumer.context().revoked_all(Loss::Orderly),
            Subscription::Topics(_) => self.leave_group(),
        }
    }

    fn leave_group(&self) {
        if let Err(cause) = self.consumer.close_queue() {
            tracing::warn!(%cause, "leaving the consumer group failed");
            return self.consumer.context().revoked_all(Loss::Lost);
        }
        while !self.consumer.closed() {
            self.consumer.poll(POLL);
        }
    }

    /// Retention may remove records that were not read yet: say so and go on behind them. Between two polls of this
    /// thread, because (un)assigning inside of a rebalance would be taken for the answer to it. A rebalance that the client
    /// knows of already and has not told yet is answered so all the same: hence `set_mended`.
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
            let tp = &lane.tp;
            let fault = match resolve_position(&*self.consumer, tp, Position::Earliest) {
                Ok(low) => match self.go_on_at(&lane, position, low) {
                    Ok(()) => continue,
                    Err(fault) => fault,
                },
                // Retention goes on while Kafka does not answer.
                Err(fault) if fault.is_passing() => {
                    tracing::warn!(%fault, lane = %tp, "it is not known yet where to go on; asking again");
                    self.shared.report_overtaken(lane, position);
                    continue;
                }
                Err(fault) => fault,
            };
            self.shared.send(FeedEvent::Failed(fault));
        }
    }

    /// What an error of the group means; None if librdkafka goes on by itself.
    fn consequence(&self, cause: KafkaError) -> Option<End> {
        let code = cause.rdkafka_error_code();
        let is_fatal = matches!(cause, KafkaError::MessageConsumptionFatal(_));
        let needs = self.needs();
        let fault = KafkaFault::request_with(&needs, "reading as a member of the group");
        match code {
            // A join that had to be repeated can fence its own first try, so this need not be another instance.
            Some(RDKafkaErrorCode::FencedInstanceId) => Some(End::Fenced(fault(cause))),
            // The client looks its group up even where nobody joins it.
            Some(RDKafkaErrorCode::GroupAuthorizationFailed)
                if matches!(self.subscription, Subscription::Partitions(_)) =>
            {
                None
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::InconsistentGroupProtocol,
            ) => Some(End::Failed(fault(cause))),
            _ if is_fatal => Some(End::Fenced(fault(cause))),
            _ => {
                tracing::warn!(%cause, "Kafka reports a problem; going on");
                None
            }
        }
    }

    /// What must be allowed to read as this member.
    fn needs(&self) -> Vec<Access> {
        let group = self.client.get("group.id").unwrap_or_default();
        let topics = match &self.subscription {
            Subscription::Topics(topics) => topics.join(", "),
            Subscription::Partitions(lanes) => lanes
                .first()
                .map(|lane| lane.topic.to_string())
                .unwrap_or_default(),
        };
        vec![Access::to_group(group), Access::to_topic("Read", &topics)]
    }

    /// `low` is the first offset that there is, `position` the one that was to be read next.
    fn go_on_at(&self, lane: &Lane, position: i64, low: i64) -> Result<(), KafkaFault> {
        let tp = &lane.tp;
        if low <= position {
            // The position lies beyond the end: the topic was emptied or made anew under the group's feet.
            return Err(KafkaFault::Failed(format!(
                "{tp} has no offset {position}, only from {low} on: was the topic deleted and made anew? Use another \
                 --group or reset this one's offsets, and give file sinks another output (their progress files are of the \
                 old topic)"
            )));
        }
        self.shared.gate.take(lane.id, 0); // the gap takes a slot like a record
        // Before the first record behind the gap can come.
        self.shared.send(FeedEvent::Expired {
            lane: lane.id,
            from: position,
            to: low,
        });
        self.consumer.context().set_mended(true);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&tp.topic, tp.partition, Offset::Offset(low))
            .and_then(|()| self.consumer.incremental_unassign(&list))
            .and_then(|()| self.consumer.incremental_assign(&list))
            .map_err(KafkaFault::request(format!(
                "going on in {tp} at offset {low}"
            )))
    }
}

fn new_consumer(
    client: &ClientConfig,
    shared: &Arc<Shared>,
) -> Result<Arc<BaseConsumer<FeedContext>>, KafkaFault> {
    let context = FeedContext::new(Arc::clone(shared), client);
    let consumer = BaseConsumer::from_config_and_context(client, context)
        .map(Arc::new)
        .map_err(KafkaFault::request("creating a consumer"))?;
    *lock(&shared.consumer) = Arc::downgrade(&consumer);
    Ok(consumer)
}

/// Ends the stream however the feed thread ends, by a panic too.
struct EndOfEvents(Arc<Shared>);

impl Drop for EndOfEvents {
    fn drop(&mut self) {
        // An error means that nobody listens.
        let _ = self.0.events.blocking_send(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_are_too_many_only_within_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seldom = Fences::default();
        assert!((0..20).all(|n| !seldom.are_too_many(at(12 * n))));
        let mut often = Fences::default();
        assert!((0..5).all(|n| !often.are_too_many(at(n))));
        assert!(often.are_too_many(at(5)));
    }
}
