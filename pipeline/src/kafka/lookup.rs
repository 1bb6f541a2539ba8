//! Single records by offset, read in step: asking for growing offsets costs one sequential read.

use super::access::{Access, denied};
use super::start::{Position, patiently, resolve_position};
use super::{Incoming, KafkaConfig, KafkaFault, TopicPartition};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

/// Reading on is cheaper than a new fetch up to about one prefetch queue.
const READ_ON_OFFSETS: i64 = 200;
const FIND_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a record cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Retention or compaction removed it, or it never was committed.
    #[error("{lane} has no record at offset {offset} (any more)")]
    Expired {
        /// The partition.
        lane: TopicPartition,
        /// The offset asked for.
        offset: i64,
    },
    /// Kafka could not be asked; trying again may help.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
}

/// Reaching the end is not worth a line in the log: it only means that the record asked for is not there yet.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, cause: KafkaError, reason: &str) {
        match cause.rdkafka_error_code() {
            // The client looks its group up even where nobody joins it.
            Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::GroupAuthorizationFailed) => {}
            _ => tracing::warn!(%cause, reason, "Kafka connection"),
        }
    }
}

impl ConsumerContext for Quiet {}

/// A reader of one partition, positioned by the records asked for. Every call blocks.
pub struct Lookup {
    consumer: BaseConsumer<Quiet>,
    lane: TopicPartition,
    /// The next offset that polling would give; None before the first call.
    position: Option<i64>,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup")
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

impl Lookup {
    /// A reader of one partition, without a group.
    pub fn open(config: &KafkaConfig, lane: TopicPartition) -> Result<Self, KafkaFault> {
        let mut client = config.consumer();
        client.set(
            "group.id",
            format!("framelane-lookup-{:016x}", rand::random::<u64>()),
        );
        let consumer = client
            .create_with_context(Quiet)
            .map_err(KafkaFault::request(format!("creating a reader of {lane}")))?;
        Ok(Self {
            consumer,
            lane,
            position: None,
        })
    }

    /// False if Kafka knows no such partition, for longer than a new topic needs to be known everywhere.
    pub fn is_there(&self) -> Result<bool, KafkaFault> {
        const PATIENCE: Duration = Duration::from_secs(2);
        const LOOK_AGAIN: Duration = Duration::from_millis(100);
        let TopicPartition { topic, partition } = &self.lane;
        let start = Instant::now();
        loop {
            let metadata = patiently(|| self.consumer.fetch_metadata(Some(topic), FIND_TIMEOUT))
                .map_err(KafkaFault::request(format!("looking for {}", self.lane)))?;
            let found = metadata
                .topics()
                .iter()
                .find(|found| found.name() == &**topic);
            let code = found
                .and_then(MetadataTopic::error)
                .map(RDKafkaErrorCode::from);
            if let Some(fault) = denied(code, &[Access::to_topic("Describe", topic)]) {
                return Err(fault);
            }
            let mut partitions = found.map_or(&[][..], MetadataTopic::partitions).iter();
            if partitions.any(|found| found.id() == *partition) {
                return Ok(true);
            }
            if start.elapsed() >= PATIENCE {
                return Ok(false);
            }
            std::thread::sleep(LOOK_AGAIN); // Kafka offers no way to be told
        }
    }

    /// How many records are read until this offset comes, if reading on leads there; None if it takes a jump.
    pub fn distance_to(&self, offset: i64) -> Option<i64> {
        let distance = offset.checked_sub(self.position?)?; // a stranger wrote the reference
        (0..READ_ON_OFFSETS).contains(&distance).then_some(distance)
    }

    /// The record at exactly this offset.
    pub fn read(&mut self, offset: i64) -> Result<Incoming, LookupError> {
        if self.distance_to(offset).is_none() {
            self.jump(offset)?;
        }
        let expired = || LookupError::Expired {
            lane: self.lane.clone(),
            offset,
        };
        let start = Instant::now();
        while start.elapsed() < FIND_TIMEOUT {
            match self.consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(message)) => {
                    self.position = Some(message.offset() + 1);
                    if message.offset() == offset {
                        return Ok(Incoming::copy_of(&message, self.lane.clone()));
                    }
                    if message.offset() > offset {
                        return Err(expired());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    let (_, high) = self.ends()?;
                    // Open transactions hold the end back for a moment; beyond the end there is nothing to wait for.
                    if offset >= high {
                        return Err(expired());
                    }
                }
                Some(Err(cause)) => {
                    self.position = None;
                    let (low, high) = self.ends()?;
                    if !(low..high).contains(&offset) {
                        return Err(expired());
                    }
                    let needs = [Access::to_topic("Read", &self.lane.topic)];
                    let fault = denied(cause.rdkafka_error_code(), &needs);
                    let lane = self.lane.clone();
                    return Err(fault.unwrap_or(KafkaFault::Read { lane, cause }).into());
                }
            }
        }
        self.position = None;
        Err(KafkaFault::Failed(format!(
            "{} did not give the record at offset {offset} within {FIND_TIMEOUT:?}",
            self.lane
        ))
        .into())
    }

    fn jump(&mut self, offset: i64) -> Result<(), LookupError> {
        metrics::counter!("framelane_reference_jumps_total").increment(1);
        if offset < resolve_position(&self.consumer, &self.lane, Position::Earliest)? {
            return Err(LookupError::Expired {
                lane: self.lane.clone(),
                offset,
            });
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(
            &self.lane.topic,
            self.lane.partition,
            Offset::Offset(offset),
        )
        .and_then(|()| self.consumer.assign(&list))
        .map_err(KafkaFault::request(format!(
            "going to offset {offset} of {}",
            self.lane
        )))?;
        self.position = Some(offset);
        Ok(())
    }

    fn ends(&self) -> Result<(i64, i64), KafkaFault> {
        self.consumer
            .fetch_watermarks(&self.lane.topic, self.lane.partition, FIND_TIMEOUT)
            .map_err(KafkaFault::request(format!(
                "reading the ends of {}",
                self.lane
            )))
    }
}
