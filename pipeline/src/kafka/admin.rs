//! Topics: made with explicit settings, checked before use.

use super::MAX_RECORD_BYTES;
use super::access::{Access, Resource, denied};
use super::feed::offset_list;
use super::handshake::{Patience, Witness};
use super::start::{REQUEST_TIMEOUT, patiently};
use super::transaction::TRANSACTION_TIMEOUT;
use super::{KafkaConfig, KafkaFault, TopicPartition};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The largest number that Kafka takes for a time in milliseconds.
const ANY_TIME: &str = "9223372036854775807";

/// Settings of a topic that is to be made.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    /// The topic's name.
    pub name: String,
    /// At least 1. One source always stays in one partition (unless it is spread).
    pub partitions: i32,
    /// Copies of each partition; None: the cluster's default.
    pub replication: Option<i32>,
    /// How long records are kept; None: the cluster's default.
    pub retention: Option<Duration>,
    /// Keep only the newest record of each key.
    pub compacted: bool,
    /// More settings, by Kafka's names; they win over what follows from the other fields.
    pub settings: Vec<(&'static str, &'static str)>,
}

impl TopicSpec {
    /// A topic for frames with the cluster's defaults for copies and retention.
    pub fn frames(name: &str, partitions: i32) -> Self {
        Self {
            name: name.to_owned(),
            partitions,
            replication: None,
            retention: None,
            compacted: false,
            settings: Vec::new(),
        }
    }
}

/// What Kafka says of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The topic's name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
}

/// Requests about topics. Every call blocks.
pub struct Admin {
    client: AdminClient<DefaultClientContext>,
    reader: BaseConsumer<Witness>,
    /// Sees records of transactions that are not decided yet.
    undecided_reader: BaseConsumer,
    servers: String,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// Connects; fails with [`KafkaFault::Unreachable`] if no node answers in time, and with [`KafkaFault::Refused`],
    /// sooner, if one side does not let the other in.
    pub fn connect(config: &KafkaConfig) -> Result<Self, KafkaFault> {
        let client = config
            .client()
            .create()
            .map_err(KafkaFault::request("creating an admin client"))?;
        let reader = Witness::listen(&mut config.consumer())
            .create_with_context(Witness::default())
            .map_err(KafkaFault::request("creating a consumer"))?;
        let undecided_reader = config
            .consumer()
            .set("isolation.level", "read_uncommitted")
            .create()
            .map_err(KafkaFault::request("creating a consumer"))?;
        let servers = config.bootstrap_servers().to_owned();
        tracing::info!(servers, "connecting to Kafka");
        wait_for_answer(config, &reader)?;
        Ok(Self {
            client,
            reader,
            undecided_reader,
            servers,
        })
    }

    /// The topic, or None if it does not exist.
    pub fn topic(&self, name: &str) -> Result<Option<TopicInfo>, KafkaFault> {
        let metadata = self
            .reader
            .fetch_metadata(Some(name), REQUEST_TIMEOUT)
            .map_err(KafkaFault::request(format!("asking for topic {name}")))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == name);
        let code = topic
            .and_then(MetadataTopic::error)
            .map(RDKafkaErrorCode::from);
        if let Some(fault) = denied(code, &[Access::to_topic("Describe", name)]) {
            return Err(fault);
        }
        Ok(topic
            .filter(|topic| topic.error().is_none() && !topic.partitions().is_empty())
            .map(|topic| TopicInfo {
                name: name.to_owned(),
                partitions: topic.partitions().len() as i32,
            }))
    }

    /// The names of all topics that do not belong to Kafka itself.
    pub fn topic_names(&self) -> Result<Vec<String>, KafkaFault> {
        let metadata = self
            .reader
            .fetch_metadata(None, REQUEST_TIMEOUT)
            .map_err(KafkaFault::request("listing topics"))?;
        let names = metadata
            .topics()
            .iter()
            .map(|topic| topic.name().to_owned());
        Ok(names.filter(|name| !name.starts_with("__")).collect())
    }

    /// The partitions of a topic that must exist, or come to exist soon: its maker may just be starting.
    pub fn partitions_soon(&self, name: &str) -> Result<Vec<TopicPartition>, KafkaFault> {
        const PATIENCE: Duration = Duration::from_secs(5);
        const LOOK_AGAIN: Duration = Duration::from_millis(200);
        let start = Instant::now();
        if self.topic(name)?.is_none() {
            tracing::info!(
                topic = name,
                "the topic does not exist yet; waiting a little"
            );
        }
        while self.topic(name)?.is_none() && start.elapsed() < PATIENCE {
            std::thread::sleep(LOOK_AGAIN); // Kafka offers no way to be told
        }
        self.partitions(name)
    }

    /// The partitions of a topic that must exist.
    pub fn partitions(&self, name: &str) -> Result<Vec<TopicPartition>, KafkaFault> {
        let topic = self
            .topic(name)?
            .ok_or_else(|| KafkaFault::NoTopic(name.to_owned()))?;
        Ok((0..topic.partitions)
            .map(|partition| TopicPartition::new(name, partition))
            .collect())
    }

    /// The topic, made with these settings unless it exists. Existing topics are left as they are.
    pub fn ensure_topic(&self, spec: &TopicSpec) -> Result<TopicInfo, KafkaFault> {
        if let Some(found) = self.topic(&spec.name)? {
            return Ok(found);
        }
        let settings = settings(spec);
        let replication = TopicReplication::Fixed(spec.replication.unwrap_or(-1));
        let topic = NewTopic::new(&spec.name, spec.partitions, replication);
        let topic = settings
            .iter()
            .fold(topic, |topic, (name, value)| topic.set(name, value));
        let doing = format!("creating topic {}", spec.name);
        let options = AdminOptions::new().operation_timeout(Some(REQUEST_TIMEOUT));
        let outcome = futures::executor::block_on(self.client.create_topics([&topic], &options))
            .map_err(KafkaFault::request(doing.clone()))?;
        match outcome.into_iter().next() {
            Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
                let fault = denied(Some(code), &[Access::to_topic("Create", &spec.name)]);
                let other = || KafkaFault::Failed(format!("{doing} failed: {code}"));
                return Err(fault.unwrap_or_else(other));
            }
            _ => {}
        }
        self.wait_for_topic(&spec.name)
    }

    /// A new topic's leaders are known to a node a moment after the request that made it.
    fn wait_for_topic(&self, name: &str) -> Result<TopicInfo, KafkaFault> {
        const LOOK_AGAIN: Duration = Duration::from_millis(20);
        let tries = REQUEST_TIMEOUT.as_millis() / LOOK_AGAIN.as_millis();
        for _ in 0..tries {
            if let Some(topic) = self.topic(name)? {
                return Ok(topic);
            }
            std::thread::sleep(LOOK_AGAIN); // Kafka offers no way to be told
        }
        Err(KafkaFault::NoTopic(name.to_owned()))
    }

    /// Refuses a topic whose records may not be as large as ours.
    pub fn check_record_limit(&self, name: &str) -> Result<(), KafkaFault> {
        const KEY: &str = "max.message.bytes";
        let resource = [ResourceSpecifier::Topic(name)];
        let request = self
            .client
            .describe_configs(&resource, &AdminOptions::new());
        let described = futures::executor::block_on(request).map_err(KafkaFault::request(
            format!("reading the settings of topic {name}"),
        ))?;
        let limit = described
            .into_iter()
            .filter_map(Result::ok)
            .find_map(|resource| resource.get(KEY)?.value.clone()?.parse::<usize>().ok());
        match limit {
            Some(limit) if limit < MAX_RECORD_BYTES => Err(KafkaFault::Unfit(format!(
                "topic {name} takes records of at most {limit} bytes, frames may have {MAX_RECORD_BYTES}: a large frame \
                 would be refused half-way. Set {KEY}={MAX_RECORD_BYTES} on it, e.g. kafka-configs.sh \
                 --bootstrap-server {} --alter --entity-type topics --entity-name {name} --add-config \
                 {KEY}={MAX_RECORD_BYTES}",
                self.servers
            ))),
            Some(_) => Ok(()),
            // The client tells no errors of single topics.
            None => {
                let why = KafkaFault::Denied {
                    operation: "DescribeConfigs",
                    resource: Resource::Topic(name.to_owned()),
                };
                tracing::warn!(topic = name, %why, "it is not known whether the topic takes frames of every size");
                Ok(())
            }
        }
    }

    /// The first offset still kept and the offset after the newest record.
    pub fn ends(&self, lane: &TopicPartition) -> Result<(i64, i64), KafkaFault> {
        patiently(|| {
            self.reader
                .fetch_watermarks(&lane.topic, lane.partition, REQUEST_TIMEOUT)
        })
        .map_err(KafkaFault::request_with(
            &[Access::to_topic("Describe", &lane.topic)],
            format!("reading the ends of {lane}"),
        ))
    }

    /// The offset after the newest record, once every transaction that has written before it is decided: readers of
    /// committed records see all there is up to here. A transaction that died undecided delays this until it times out.
    pub fn settled_end(&self, lane: &TopicPartition) -> Result<i64, KafkaFault> {
        const LOOK_AGAIN: Duration = Duration::from_millis(20);
        let doing = || format!("reading the ends of {lane}");
        let reader = &self.undecided_reader;
        let ask = || reader.fetch_watermarks(&lane.topic, lane.partition, REQUEST_TIMEOUT);
        let (_, end) = patiently(ask).map_err(KafkaFault::request_with(
            &[Access::to_topic("Describe", &lane.topic)],
            doing(),
        ))?;
        let start = Instant::now();
        while start.elapsed() < 2 * TRANSACTION_TIMEOUT {
            if self.ends(lane)?.1 >= end {
                return Ok(end);
            }
            std::thread::sleep(LOOK_AGAIN); // Kafka offers no way to be told
        }
        Err(KafkaFault::Failed(format!(
            "a transaction in {lane} stays undecided for longer than {:?}: end its writer, or abort it with \
             kafka-transactions.sh",
            2 * TRANSACTION_TIMEOUT
        )))
    }

    /// Removes the records before this offset, as retention does in time.
    pub fn delete_records_before(
        &self,
        lane: &TopicPartition,
        offset: i64,
    ) -> Result<(), KafkaFault> {
        let offsets = offset_list(&[(lane.clone(), offset)]);
        let request = self.client.delete_records(&offsets, &AdminOptions::new());
        futures::executor::block_on(request)
            .map(drop)
            .map_err(KafkaFault::request(format!(
                "deleting records of {lane} before {offset}"
            )))
    }
}

/// What a topic is made with.
fn settings(spec: &TopicSpec) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::from([
        ("max.message.bytes", MAX_RECORD_BYTES.to_string()),
        // Times in records are capture times: a file may be older than any bound, and a camera's clock may be ahead.
        // Kafka's own bound of an hour ahead would end such a source.
        ("message.timestamp.type", "CreateTime".to_owned()),
        ("message.timestamp.before.max.ms", ANY_TIME.to_owned()),
        ("message.timestamp.after.max.ms", ANY_TIME.to_owned()),
    ]);
    if let Some(retention) = spec.retention {
        settings.insert("retention.ms", retention.as_millis().to_string());
    }
    if spec.compacted {
        settings.insert("cleanup.policy", "compact".to_owned());
    }
    let more = spec.settings.iter();
    settings.extend(more.map(|(name, value)| (*name, (*value).to_owned())));
    settings
}

/// Asks until a node answers, a refusal is certain, or the time is over.
fn wait_for_answer(config: &KafkaConfig, reader: &BaseConsumer<Witness>) -> Result<(), KafkaFault> {
    const FIRST_ASK: Duration = Duration::from_secs(1);
    const NEXT: Duration = Duration::from_millis(50);
    /// Failures may come as fast as they are heard.
    const HEAR: Duration = Duration::from_millis(200);
    let start = Instant::now();
    let mut ask = FIRST_ASK;
    loop {
        let Err(cause) = reader.fetch_metadata(Some("framelane-probe"), ask) else {
            return Ok(());
        };
        ask *= 2; // a certain refusal is heard soon, and a slow answer has its time
        // The reasons for failed connections come by polling.
        let heard = Instant::now();
        while heard.elapsed() < HEAR && reader.poll(NEXT).is_some() {}
        let patience = match start.elapsed() < REQUEST_TIMEOUT {
            true => Patience::Left,
            false => Patience::Over,
        };
        if let Some(fault) = reader.context().refusal(config, patience) {
            return Err(fault);
        }
        if patience == Patience::Over {
            let servers = config.bootstrap_servers().to_owned();
            return Err(KafkaFault::Unreachable { servers, cause });
        }
    }
}
