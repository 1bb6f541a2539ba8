//! The final read: everything that is committed in a topic, from offset 0.

use super::{Client, REQUEST};
use crate::history::{Message, Record};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A transaction that a killed process left open is decided by Kafka after 15 s, and may have been begun late.
const DECISION: Duration = Duration::from_secs(40);
/// Reading a whole topic from a local Kafka.
const READ: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

impl Client {
    /// All committed records, in the order of partition and offset. Waits until no transaction is open.
    pub fn read_all(&self, topic: &str) -> Result<Vec<Record>> {
        let committed = self.consumer("prove-final-read", "read_committed")?;
        let partitions = partitions(&committed, topic)?;
        self.wait_for_decisions(&committed, topic, partitions)?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        committed
            .assign(&list)
            .context("beginning the final read")?;
        let mut open: BTreeSet<i32> = (0..partitions).collect();
        let mut records = Vec::new();
        let start = Instant::now();
        while !open.is_empty() {
            if start.elapsed() > READ {
                bail!("{topic}: partitions {open:?} were not read to their ends within {READ:?}");
            }
            match committed.poll(POLL) {
                None => {}
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(error)) => return Err(error).with_context(|| format!("reading {topic}")),
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        Ok(records)
    }

    /// Returns once what is committed reaches as far as what is written.
    fn wait_for_decisions(
        &self,
        committed: &BaseConsumer,
        topic: &str,
        partitions: i32,
    ) -> Result<()> {
        let written = self.consumer("prove-final-read", "read_uncommitted")?;
        let start = Instant::now();
        for partition in 0..partitions {
            loop {
                let (_, end) = written.fetch_watermarks(topic, partition, REQUEST)?;
                let (_, stable) = committed.fetch_watermarks(topic, partition, REQUEST)?;
                if stable >= end {
                    break;
                }
                if start.elapsed() > DECISION {
                    bail!(
                        "{topic}[{partition}]: a transaction is open since offset {stable} of {end}"
                    );
                }
                std::thread::sleep(POLL); // Kafka offers no way to be told
            }
        }
        Ok(())
    }
}

/// How many partitions a topic has.
fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<i32> {
    let metadata = consumer
        .fetch_metadata(Some(topic), REQUEST)
        .with_context(|| format!("asking for topic {topic}"))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found.map_or(0, |topic| topic.partitions().len()) {
        0 => bail!("there is no topic {topic}"),
        count => Ok(i32::try_from(count).context("the number of partitions")?),
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let payload = Bytes::copy_from_slice(message.payload().unwrap_or_default());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| {
                let value = text(header.value.unwrap_or_default());
                (header.key.to_owned(), value)
            })
            .collect()
    });
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: text(message.key().unwrap_or_default()),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        headers,
        message: Message::of(&payload),
        payload,
    }
}
