//! Kafka as a stranger to Framelane sees it: a client with settings of its own, for the publisher and for the final read.

mod follow;
mod intruder;
mod read;

use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::thread;
use std::time::{Duration, Instant};

pub use follow::{Arrivals, Follower};
pub use intruder::Intruder;

/// The largest record of Framelane, bytes.
const MAX_RECORD_BYTES: &str = "8388608";
/// One request. Kafka may just be coming back.
const REQUEST: Duration = Duration::from_secs(20);

/// For a group's coordinator to move to another node, and between two questions for it.
const MOVE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// A Kafka that the conductor reaches without a proxy in between.
#[derive(Debug, Clone)]
pub struct Client {
    servers: String,
}

impl Client {
    /// A client of these nodes; connects when it is used.
    pub fn new(servers: &str) -> Self {
        Self {
            servers: servers.to_owned(),
        }
    }

    /// What every client of the proof has in common.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.servers)
            .set("client.id", "prove")
            .set("message.max.bytes", MAX_RECORD_BYTES)
            .set("reconnect.backoff.max.ms", "500")
            .set("topic.metadata.refresh.interval.ms", "5000");
        config
    }

    /// A consumer that commits nothing by itself. `isolation` is `read_committed` or `read_uncommitted`.
    fn consumer(&self, group: &str, isolation: &str) -> Result<BaseConsumer> {
        self.config()
            .set("group.id", group)
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("check.crcs", "true")
            .create()
            .context("creating a consumer")
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        self.config().create().context("creating an admin client")
    }

    /// Makes a topic that keeps everything: capture times may be older than any retention.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1))
            .set("max.message.bytes", MAX_RECORD_BYTES)
            .set("retention.ms", "-1")
            .set("message.timestamp.type", "CreateTime");
        let options = AdminOptions::new().operation_timeout(Some(REQUEST));
        let made = wait(self.admin()?.create_topics([&topic], &options))
            .with_context(|| format!("creating topic {name}"))?;
        match made.into_iter().next() {
            Some(Err((_, code))) => bail!("creating topic {name} failed: {code}"),
            _ => Ok(()),
        }
    }

    /// Deletes topics; those that never came to be are no error.
    pub fn delete_topics(&self, names: &[String]) -> Result<()> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let options = AdminOptions::new().operation_timeout(Some(REQUEST));
        let gone = wait(self.admin()?.delete_topics(&names, &options))
            .with_context(|| format!("deleting topics {names:?}"))?;
        for (name, code) in gone.into_iter().filter_map(Result::err) {
            if code != RDKafkaErrorCode::UnknownTopicOrPartition {
                bail!("deleting topic {name} failed: {code}");
            }
        }
        Ok(())
    }

    /// The offset that the group has committed, by partition.
    pub fn committed(&self, group: &str, topic: &str, partitions: i32) -> Result<Vec<Option<i64>>> {
        let consumer = self.consumer(group, "read_committed")?;
        let mut list = TopicPartitionList::new();
        (0..partitions).for_each(|partition| {
            list.add_partition(topic, partition);
        });
        let start = Instant::now();
        let found = loop {
            match consumer.committed_offsets(list.clone(), REQUEST) {
                Err(cause) if has_moved(&cause) && start.elapsed() < MOVE => thread::sleep(PAUSE),
                found => {
                    break found
                        .with_context(|| format!("reading what group {group} has committed"))?;
                }
            }
        };
        let offset = |partition| {
            let element = found.find_partition(topic, partition)?;
            match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            }
        };
        Ok((0..partitions).map(offset).collect())
    }
}

/// A group's coordinator moves when its node is killed, which the client hears of by such an answer.
fn has_moved(cause: &KafkaError) -> bool {
    matches!(
        cause.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress
        )
    )
}

/// Runs one of the client's futures; the client's own threads bring it about.
fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers needs nothing from the system")
        .block_on(future)
}
