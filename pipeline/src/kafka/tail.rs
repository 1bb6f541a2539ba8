//! One partition from its first record on and for ever, without a group: for small topics that hold a state.

use super::access::{Access, denied};
use super::error::is_passing;
use super::lookup::Quiet;
use super::{Incoming, KafkaConfig, KafkaFault, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;

/// What a partition has to say next.
#[derive(Debug)]
pub enum Tailed {
    /// The next committed record.
    Record(Incoming),
    /// There is nothing more at present.
    End,
    /// Nothing in the time given, or Kafka does not answer: see [`Tail::is_answered`].
    Nothing,
}

/// A reader of one partition. Every call blocks.
pub struct Tail {
    consumer: BaseConsumer<Quiet>,
    lane: TopicPartition,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail")
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

impl Tail {
    /// Begins with the first record that Kafka still has.
    pub fn open(config: &KafkaConfig, lane: TopicPartition) -> Result<Self, KafkaFault> {
        let mut client = config.consumer();
        client.set(
            "group.id",
            format!("framelane-tail-{:016x}", rand::random::<u64>()),
        );
        let consumer: BaseConsumer<Quiet> = client
            .create_with_context(Quiet)
            .map_err(KafkaFault::request(format!("creating a reader of {lane}")))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&lane.topic, lane.partition, Offset::Beginning)
            .and_then(|()| consumer.assign(&list))
            .map_err(KafkaFault::request(format!("reading {lane}")))?;
        Ok(Self { consumer, lane })
    }

    /// Waits for the next record. Errors that pass by themselves are none; after any other, only a new reader goes on.
    pub fn next(&mut self, at_most: Duration) -> Result<Tailed, KafkaFault> {
        match self.consumer.poll(at_most) {
            None => Ok(Tailed::Nothing),
            Some(Ok(message)) => {
                let lane = self.lane.clone();
                Ok(Tailed::Record(Incoming::copy_of(&message, lane)))
            }
            Some(Err(KafkaError::PartitionEOF(_))) => Ok(Tailed::End),
            Some(Err(cause)) => {
                let code = cause.rdkafka_error_code();
                if code.is_some_and(is_passing) {
                    return Ok(Tailed::Nothing);
                }
                let needs = [Access::to_topic("Read", &self.lane.topic)];
                let lane = self.lane.clone();
                Err(denied(code, &needs).unwrap_or(KafkaFault::Read { lane, cause }))
            }
        }
    }

    /// Whether Kafka answers this reader within the time given.
    pub fn is_answered(&self, at_most: Duration) -> bool {
        let TopicPartition { topic, partition } = &self.lane;
        let ends = self.consumer.fetch_watermarks(topic, *partition, at_most);
        ends.is_ok()
    }
}
