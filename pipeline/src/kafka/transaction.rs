//! Records and consumed offsets in one Kafka transaction: all or none. What to call and what an answer means is decided in
//! [`crate::ordering`]; here are the client's calls.

use super::access::{Access, denied};
use super::feed::{Bookmark, bookmark_list, offset_list};
use super::writer::{Pace, Writer};
use super::{KafkaConfig, KafkaFault, Outgoing, TopicPartition};
use crate::ordering::{
    Answer, CALL_TIMEOUT, Call, DECISION_TIMEOUT, Next, Offsets, Outcome, Transactions,
};
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::Producer;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// A transaction that its owner leaves open (a crash) blocks readers this long, unless the owner restarts sooner.
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);

/// What a call may take beyond the time it was given before it counts as forgotten.
const FORGOTTEN: Duration = Duration::from_secs(2);

/// A group member's identity and generation at one moment. Kafka refuses offsets stamped by an older generation.
pub struct GroupStamp {
    pub(super) native: Arc<ConsumerGroupMetadata>,
    /// The group's id.
    pub(super) group: String,
    /// Above the id of every lane that there was.
    pub(super) next_lane: u64,
}

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
#[derive(Debug)]
pub struct TransactionalWriter {
    config: KafkaConfig,
    id: String,
    writer: Writer,
    rules: Transactions,
    /// What the rules count from.
    start: Instant,
}

impl TransactionalWriter {
    /// Fences every older writer of the same id and waits until its last transaction is decided.
    pub fn open(config: &KafkaConfig, id: &str) -> Result<Self, KafkaFault> {
        Ok(Self {
            config: config.clone(),
            id: id.to_owned(),
            writer: open_writer(config, id)?,
            rules: Transactions::new(),
            start: Instant::now(),
        })
    }

    /// How the records of the next transactions are sent.
    pub fn set_pace(&mut self, pace: Pace) {
        self.writer.set_pace(pace);
    }

    /// Writes all records and commits the offsets consumed for them, in one transaction.
    pub fn commit<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Outgoing>,
        consumed: Option<(&[(TopicPartition, i64)], &GroupStamp)>,
    ) -> Result<(), TransactionFault> {
        let consumed = consumed.map(|(offsets, stamp)| (offset_list(offsets), stamp));
        self.commit_list(
            records,
            consumed.as_ref().map(|(list, stamp)| (list, *stamp)),
        )
    }

    /// As [`TransactionalWriter::commit`], with what is to be known at these offsets.
    pub fn commit_bookmarks<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Outgoing>,
        bookmarks: &[Bookmark],
        stamp: &GroupStamp,
    ) -> Result<(), TransactionFault> {
        self.commit_list(records, Some((&bookmark_list(bookmarks), stamp)))
    }

    /// True if a request of the last transaction may still arrive, in the middle of the next one. With offsets the writer
    /// replaces itself then; without, its owner does well to open another.
    pub fn may_be_followed(&self) -> bool {
        self.rules.may_be_followed(self.writer.is_disturbed())
    }

    fn commit_list<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Outgoing>,
        consumed: Option<(&TopicPartitionList, &GroupStamp)>,
    ) -> Result<(), TransactionFault> {
        let offsets = match consumed {
            Some(_) => Offsets::With,
            None => Offsets::Without,
        };
        let is_disturbed = self.writer.is_disturbed();
        let mut call = self
            .rules
            .start(offsets, is_disturbed, self.start.elapsed());
        let mut records = Some(records);
        let mut why = None;
        loop {
            let (answer, fault) = match self.make(call, &mut records, consumed) {
                Ok(()) => (Answer::Done, None),
                Err((answer, fault)) => (answer, Some(fault)),
            };
            let is_disturbed = self.writer.is_disturbed();
            let next = self
                .rules
                .answered(answer, is_disturbed, self.start.elapsed());
            if next == Next::Call(call) {
                tracing::debug!(?call, ?fault, "trying the same transaction call again");
                continue;
            }
            if let Some(fault) = fault {
                if call == Call::Abort {
                    tracing::warn!(%fault, "aborting the transaction failed too");
                }
                why.get_or_insert(fault); // what comes later follows from it
            }
            let why = match next {
                Next::Call(next) => {
                    call = next;
                    continue;
                }
                Next::End(Outcome::Committed) => return Ok(()),
                Next::End(Outcome::Aborted) => TransactionFault::Aborted,
                Next::End(Outcome::Unknown) => TransactionFault::Unknown,
            }(why.expect("only a call that failed ends without a commit"));
            return Err(why);
        }
    }

    /// Makes one call.
    fn make<'a>(
        &mut self,
        call: Call,
        records: &mut Option<impl IntoIterator<Item = &'a Outgoing>>,
        consumed: Option<(&TopicPartitionList, &GroupStamp)>,
    ) -> Result<(), (Answer, KafkaFault)> {
        let producer = self.writer.native();
        let (doing, result) = match call {
            Call::Replace => {
                let pace = self.writer.pace();
                self.writer =
                    open_writer(&self.config, &self.id).map_err(|fault| (Answer::Failed, fault))?;
                self.writer.set_pace(pace);
                return Ok(());
            }
            Call::SendRecords => {
                return self
                    .writer
                    .send_all(records.take().into_iter().flatten())
                    .map_err(|fault| (Answer::Failed, self.why_given_up(fault)));
            }
            Call::Begin => ("beginning a transaction", producer.begin_transaction()),
            Call::SendOffsets => {
                let (offsets, stamp) = consumed.expect("the rules were told so");
                let (offsets, stamp) = (offsets.clone(), Arc::clone(&stamp.native));
                let producer = self.writer.shared();
                let sent = remembered(move || {
                    producer.send_offsets_to_transaction(&offsets, &stamp, CALL_TIMEOUT)
                })?;
                ("adding offsets to the transaction", sent)
            }
            Call::Commit => (
                "committing the transaction",
                producer.commit_transaction(CALL_TIMEOUT),
            ),
            Call::Abort => (
                "aborting the transaction",
                producer.abort_transaction(CALL_TIMEOUT),
            ),
        };
        let group = consumed.map(|(_, stamp)| Access::to_group(&stamp.group));
        let needs: Vec<_> = group
            .into_iter()
            .chain([Access::to_transactions(&self.id)])
            .collect();
        result.map_err(|cause| {
            let answer = answer(&cause);
            (answer, KafkaFault::request_with(&needs, doing)(cause))
        })
    }

    /// When a transaction has failed, the client gives its records up without a reason. The reason it tells whoever asks
    /// for another transaction, which it refuses; nothing else comes of asking.
    fn why_given_up(&self, fault: KafkaFault) -> KafkaFault {
        let KafkaFault::NotDelivered { topic, .. } = &fault else {
            return fault;
        };
        let asked = self.writer.native().begin_transaction();
        let code = asked.err().and_then(|cause| cause.rdkafka_error_code());
        denied(code, &[Access::to_topic("Write", topic)]).unwrap_or(fault)
    }
}

/// Makes a call that the client can forget: when the group's coordinator dies at the wrong moment, it never answers,
/// whatever time it was given (librdkafka 2.12, its issue 5511). So the call has a thread of its own. One that is forgotten
/// stays behind with its producer, the only thing here that is not joined: nothing can end it but the process.
fn remembered(
    call: impl FnOnce() -> KafkaResult<()> + Send + 'static,
) -> Result<KafkaResult<()>, (Answer, KafkaFault)> {
    let (answer_to, answer) = mpsc::channel();
    let caller = std::thread::Builder::new().name("transaction".to_owned());
    let caller = caller.spawn(move || answer_to.send(call()));
    let caller = caller.map_err(|cause| (Answer::Failed, KafkaFault::no_thread(cause)))?;
    match answer.recv_timeout(CALL_TIMEOUT + FORGOTTEN) {
        Ok(result) => {
            // It has sent its answer: there is nothing left that could fail.
            drop(caller.join());
            Ok(result)
        }
        Err(_) => {
            let why = "the client gave no answer in time; it has forgotten the call";
            Err((Answer::Never, KafkaFault::Failed(why.to_owned())))
        }
    }
}

fn answer(cause: &KafkaError) -> Answer {
    match cause {
        KafkaError::Transaction(error) if error.is_retriable() => Answer::TryAgain,
        KafkaError::Transaction(error) if error.txn_requires_abort() => Answer::MustAbort,
        _ => Answer::Failed,
    }
}

/// A new producer, which fences the older ones of the id.
fn open_writer(config: &KafkaConfig, id: &str) -> Result<Writer, KafkaFault> {
    let mut client = config.batch_producer();
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
        )
        // A connection that was closed with a request on its way is told in the log, on this level, and nowhere else.
        .set_log_level(RDKafkaLogLevel::Info);
    let writer = Writer::from_client_config(&client)?;
    let doing = format!("opening transactions as {id:?}");
    let start = Instant::now();
    let open = || writer.native().init_transactions(CALL_TIMEOUT);
    loop {
        match open() {
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && start.elapsed() < DECISION_TIMEOUT =>
            {
                tracing::debug!(%error, "opening transactions: trying again");
            }
            result => {
                let needs = [Access::to_transactions(id)];
                result.map_err(KafkaFault::request_with(&needs, doing))?;
                return Ok(writer);
            }
        }
    }
}
