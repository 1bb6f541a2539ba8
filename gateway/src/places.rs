//! Which sources there are, and in which partitions they lie. Looked for only while somebody asks.
//!
//! A partition's newest records say whose they are, in their headers; so topics of any maker are found without a list, and
//! what holds no frames shows no source.

use crate::address::{Address, is_topic};
use crate::kafka::Kafka;
use crate::stats::Newest;
use futures::{StreamExt, stream};
use pipeline::kafka::{
    Admin, Incoming, KafkaConfig, KafkaFault, StretchReader, TopicPartition, partition_of,
};
use pipeline::wire;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// The newest records of a partition that are looked at. Sources take turns, so this finds all that are live.
const LOOK_BACK_OFFSETS: i64 = 16;
/// A source's newest record may lie behind those of others.
const LOOK_FAR_BACK_OFFSETS: i64 = 64;
/// Between two looks for topics, while somebody asks.
const RHYTHM: Duration = Duration::from_secs(3);
/// A partition in which sources are known is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Whoever asks first waits so long for the first look.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// More are neither listed nor remembered.
const MOST_SOURCES: usize = 10_000;
const MOST_PARTITIONS: usize = 2_000;
/// Each look waits for Kafka most of its time.
const TOPICS_AT_ONCE: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Places {
    kafka: Arc<Kafka>,
    known: Mutex<Known>,
    asked: Notify,
    looks: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Known {
    sources: BTreeMap<Address, Place>,
    /// Of each partition: its end when its records were looked at, and when.
    looked: HashMap<TopicPartition, (i64, Instant)>,
    problem: Option<String>,
    /// When Kafka last answered.
    answered: Option<Instant>,
}

/// What is known of a source without watching it.
#[derive(Debug, Clone, Default)]
pub struct Place {
    pub partitions: BTreeSet<i32>,
    /// Not the newest there is: the newest that was looked at.
    pub newest: Option<Newest>,
}

/// The first and the last record of a source's partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Range {
    pub first_offset: i64,
    /// Behind the last record.
    pub end_offset: i64,
    pub first_unix_ms: Option<i64>,
    pub last_unix_ms: Option<i64>,
}

/// Why a source is not found.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    #[error(
        "topic {0} does not exist: check its name, or start the producer or broker that makes it"
    )]
    NoTopic(Arc<str>),
    #[error(transparent)]
    Kafka(KafkaFault),
}

impl From<KafkaFault> for LocateError {
    fn from(fault: KafkaFault) -> Self {
        match fault {
            KafkaFault::NoTopic(name) => Self::NoTopic(name.into()),
            other => Self::Kafka(other),
        }
    }
}

/// What a look at a partition found.
struct Look {
    lane: TopicPartition,
    end: i64,
    /// By source; None: there was nothing new.
    found: Option<BTreeMap<String, Newest>>,
}

impl Places {
    pub fn new(kafka: Arc<Kafka>) -> Self {
        Self {
            kafka,
            known: Mutex::default(),
            asked: Notify::new(),
            looks: watch::Sender::new(0),
        }
    }

    /// The partitions of a source. One that has published nothing yet has the partition that its producer would choose.
    ///
    /// # Errors
    /// There is no such topic, or Kafka does not answer.
    pub async fn locate(&self, address: &Address) -> Result<Vec<TopicPartition>, LocateError> {
        let lanes = |partitions: &BTreeSet<i32>| -> Vec<_> {
            let lane = |partition| TopicPartition::new(Arc::clone(&address.topic), partition);
            partitions.iter().copied().map(lane).collect()
        };
        let known = self.known().sources.get(address).cloned();
        let is_spread = known
            .as_ref()
            .is_some_and(|place| place.partitions.len() > 1);
        if let Some(place) = known.filter(|_| !is_spread) {
            return Ok(lanes(&place.partitions));
        }
        let (config, topic) = (self.kafka.config().clone(), Arc::clone(&address.topic));
        let look = move |admin: &Admin| {
            let all = admin.partitions(&topic)?;
            if is_spread || all.len() == 1 {
                return Ok((all, Vec::new()));
            }
            let looks = all.iter().map(|lane| look(admin, &config, lane, None));
            let looks = looks.collect::<Result<Vec<_>, _>>()?;
            Ok((all, looks))
        };
        let (all, looks) = self.kafka.ask(look).await?;
        if looks.is_empty() {
            return Ok(all); // the only one; or the source may be in each, also where it was not seen yet
        }
        let count = i32::try_from(all.len()).unwrap_or(i32::MAX);
        self.take_in(looks);
        if let Some(place) = self.known().sources.get(address) {
            return Ok(lanes(&place.partitions));
        }
        Ok(lanes(
            &[partition_of(address.source.as_bytes(), count)].into(),
        ))
    }

    /// All that is known, and why it may not be all. Has somebody look for more.
    pub async fn list(&self) -> (BTreeMap<Address, Place>, Option<String>) {
        let mut looks = self.looks.subscribe();
        self.asked.notify_one();
        // An error means that the gateway ends; no answer in time, that what is known is all there is to tell.
        let _ = tokio::time::timeout(FIRST_LOOK, looks.wait_for(|looks| *looks > 0)).await;
        let known = self.known();
        (known.sources.clone(), known.problem.clone())
    }

    /// Whether Kafka has answered within this time, or does so now.
    ///
    /// # Errors
    /// Why not.
    pub async fn answers(&self, within: Duration) -> Result<(), String> {
        let is_fresh = || {
            let answered = self.known().answered;
            answered.is_some_and(|at| at.elapsed() <= within)
        };
        if is_fresh() {
            return Ok(());
        }
        let mut looks = self.looks.subscribe();
        looks.borrow_and_update();
        self.asked.notify_one();
        let _ = tokio::time::timeout(FIRST_LOOK, looks.changed()).await; // what came of it is asked next
        match is_fresh() {
            true => Ok(()),
            false => Err(self
                .known()
                .problem
                .clone()
                .unwrap_or_else(|| "Kafka has not answered yet".to_owned())),
        }
    }

    /// The ends of a source's partition, for a time line.
    ///
    /// # Errors
    /// As [`Places::locate`].
    pub async fn range(&self, address: &Address) -> Result<Range, LocateError> {
        let lanes = self.locate(address).await?;
        let config = self.kafka.config().clone();
        let range = move |admin: &Admin| {
            let Some(lane) = lanes.first() else {
                return Err(KafkaFault::Failed(
                    "a source without a partition".to_owned(),
                ));
            };
            let (low, end) = admin.ends(lane)?;
            let mut reader = StretchReader::open(&config, lane.clone())?;
            let mut first = None;
            reader.read(low..(low + LOOK_BACK_OFFSETS).min(end), |record| {
                first.get_or_insert(record.timestamp_ms);
            })?;
            let last = reader.newest()?.map(|record| record.timestamp_ms);
            Ok(Range {
                first_offset: low,
                end_offset: end,
                first_unix_ms: first,
                last_unix_ms: last,
            })
        };
        Ok(self.kafka.ask(range).await?)
    }

    /// The newest record of a source that can be found quickly.
    ///
    /// # Errors
    /// As [`Places::locate`].
    pub async fn newest(&self, address: &Address) -> Result<Option<Incoming>, LocateError> {
        let lanes = self.locate(address).await?;
        let (config, source) = (self.kafka.config().clone(), Arc::clone(&address.source));
        let find = move |admin: &Admin| {
            let mut newest: Option<Incoming> = None;
            for lane in lanes {
                let (low, end) = admin.ends(&lane)?;
                let from = (end - LOOK_FAR_BACK_OFFSETS).max(low);
                StretchReader::open(&config, lane)?.read(from..end, |record| {
                    let is_frame = record.header(wire::KIND) == Some("frame");
                    let is_of = wire::id_of(&record).is_some_and(|id| *id.source_id == *source);
                    let is_newer = |than: &Incoming| record.timestamp_ms >= than.timestamp_ms;
                    if is_frame && is_of && newest.as_ref().is_none_or(is_newer) {
                        newest = Some(record);
                    }
                })?;
            }
            Ok(newest)
        };
        Ok(self.kafka.ask(find).await?)
    }

    /// Looks for sources when somebody asks, until told to stop.
    pub async fn run(&self, shutdown: CancellationToken) {
        while shutdown
            .run_until_cancelled(self.asked.notified())
            .await
            .is_some()
        {
            let begun = Instant::now();
            let looked = shutdown.run_until_cancelled(self.look_everywhere()).await;
            let Some(looked) = looked else { return };
            self.note(looked);
            self.looks.send_modify(|looks| *looks += 1);
            let rest = tokio::time::sleep_until((begun + RHYTHM).into());
            if shutdown.run_until_cancelled(rest).await.is_none() {
                return;
            }
        }
    }

    fn note(&self, looked: Result<(), KafkaFault>) {
        let mut known = self.known();
        match looked {
            Ok(()) => (known.problem, known.answered) = (None, Some(Instant::now())),
            Err(fault) => {
                tracing::warn!(%fault, "looking for sources failed");
                known.problem = Some(fault.to_string());
            }
        }
    }

    /// Forgets topics that are no more; these are there, in order.
    fn keep_only(&self, topics: &[String]) {
        let is_there = |name: &str| topics.binary_search_by(|topic| (**topic).cmp(name)).is_ok();
        let mut known = self.known();
        known.sources.retain(|address, _| is_there(&address.topic));
        known.looked.retain(|lane, _| is_there(&lane.topic));
    }

    async fn look_everywhere(&self) -> Result<(), KafkaFault> {
        let mut topics = self.kafka.ask(Admin::topic_names).await?;
        topics.retain(|topic| is_topic(topic));
        topics.sort_unstable();
        self.keep_only(&topics);
        let mut looks = stream::iter(topics)
            .map(|topic| self.look_at(topic))
            .buffer_unordered(TOPICS_AT_ONCE);
        let mut partitions = 0;
        while let Some(looked) = looks.next().await {
            partitions += looked?;
            if partitions >= MOST_PARTITIONS {
                tracing::warn!("only {MOST_PARTITIONS} partitions are looked at for sources");
                break;
            }
        }
        Ok(())
    }

    /// Returns how many partitions the topic has.
    async fn look_at(&self, topic: String) -> Result<usize, KafkaFault> {
        let (config, looked) = (self.kafka.config().clone(), self.looked(&topic));
        let look_all = move |admin: &Admin| {
            let lanes = admin.partitions(&topic)?;
            let looks = lanes
                .iter()
                .map(|lane| look(admin, &config, lane, looked.get(lane).copied()));
            looks.collect::<Result<Vec<_>, _>>()
        };
        match self.kafka.ask(look_all).await {
            Ok(looks) => {
                let partitions = looks.len();
                self.take_in(looks);
                Ok(partitions)
            }
            // Removed meanwhile, or not ours to read: it is not listed.
            Err(fault) if matches!(fault, KafkaFault::NoTopic(_)) || fault.is_denied() => {
                tracing::debug!(%fault, "a topic is not listed");
                Ok(0)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Where the partitions of a topic need no look, for nothing has come; in those with sources for a while longer.
    fn looked(&self, topic: &str) -> HashMap<TopicPartition, i64> {
        let known = self.known();
        let has_sources = |lane: &TopicPartition| {
            let mut places = known.sources.iter();
            places.any(|(address, place)| {
                address.topic == lane.topic && place.partitions.contains(&lane.partition)
            })
        };
        let of_topic = known
            .looked
            .iter()
            .filter(|(lane, _)| &*lane.topic == topic);
        of_topic
            .map(
                |(lane, (end, at))| match at.elapsed() < LOOK_AGAIN && has_sources(lane) {
                    true => (lane.clone(), i64::MAX),
                    false => (lane.clone(), *end),
                },
            )
            .collect()
    }

    fn take_in(&self, looks: Vec<Look>) {
        let mut known = self.known();
        for Look { lane, end, found } in looks {
            let Some(found) = found else { continue };
            known.looked.insert(lane.clone(), (end, Instant::now()));
            for (source, newest) in found {
                let Ok(address) = Address::new(&lane.topic, &source) else {
                    continue;
                };
                if known.sources.len() >= MOST_SOURCES && !known.sources.contains_key(&address) {
                    continue;
                }
                let place = known.sources.entry(address).or_default();
                place.partitions.insert(lane.partition);
                place.newest = Some(newest);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blocking. `looked`: the end up to which nothing need be looked at again.
fn look(
    admin: &Admin,
    config: &KafkaConfig,
    lane: &TopicPartition,
    looked: Option<i64>,
) -> Result<Look, KafkaFault> {
    let unchanged = |end| Look {
        lane: lane.clone(),
        end,
        found: None,
    };
    if looked == Some(i64::MAX) {
        return Ok(unchanged(i64::MAX));
    }
    let (low, end) = admin.ends(lane)?;
    if looked == Some(end) {
        return Ok(unchanged(end));
    }
    let mut found = BTreeMap::new();
    let from = (end - LOOK_BACK_OFFSETS).max(low);
    if from < end {
        StretchReader::open(config, lane.clone())?.read(from..end, |record| {
            if let Some(id) = wire::id_of(&record) {
                let newest = Newest {
                    epoch: id.epoch,
                    sequence: id.sequence,
                    capture_time_unix_ns: record.timestamp_ms.saturating_mul(1_000_000),
                };
                found.insert(id.source_id, newest);
            }
        })?;
    }
    Ok(Look {
        lane: lane.clone(),
        end,
        found: Some(found),
    })
}
