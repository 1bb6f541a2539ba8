//! Writes batches: records and consumed offsets in one transaction, all or none. Every call blocks.

use super::batch::Batch;
use pipeline::instance::Instance;
use pipeline::kafka::{
    FeedControl, GroupStamp, KafkaConfig, KafkaFault, TransactionFault, TransactionalWriter,
};
use std::time::{Duration, Instant};

/// How long Kafka may take to say what became of a transaction. Its own timeout for an open one is a quarter of this.
const DECISION_PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
/// Outcomes in a row that nobody knew, with a working Kafka in between: two instances fence each other.
const MOST_UNKNOWN_IN_A_ROW: u32 = 8;

/// The one who writes.
#[derive(Debug)]
pub struct Ledger {
    kafka: KafkaConfig,
    id: String,
    writer: TransactionalWriter,
    unknown_in_a_row: u32,
    /// Its name is this process's for as long as it writes.
    _instance: Instance,
}

/// Why a batch, or a part of it, is not committed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFault {
    /// What is left of the batch can be written later.
    #[error(transparent)]
    NotNow(KafkaFault),
    /// Going on would be guessing.
    #[error("{0}")]
    Fatal(String),
}

impl LedgerFault {
    /// What a definite failure means: some would only be repeated.
    fn of(fault: KafkaFault) -> Self {
        match fault {
            KafkaFault::RefusedRecords { .. } => Self::Fatal(format!(
                "{fault}. Let the topic take records of this size (max.message.bytes), or leave the pictures out \
                 (--content reference), and start the same command again: nothing is lost"
            )),
            fault if fault.is_denied() => Self::Fatal(fault.to_string()),
            fault => Self::NotNow(fault),
        }
    }
}

impl Ledger {
    /// Fences an older instance of the same name, and waits until its last transaction is decided.
    pub fn open(kafka: &KafkaConfig, group: &str, instance: Instance) -> Result<Self, KafkaFault> {
        let id = format!("framelane.tracks.{group}.{}", instance.name());
        Ok(Self {
            writer: TransactionalWriter::open(kafka, &id)?,
            kafka: kafka.clone(),
            id,
            unknown_in_a_row: 0,
            _instance: instance,
        })
    }

    /// Commits the batch and leaves it empty; after an error it holds what is not committed. The stamp is older than any
    /// loss of the batch's partitions that its maker does not know of.
    pub fn commit(
        &mut self,
        batch: &mut Batch,
        stamp: Option<&GroupStamp>,
        control: &FeedControl,
    ) -> Result<(), LedgerFault> {
        let Some(stamp) = stamp else {
            let why = "this consumer is no member of its group at present".to_owned();
            return Err(LedgerFault::NotNow(KafkaFault::Failed(why)));
        };
        let offsets = batch.offsets();
        let outcome = self
            .writer
            .commit_bookmarks(batch.records(), &offsets, stamp);
        let (word, outcome) = match outcome {
            Ok(()) => {
                self.unknown_in_a_row = 0;
                batch.retain(|_, _| false);
                ("committed", Ok(()))
            }
            // The same records would be refused again, for ever.
            Err(TransactionFault::Aborted(fault @ KafkaFault::RefusedRecords { .. })) => {
                ("refused", Err(LedgerFault::Fatal(fault.to_string())))
            }
            Err(TransactionFault::Aborted(fault)) => ("aborted", Err(LedgerFault::of(fault))),
            Err(TransactionFault::Unknown(fault)) => {
                ("unknown", self.find_out(batch, control, fault))
            }
        };
        metrics::counter!("framelane_consumer_transactions_total", "outcome" => word).increment(1);
        outcome
    }

    /// A new writer decides what the old one left open; then the group's offsets tell what was written.
    fn find_out(
        &mut self,
        batch: &mut Batch,
        control: &FeedControl,
        fault: KafkaFault,
    ) -> Result<(), LedgerFault> {
        self.unknown_in_a_row += 1;
        if self.unknown_in_a_row > MOST_UNKNOWN_IN_A_ROW {
            return Err(LedgerFault::Fatal(format!(
                "{MOST_UNKNOWN_IN_A_ROW} transactions in a row ended without an answer; if another consumer runs under \
                 the same --group and --instance, give each its own: {fault}"
            )));
        }
        tracing::warn!(%fault, "it is unknown whether a transaction was committed; asking Kafka");
        let partitions: Vec<_> = batch.offsets().into_iter().map(|one| one.tp).collect();
        let start = Instant::now();
        loop {
            let answer = TransactionalWriter::open(&self.kafka, &self.id).and_then(|writer| {
                self.writer = writer;
                control.committed(&partitions)
            });
            match answer {
                Ok(committed) => {
                    let of = |part: &super::batch::Part| {
                        let at = partitions.iter().position(|tp| *tp == part.tp)?;
                        committed[at]
                    };
                    batch.retain(|_, part| of(part).is_none_or(|next| next < part.next_offset));
                    return match batch.is_empty() {
                        true => Ok(()),
                        false => Err(LedgerFault::NotNow(fault)),
                    };
                }
                Err(cause) if start.elapsed() >= DECISION_PATIENCE => {
                    return Err(LedgerFault::Fatal(format!(
                        "Kafka did not say within {DECISION_PATIENCE:?} whether a transaction was committed ({cause}): \
                         start the same command again, it goes on behind what was"
                    )));
                }
                Err(cause) => tracing::warn!(%cause, "a new writer cannot be opened yet"),
            }
            std::thread::sleep(PAUSE); // Kafka has to come back
        }
    }
}
