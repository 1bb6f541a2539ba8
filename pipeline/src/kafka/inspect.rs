//! A look at a cluster as it is: settings, topics, groups, transactions. Changes nothing.

use super::lookup::Quiet;
use super::{KafkaConfig, KafkaFault, TopicPartition};
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings by Kafka's names. Secrets have no value here.
pub type Settings = BTreeMap<String, String>;

/// For one answer: whoever looks is a person who waits.
const ANSWER: Duration = Duration::from_secs(10);

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: i32,
    /// HOST:PORT.
    pub address: String,
}

/// A topic and who has its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    pub name: String,
    pub partitions: Vec<PartitionState>,
}

/// One partition; nodes by their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    pub id: i32,
    /// Negative: none at present.
    pub leader: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    pub name: String,
    /// In Kafka's words: Stable, Empty, PreparingRebalance, CompletingRebalance, Dead; may be empty.
    pub state: String,
    pub members: Vec<Member>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub client: String,
    pub host: String,
}

/// Asks. Every call blocks.
pub struct Inspector {
    config: KafkaConfig,
    admin: AdminClient<DefaultClientContext>,
    committed: BaseConsumer<Quiet>,
    /// Sees records of transactions that are not decided yet.
    undecided: BaseConsumer<Quiet>,
}

impl std::fmt::Debug for Inspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspector").finish_non_exhaustive()
    }
}

impl Inspector {
    /// Connects when something is asked.
    pub fn new(config: &KafkaConfig) -> Result<Self, KafkaFault> {
        let consumer = |level: &str| {
            config
                .consumer()
                .set("isolation.level", level)
                .create_with_context(Quiet)
                .map_err(KafkaFault::request("creating a consumer"))
        };
        Ok(Self {
            config: config.clone(),
            admin: config
                .client()
                .create()
                .map_err(KafkaFault::request("creating an admin client"))?,
            committed: consumer("read_committed")?,
            undecided: consumer("read_uncommitted")?,
        })
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> Result<Vec<Node>, KafkaFault> {
        let metadata = self
            .committed
            .fetch_metadata(Some(super::forgotten::PROBE), ANSWER)
            .map_err(KafkaFault::request("asking for the nodes"))?;
        let mut nodes: Vec<Node> = metadata
            .brokers()
            .iter()
            .map(|node| Node {
                id: node.id(),
                address: format!("{}:{}", node.host(), node.port()),
            })
            .collect();
        nodes.sort_by_key(|node| node.id);
        Ok(nodes)
    }

    /// All topics that do not belong to Kafka itself, by name.
    pub fn topics(&self) -> Result<Vec<TopicState>, KafkaFault> {
        let metadata = self
            .committed
            .fetch_metadata(None, ANSWER)
            .map_err(KafkaFault::request("listing topics"))?;
        let ours = metadata.topics().iter();
        let mut topics: Vec<TopicState> = ours
            .filter(|topic| !topic.name().starts_with("__"))
            .map(|topic| TopicState {
                name: topic.name().to_owned(),
                partitions: topic.partitions().iter().map(partition).collect(),
            })
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// What a node is set to.
    pub fn node_settings(&self, id: i32) -> Result<Settings, KafkaFault> {
        self.settings(
            &ResourceSpecifier::Broker(id),
            format!("reading the settings of node {id}"),
        )
    }

    /// What a topic is set to.
    pub fn topic_settings(&self, name: &str) -> Result<Settings, KafkaFault> {
        let doing = format!("reading the settings of topic {name}");
        self.settings(&ResourceSpecifier::Topic(name), doing)
    }

    fn settings(&self, of: &ResourceSpecifier<'_>, doing: String) -> Result<Settings, KafkaFault> {
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let request = self.admin.describe_configs([of], &options);
        let described =
            futures::executor::block_on(request).map_err(KafkaFault::request(doing.clone()))?;
        match described.into_iter().next() {
            Some(Ok(resource)) => Ok(resource
                .entries
                .into_iter()
                .filter_map(|entry| Some((entry.name, entry.value?)))
                .collect()),
            Some(Err(code)) => Err(KafkaFault::Failed(format!("{doing} failed: {code}"))),
            None => Err(KafkaFault::Failed(format!("{doing} failed: no answer"))),
        }
    }

    /// All consumer groups, by name.
    pub fn groups(&self) -> Result<Vec<GroupState>, KafkaFault> {
        let list = self
            .committed
            .fetch_group_list(None, ANSWER)
            .map_err(KafkaFault::request("listing consumer groups"))?;
        let mut groups: Vec<GroupState> = list
            .groups()
            .iter()
            .map(|group| GroupState {
                name: group.name().to_owned(),
                state: group.state().to_owned(),
                members: group
                    .members()
                    .iter()
                    .map(|member| Member {
                        id: member.id().to_owned(),
                        client: member.client_id().to_owned(),
                        host: member.client_host().to_owned(),
                    })
                    .collect(),
            })
            .collect();
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }

    /// What a group has committed, of those of these partitions where it has.
    pub fn committed(
        &self,
        group: &str,
        lanes: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, i64)>, KafkaFault> {
        let doing = || format!("reading what group {group} has committed");
        let consumer: BaseConsumer<Quiet> = self
            .config
            .consumer()
            .set("group.id", group)
            .create_with_context(Quiet)
            .map_err(KafkaFault::request(doing()))?;
        let mut list = TopicPartitionList::new();
        for lane in lanes {
            list.add_partition(&lane.topic, lane.partition);
        }
        let answer = consumer
            .committed_offsets(list, ANSWER)
            .map_err(KafkaFault::request(doing()))?;
        let known = answer
            .elements()
            .into_iter()
            .filter_map(|one| match one.offset() {
                Offset::Offset(offset) => {
                    Some((TopicPartition::new(one.topic(), one.partition()), offset))
                }
                _ => None,
            });
        Ok(known.collect())
    }

    /// Where readers of committed records end, and where the partition ends: between them are transactions that are not
    /// decided yet.
    pub fn ends(&self, lane: &TopicPartition) -> Result<(i64, i64), KafkaFault> {
        let end = |consumer: &BaseConsumer<Quiet>| -> Result<i64, KafkaError> {
            let (_, end) = consumer.fetch_watermarks(&lane.topic, lane.partition, ANSWER)?;
            Ok(end)
        };
        // The committed end first: it only grows, so it is never ahead.
        let ends =
            end(&self.committed).and_then(|committed| Ok((committed, end(&self.undecided)?)));
        ends.map_err(KafkaFault::request(format!("reading the ends of {lane}")))
    }
}

fn partition(partition: &rdkafka::metadata::MetadataPartition) -> PartitionState {
    PartitionState {
        id: partition.id(),
        leader: partition.leader(),
        replicas: partition.replicas().to_vec(),
        in_sync: partition.isr().to_vec(),
    }
}
