//! A figure of a run that lost a frame is no figure.

use crate::baselines::settings;
use crate::lab::Topic;
use crate::load::source;
use anyhow::{Context, Result, bail, ensure};
use pipeline::wire;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Reads all that is committed and checks that each partition holds its source's sequences from 0 on, each once and in
/// order, `frames` in all.
///
/// # Errors
/// It does not, or Kafka does not answer.
pub fn verify(servers: &str, topic: &Topic, frames: u64) -> Result<()> {
    let consumer: BaseConsumer = settings::consumer(servers)
        .set("enable.partition.eof", "true")
        .create()
        .context("creating a consumer")?;
    let mut list = TopicPartitionList::new();
    for partition in 0..topic.partitions {
        list.add_partition_offset(&topic.name, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut next: BTreeMap<i32, u64> = BTreeMap::new();
    let mut open = topic.partitions;
    while open > 0 {
        match consumer.poll(PATIENCE) {
            None => bail!("{} cannot be read back", topic.name),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(cause)) => return Err(cause).context("reading the output back"),
            Some(Ok(message)) => {
                let partition = message.partition();
                let next = next.entry(partition).or_default();
                let id = id(&message).context("a record without an id in the output")?;
                ensure!(
                    id == (source(partition).as_bytes(), *next),
                    "{}[{partition}]@{}: frame {} where {next} belongs",
                    topic.name,
                    message.offset(),
                    id.1
                );
                *next += 1;
            }
        }
    }
    let found: u64 = next.values().sum();
    ensure!(
        found == frames,
        "{}: {found} of {frames} frames",
        topic.name
    );
    Ok(())
}

fn id<'a>(message: &'a BorrowedMessage<'_>) -> Option<(&'a [u8], u64)> {
    let headers = message.headers()?;
    let sequence = headers.iter().find(|header| header.key == wire::SEQUENCE)?;
    let sequence = std::str::from_utf8(sequence.value?).ok()?.parse().ok()?;
    Some((message.key()?, sequence))
}
