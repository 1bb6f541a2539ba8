//! The plain reader: one consumer, every record thrown away.

use super::settings;
use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Without a record for so long there are no more.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to read.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub bootstrap_servers: String,
    #[arg(long)]
    pub topic: String,
    #[arg(long)]
    pub partitions: i32,
    /// Ends after so many records
    #[arg(long)]
    pub records: u64,
}

/// How fast it was.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Read {
    pub records: u64,
    pub bytes: u64,
    /// From the first record to the last.
    pub seconds: f64,
}

/// Reads all partitions from their beginning.
///
/// # Errors
/// A fault of Kafka's, or fewer records than asked for.
pub fn run(args: &Args) -> Result<()> {
    let consumer: BaseConsumer = settings::consumer(&args.bootstrap_servers)
        .create()
        .context("creating a consumer")?;
    let mut list = TopicPartitionList::new();
    for partition in 0..args.partitions {
        list.add_partition_offset(&args.topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut read = Read {
        records: 0,
        bytes: 0,
        seconds: 0.0,
    };
    let mut first = None;
    while read.records < args.records {
        let Some(message) = consumer.poll(PATIENCE) else {
            bail!("{}: only {} records", args.topic, read.records);
        };
        let message = message?;
        let start = *first.get_or_insert_with(Instant::now);
        read.records += 1;
        read.bytes += message.payload_len() as u64;
        read.seconds = start.elapsed().as_secs_f64();
    }
    println!("{}", serde_json::to_string(&read)?);
    Ok(())
}
