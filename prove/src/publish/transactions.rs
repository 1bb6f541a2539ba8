//! Transactions of the publisher: some commit, some are written in full and then aborted.

use super::headers;
use super::script::Transaction;
use crate::dice::of_bytes;
use crate::frames::Studio;
use crate::kafka::Client;
use crate::ledger::{Ending, Ledger, Outcome, PublishLine};
use anyhow::{Context, Result, bail};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use std::sync::Arc;
use std::time::Duration;

/// One call; Kafka may be away for some of it.
const CALL: Duration = Duration::from_secs(40);
/// A transaction whose publisher died is aborted by Kafka after this time, unless the next life does it sooner.
const TIMEOUT_MS: &str = "15000";

/// A transactional producer, the only one of its id.
pub struct Transactions {
    producer: ThreadedProducer<DefaultProducerContext>,
    ledger: Arc<Ledger<PublishLine>>,
    topic: String,
}

impl Transactions {
    /// Ends what the life before left open.
    pub fn open(client: &Client, ledger: Arc<Ledger<PublishLine>>, topic: &str) -> Result<Self> {
        let producer: ThreadedProducer<DefaultProducerContext> = client
            .config()
            .set("transactional.id", format!("prove-{topic}"))
            .set("transaction.timeout.ms", TIMEOUT_MS)
            .set("message.timeout.ms", TIMEOUT_MS)
            .create()
            .context("creating the transactional producer")?;
        producer
            .init_transactions(CALL)
            .context("opening transactions")?;
        Ok(Self {
            producer,
            ledger,
            topic: topic.to_owned(),
        })
    }

    /// Makes it, and ends it as it says. An error is for the next life: nothing is known of this one's transaction.
    pub fn make(&self, studio: &Studio, transaction: &Transaction) -> Result<()> {
        self.producer
            .begin_transaction()
            .context("beginning a transaction")?;
        for (number, partition, item) in &transaction.sends {
            let made = studio.make(item);
            self.ledger.write(&PublishLine::Intent {
                number: *number,
                partition: *partition,
                item: item.clone(),
                payload: of_bytes(&made.payload),
                transaction: Some(transaction.number),
            })?;
            let record = BaseRecord::to(&self.topic)
                .partition(*partition)
                .key(&made.key)
                .timestamp(made.timestamp_ms)
                .headers(headers(&made))
                .payload(&made.payload[..]);
            if let Err((error, _)) = self.producer.send(record) {
                bail!("send {number} was refused by the client: {error}");
            }
        }
        // All of it is in the log before the transaction ends.
        self.producer
            .flush(CALL)
            .context("writing a transaction's records")?;
        let number = transaction.number;
        self.ledger.write(&PublishLine::Ending {
            transaction: number,
            ending: transaction.ending,
        })?;
        let ended = match transaction.ending {
            Ending::Commit => self.producer.commit_transaction(CALL),
            Ending::Abort => self.producer.abort_transaction(CALL),
        };
        self.ledger.write(&PublishLine::Ended {
            transaction: number,
            outcome: if ended.is_ok() {
                Outcome::Ok
            } else {
                Outcome::Unknown
            },
        })?;
        ended.with_context(|| format!("ending transaction {number}"))
    }
}
