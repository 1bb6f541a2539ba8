//! A topic filled as fast as Kafka takes it.

use super::{frame, picture, record, source};
use crate::lab::Topic;
use anyhow::{Context, Result};
use pipeline::kafka::{KafkaConfig, Writer};
use pipeline::wire;

/// Writes `frames` pictures of `bytes` each, in turn to each partition, one source a partition.
///
/// # Errors
/// Kafka does not take them.
pub fn fill(servers: &str, topic: &Topic, frames: u64, bytes: usize) -> Result<()> {
    let writer = Writer::new(&KafkaConfig::new(servers)?)?;
    let picture = picture(bytes);
    let partitions = u64::try_from(topic.partitions).expect("a topic has partitions");
    let mut receipts = Vec::new();
    for number in 0..frames {
        let partition =
            i32::try_from(number % partitions).expect("smaller than the number of partitions");
        let frame = frame(
            &source(partition),
            number / partitions,
            wire::now_unix_ns(),
            &picture,
        );
        receipts.push(writer.send(&record(&topic.name, partition, frame))?);
    }
    receipts
        .into_iter()
        .try_for_each(|receipt| receipt.wait().map(drop))
        .context("filling a topic")
}
