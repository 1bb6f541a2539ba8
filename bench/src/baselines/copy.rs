//! The plain copy: consume -> produce, in transactions or without. No frame is decoded, no processor called.
//!
//! As fast as librdkafka makes it easily: one thread, records handed on without a copy of our own, one commit per time
//! or bytes. All acknowledgements are awaited before the commit, because the commit itself would look for them only
//! every 100 ms.

use super::settings;
use anyhow::{Context, Result};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of one transaction: those of a broker's batch.
const TRANSACTION_BYTES: usize = 32 << 20;
/// For a call to Kafka.
const LIMIT: Duration = Duration::from_secs(20);
/// How long an idle copy waits for a record.
const POLL: Duration = Duration::from_millis(100);

/// What to copy, and how.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub bootstrap_servers: String,
    #[arg(long)]
    pub input: String,
    #[arg(long)]
    pub output: String,
    #[arg(long)]
    pub group: String,
    /// A static member of the group
    #[arg(long)]
    pub instance: Option<String>,
    /// Copy in transactions of this length; without: no transactions, offsets committed every 5 s by the client
    #[arg(long, value_parser = humantime::parse_duration)]
    pub transaction: Option<Duration>,
}

/// Runs until it is killed.
///
/// # Errors
/// Any fault of Kafka's.
pub fn run(args: &Args) -> Result<()> {
    let mut config = settings::member(
        &args.bootstrap_servers,
        &args.group,
        args.instance.as_deref(),
    );
    if args.transaction.is_none() {
        config.set("enable.auto.commit", "true");
    }
    let consumer: BaseConsumer = config.create().context("creating a consumer")?;
    consumer
        .subscribe(&[&args.input])
        .context("subscribing to the input")?;
    let mut config = settings::producer(&args.bootstrap_servers, args.transaction.is_some());
    if args.transaction.is_some() {
        config.set("transactional.id", format!("{}.copy", args.group));
    }
    let unacknowledged = Arc::new(Unacknowledged::default());
    let context = Acknowledgements(Arc::clone(&unacknowledged));
    let producer = config
        .create_with_context(context)
        .context("creating a producer")?;
    let copy = Copy {
        consumer,
        producer,
        unacknowledged,
        output: &args.output,
    };
    match args.transaction {
        Some(length) => copy.in_transactions(length),
        None => copy.without_transactions(),
    }
}

struct Copy<'a> {
    consumer: BaseConsumer,
    producer: ThreadedProducer<Acknowledgements>,
    unacknowledged: Arc<Unacknowledged>,
    output: &'a str,
}

impl Copy<'_> {
    fn without_transactions(&self) -> Result<()> {
        loop {
            if let Some(message) = self.consumer.poll(POLL) {
                self.send(&message?)?;
            }
        }
    }

    fn in_transactions(&self, length: Duration) -> Result<()> {
        self.producer
            .init_transactions(LIMIT)
            .context("opening transactions")?;
        loop {
            let Some(first) = self.consumer.poll(POLL) else {
                continue;
            };
            self.producer.begin_transaction()?;
            let end = Instant::now() + length;
            let mut next = first?;
            let mut bytes = 0;
            let mut offsets = BTreeMap::new();
            loop {
                bytes += next.payload_len();
                offsets.insert(
                    (next.topic().to_owned(), next.partition()),
                    next.offset() + 1,
                );
                self.send(&next)?;
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() || bytes >= TRANSACTION_BYTES {
                    break;
                }
                match self.consumer.poll(left) {
                    Some(message) => next = message?,
                    None => break,
                }
            }
            self.commit(&offsets)?;
        }
    }

    fn commit(&self, offsets: &BTreeMap<(String, i32), i64>) -> Result<()> {
        self.unacknowledged.wait_for_none()?;
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
        }
        let group = self
            .consumer
            .group_metadata()
            .context("the copy is no member of its group")?;
        self.producer
            .send_offsets_to_transaction(&list, &group, LIMIT)?;
        self.producer.commit_transaction(LIMIT)?;
        Ok(())
    }

    fn send(&self, message: &BorrowedMessage<'_>) -> Result<()> {
        let record = BaseRecord::<[u8], [u8]> {
            topic: self.output,
            partition: Some(message.partition()),
            payload: message.payload(),
            key: message.key(),
            timestamp: message.timestamp().to_millis(),
            headers: message.headers().map(|headers| headers.detach()),
            delivery_opaque: (),
        };
        self.unacknowledged.add();
        self.producer
            .send(record)
            .map_err(|(cause, _)| cause)
            .context("handing a record to the client")
    }
}

#[derive(Debug, Default)]
struct Counts {
    waiting: usize,
    failed: Option<String>,
}

/// Records handed over and not yet acknowledged.
#[derive(Debug, Default)]
struct Unacknowledged {
    counts: Mutex<Counts>,
    changed: Condvar,
}

impl Unacknowledged {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self) {
        self.counts().waiting += 1;
    }

    fn wait_for_none(&self) -> Result<()> {
        let (counts, _) = self
            .changed
            .wait_timeout_while(self.counts(), LIMIT, |counts| counts.waiting > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &counts.failed {
            anyhow::bail!("a record was not delivered: {why}");
        }
        anyhow::ensure!(counts.waiting == 0, "Kafka does not acknowledge records");
        Ok(())
    }
}

struct Acknowledgements(Arc<Unacknowledged>);

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut counts = self.0.counts();
        counts.waiting -= 1;
        if let Err((cause, _)) = result {
            counts.failed.get_or_insert(cause.to_string());
        }
        if counts.waiting == 0 {
            self.0.changed.notify_all();
        }
    }
}
