//! Partitions of the group that no member has.
//!
//! A rebalance moves a partition in two steps: its owner gives it up and joins again, then it is given to another. A
//! member that dies between the two and comes back under its static name is told what the group had decided last, without a
//! rebalance (KIP-345); the second step never comes, and what was given up has no owner until somebody joins or leaves
//! (seen with Kafka 4.3.1). So a static member looks whether there are such partitions, and if there are, somebody joins and
//! leaves.

use super::TopicPartition;
use super::consumer_protocol::assigned;
use super::group_state::group_state;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaResult;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The first look comes after this time; each further one after twice the time of the one before. While partitions move,
/// they have no owner for as long as theirs takes to finish.
const FIRST_LOOK: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A node that does not answer must not keep the feed's thread from its rebalances.
const ASK: Duration = Duration::from_secs(1);
/// What a visitor waits until the group has taken it in: longer than any rebalance should take.
const VISIT: Duration = Duration::from_secs(30);

/// One life of a member in its group.
pub(super) struct OrphanWatch {
    client: ClientConfig,
    topics: Vec<Pattern>,
    next: Instant,
    pause: Duration,
    /// What had no owner at the last look.
    suspects: BTreeSet<TopicPartition>,
    visitor: Option<JoinHandle<()>>,
}

enum Pattern {
    Name(String),
    Expression(regex_lite::Regex),
}

impl Pattern {
    /// None if it is no regular expression here; the client may know better.
    fn new(topic: &str) -> Option<Self> {
        match topic.starts_with('^') {
            true => regex_lite::Regex::new(topic).ok().map(Self::Expression),
            false => Some(Self::Name(topic.to_owned())),
        }
    }

    fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Name(name) => name == topic,
            Self::Expression(expression) => expression.is_match(topic),
        }
    }
}

impl OrphanWatch {
    /// For a member that reads these topics with this configuration. None for a dynamic member: when one dies, a
    /// rebalance follows.
    pub(super) fn new(client: &ClientConfig, topics: &[String], now: Instant) -> Option<Self> {
        client.get("group.instance.id")?;
        Some(Self {
            client: client.clone(),
            topics: topics
                .iter()
                .filter_map(|topic| Pattern::new(topic))
                .collect(),
            next: now + FIRST_LOOK,
            pause: FIRST_LOOK,
            suspects: BTreeSet::new(),
            visitor: None,
        })
    }

    /// Looks if it is time to, and has somebody join and leave if the same partitions had no owner twice in a row.
    pub(super) fn look<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>, now: Instant) {
        if now < self.next
            || self
                .visitor
                .as_ref()
                .is_some_and(|visit| !visit.is_finished())
        {
            return;
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.next = now + self.pause;
        let found = match self.orphans(consumer) {
            Ok(found) => found,
            Err(cause) => {
                tracing::debug!(%cause, "looking for partitions that nobody reads");
                return;
            }
        };
        let remain: Vec<_> = found
            .intersection(&self.suspects)
            .map(ToString::to_string)
            .collect();
        if remain.is_empty() {
            self.suspects = found;
            return;
        }
        tracing::warn!(
            partitions = remain.join(", "),
            "no member of the group reads them, and no rebalance is under way; asking for one"
        );
        self.suspects.clear();
        self.pause = FIRST_LOOK;
        self.visit();
    }

    fn orphans<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
    ) -> KafkaResult<BTreeSet<TopicPartition>> {
        let id = self.client.get("group.id").unwrap_or_default();
        let group = group_state(consumer, id, ASK)?;
        let Some(group) = group.filter(|group| group.is_stable) else {
            return Ok(BTreeSet::new()); // a rebalance is under way: that is all that could be asked for
        };
        let mut orphans = BTreeSet::new();
        for topic in consumer.fetch_metadata(None, ASK)?.topics() {
            if self
                .topics
                .iter()
                .any(|pattern| pattern.matches(topic.name()))
            {
                let partitions = topic.partitions().iter();
                orphans.extend(partitions.map(|one| TopicPartition::new(topic.name(), one.id())));
            }
        }
        for member in &group.members {
            let bytes = member.assignment.as_slice();
            match assigned(bytes) {
                Some(owned) => orphans.retain(|one| !owned.contains(one)),
                None if bytes.is_empty() => {}      // it has nothing
                None => return Ok(BTreeSet::new()), // a consumer of another kind: what it reads is not known
            }
        }
        Ok(orphans)
    }

    /// A member without a name joins and leaves, which makes the group share its partitions out anew, twice. On a thread
    /// of its own, because we have to join again for it to be taken in.
    fn visit(&mut self) {
        let mut client = self.client.clone();
        client.remove("group.instance.id");
        let topics: Vec<String> = self.topics.iter().map(Pattern::to_string).collect();
        let visit = move || {
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            let visited = client
                .create_with_context::<_, BaseConsumer<Visitor>>(Visitor::default())
                .and_then(|visitor| {
                    visitor.subscribe(&names)?;
                    let start = Instant::now();
                    while !visitor.context().was_taken_in() && start.elapsed() < VISIT {
                        visitor.poll(super::reader::POLL);
                    }
                    Ok(()) // dropping it leaves the group
                });
            if let Err(cause) = visited {
                tracing::warn!(%cause, "asking for a rebalance");
            }
        };
        match std::thread::Builder::new()
            .name("visitor".to_owned())
            .spawn(visit)
        {
            Ok(thread) => self.visitor = Some(thread),
            Err(cause) => tracing::warn!(%cause, "asking for a rebalance needs a thread"),
        }
    }
}

impl Drop for OrphanWatch {
    fn drop(&mut self) {
        if let Some(visitor) = self.visitor.take() {
            // A panic there is in the log.
            let _ = visitor.join();
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Expression(expression) => f.write_str(expression.as_str()),
        }
    }
}

/// Sees whether the group has answered its join.
#[derive(Default)]
struct Visitor {
    taken_in: AtomicBool,
}

impl Visitor {
    fn was_taken_in(&self) -> bool {
        self.taken_in.load(Ordering::Relaxed)
    }
}

impl ClientContext for Visitor {}

impl ConsumerContext for Visitor {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.taken_in.store(true, Ordering::Relaxed);
    }
}
