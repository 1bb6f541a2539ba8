//! Records and consumed offsets in one Kafka transaction: all or none.

use super::feed::offset_list;
use super::writer::Writer;
use super::{KafkaConfig, KafkaFault, Outgoing, TopicPartition};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::Producer;
use std::time::{Duration, Instant};

/// A transaction that its owner leaves open (a crash) blocks readers this long, unless the owner restarts sooner.
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);

/// One blocking call of the transaction protocol. Bounded, because a vanished coordinator can leave it hanging.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// After this long without a definite answer the outcome counts as unknown.
const DECISION_TIMEOUT: Duration = Duration::from_secs(20);

/// A group member's identity and generation at one moment. Kafka refuses offsets stamped by an older generation.
pub struct GroupStamp(pub(super) ConsumerGroupMetadata);

impl std::fmt::Debug for GroupStamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GroupStamp")
    }
}

/// Why a transaction did not (surely) take place.
#[derive(Debug, thiserror::Error)]
pub enum TransactionFault {
    /// Surely aborted: nothing is visible, the writer can be used again.
    #[error("the transaction was aborted: {0}")]
    Aborted(KafkaFault),
    /// It may or may not have been committed. Drop the writer, open a new one (which fences this one and decides the
    /// transaction), then read the committed offsets.
    #[error("it is unknown whether the transaction was committed: {0}")]
    Unknown(KafkaFault),
}

/// A transactional producer. Every call blocks: it belongs to a thread of its own.
///
/// A request to end a transaction that was sent twice may arrive twice, the second time in the middle of the next
/// transaction (the client speaks the protocol without an epoch per transaction). So whenever the end may have been
/// sent again, the producer is replaced first: its successor's epoch makes Kafka refuse the stray request. Only
/// transactions with offsets may do so: their group stamp tells a writer that was merely disturbed from one whose place
/// another has taken. Without offsets a disturbed writer that had to abort leaves the question to its owner, as Unknown.
#[derive(Debug)]
pub struct TransactionalWriter {
    config: KafkaConfig,
    id: String,
    writer: Writer,
    /// The last transaction took more than one call to end.
    is_slow: bool,
}

impl TransactionalWriter {
    /// Fences every older writer of the same id and waits until its last transaction is decided.
    pub fn open(config: &KafkaConfig, id: &str) -> Result<Self, KafkaFault> {
        let mut client = config.producer();
        client
            .set("transactional.id", id)
            .set(
                "transaction.timeout.ms",
                TRANSACTION_TIMEOUT.as_millis().to_string(),
            )
            // A record must not be given up after its transaction has been.
            .set(
                "message.timeout.ms",
                TRANSACTION_TIMEOUT.as_millis().to_string(),
            );
        let writer = Writer::from_client_config(&client)?;
        let doing = format!("opening transactions as {id:?}");
        retry(|| writer.native().init_transactions(CALL_TIMEOUT))
            .map_err(KafkaFault::request(doing))?;
        Ok(Self {
            config: config.clone(),
            id: id.to_owned(),
            writer,
            is_slow: false,
        })
    }

    /// Writes all records and commits the offsets consumed for them, in one transaction.
    pub fn commit<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Outgoing>,
        consumed: Option<(&[(TopicPartition, i64)], &GroupStamp)>,
    ) -> Result<(), TransactionFault> {
        if consumed.is_some() && self.may_be_followed() {
            *self = Self::open(&self.config, &self.id).map_err(TransactionFault::Unknown)?;
        }
        let stamped = match consumed {
            Some(_) => Stamped::Yes,
            None => Stamped::No,
        };
        self.writer
            .native()
            .begin_transaction()
            .map_err(KafkaFault::request("beginning a transaction"))
            .map_err(TransactionFault::Unknown)?;
        // With all acknowledgements here the commit has nothing left to flush.
        if let Err(fault) = self.writer.send_all(records) {
            return Err(self.abort(fault, stamped));
        }
        if let Some((offsets, stamp)) = consumed {
            let offsets = offset_list(offsets);
            let producer = self.writer.native();
            let sent =
                retry(|| producer.send_offsets_to_transaction(&offsets, &stamp.0, CALL_TIMEOUT));
            if let Err(cause) = sent {
                let fault = KafkaFault::request("adding offsets to the transaction")(cause);
                return Err(self.abort(fault, stamped));
            }
        }
        let start = Instant::now();
        let committed = retry(|| self.writer.native().commit_transaction(CALL_TIMEOUT));
        self.is_slow = start.elapsed() >= CALL_TIMEOUT;
        committed.map_err(|cause| {
            let definite = matches!(&cause, KafkaError::Transaction(e) if e.txn_requires_abort());
            let fault = KafkaFault::request("committing the transaction")(cause);
            if definite {
                self.abort(fault, stamped)
            } else {
                TransactionFault::Unknown(fault)
            }
        })
    }

    /// True if a request of an earlier transaction may still be on its way.
    fn may_be_followed(&self) -> bool {
        self.is_slow || self.writer.is_disturbed()
    }

    fn abort(&mut self, why: KafkaFault, stamped: Stamped) -> TransactionFault {
        let start = Instant::now();
        let aborted = retry(|| self.writer.native().abort_transaction(CALL_TIMEOUT));
        self.is_slow |= start.elapsed() >= CALL_TIMEOUT;
        match aborted {
            Ok(()) if stamped == Stamped::No && self.may_be_followed() => {
                TransactionFault::Unknown(why)
            }
            Ok(()) => TransactionFault::Aborted(why),
            Err(cause) => {
                tracing::warn!(%cause, "aborting the transaction failed too");
                TransactionFault::Unknown(why)
            }
        }
    }
}

/// Whether a transaction carries a group stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamped {
    Yes,
    No,
}

/// Repeats the same call while Kafka says that this is the thing to do, up to the decision timeout.
fn retry(mut call: impl FnMut() -> KafkaResult<()>) -> KafkaResult<()> {
    let start = Instant::now();
    loop {
        match call() {
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && start.elapsed() < DECISION_TIMEOUT =>
            {
                tracing::debug!(%error, "trying the same transaction call again");
            }
            result => return result,
        }
    }
}
