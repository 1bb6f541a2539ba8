//! Records without transactions: idempotent, in order, each with a receipt.

use super::access::{Access, denied};
use super::error::is_refusal;
use super::forgotten::tell_addresses;
use super::{KafkaConfig, KafkaFault, Outgoing};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{
    BaseRecord, NoCustomPartitioner, Producer, ProducerContext, PurgeConfig, ThreadedProducer,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::oneshot::{self, error::TryRecvError};

/// Bytes sent and not yet acknowledged. Below librdkafka's own bound (128 MB), whose overflow is an error, not a wait.
const MAX_UNACKNOWLEDGED_BYTES: usize = 64 << 20;

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The partition chosen.
    pub partition: i32,
    /// The record's place in it.
    pub offset: i64,
}

/// Resolves when Kafka has acknowledged the record or given it up.
#[derive(Debug)]
pub struct Receipt {
    topic: Arc<str>,
    answer: oneshot::Receiver<Result<Delivered, KafkaError>>,
}

impl Receipt {
    /// Waits on a thread without a runtime.
    pub fn wait(self) -> Result<Delivered, KafkaFault> {
        let Self { topic, answer } = self;
        Self::outcome(
            &topic,
            answer.blocking_recv().unwrap_or(Err(KafkaError::Canceled)),
        )
    }

    /// As [`Receipt::wait`]; None if there is no answer by then.
    fn wait_until(self, deadline: Instant) -> Option<Result<Delivered, KafkaFault>> {
        const LOOK_AGAIN: Duration = Duration::from_millis(2);
        let Self { topic, mut answer } = self;
        loop {
            match answer.try_recv() {
                Ok(result) => return Some(Self::outcome(&topic, result)),
                Err(TryRecvError::Closed) => {
                    return Some(Self::outcome(&topic, Err(KafkaError::Canceled)));
                }
                Err(TryRecvError::Empty) if Instant::now() >= deadline => return None,
                Err(TryRecvError::Empty) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    fn outcome(
        topic: &Arc<str>,
        result: Result<Delivered, KafkaError>,
    ) -> Result<Delivered, KafkaFault> {
        result.map_err(|cause| not_delivered(topic, cause))
    }
}

impl Future for Receipt {
    type Output = Result<Delivered, KafkaFault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(Self::outcome(
            &self.topic,
            answer.unwrap_or(Err(KafkaError::Canceled)),
        ))
    }
}

/// An idempotent producer. Dropping it purges what was not flushed.
pub struct Writer {
    producer: Arc<ThreadedProducer<DeliveryContext>>,
    unacknowledged: Arc<Unacknowledged>,
    is_disturbed: Arc<AtomicBool>,
    pace: Pace,
}

/// How [`Writer::send_all`] sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// All at once. If Kafka refuses one record, it may refuse others with it.
    Together,
    /// Each when the one before is acknowledged: slow, and a refusal means one record.
    OneByOne,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// A producer of its own connections and buffers, for single records: each is sent at once.
    pub fn new(config: &KafkaConfig) -> Result<Self, KafkaFault> {
        Self::from_client_config(&config.producer())
    }

    /// As [`Writer::new`], for batches ([`Writer::send_all`]).
    pub fn of_batches(config: &KafkaConfig) -> Result<Self, KafkaFault> {
        Self::from_client_config(&config.batch_producer())
    }

    pub(super) fn from_client_config(config: &rdkafka::ClientConfig) -> Result<Self, KafkaFault> {
        let unacknowledged = Arc::new(Unacknowledged::default());
        let is_disturbed = Arc::new(AtomicBool::new(false));
        let context = DeliveryContext {
            unacknowledged: Arc::clone(&unacknowledged),
            is_disturbed: Arc::clone(&is_disturbed),
        };
        let producer = ThreadedProducer::from_config_and_context(config, context)
            .map_err(KafkaFault::request("creating a producer"))?;
        let producer = Arc::new(producer);
        Ok(Self {
            producer,
            unacknowledged,
            is_disturbed,
            pace: Pace::Together,
        })
    }

    pub(super) fn pace(&self) -> Pace {
        self.pace
    }

    /// How the next records are sent.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Hands the record to the client. Blocks while too many bytes wait for Kafka's acknowledgement.
    ///
    /// Records of one partition keep the order of these calls.
    pub fn send(&self, record: &Outgoing) -> Result<Receipt, KafkaFault> {
        self.unacknowledged.wait_for_room();
        self.send_now(record)
    }

    /// Sends all and waits for all acknowledgements. If Kafka refuses some for what they are, the fault names them.
    pub fn send_all<'a>(
        &self,
        records: impl IntoIterator<Item = &'a Outgoing>,
    ) -> Result<(), KafkaFault> {
        let mut faults = Faults::default();
        let mut receipts = Vec::new();
        for (index, record) in records.into_iter().enumerate() {
            if self.pace == Pace::OneByOne {
                let answer = self.send(record).and_then(Receipt::wait);
                if let Err(fault) = answer {
                    faults.note(index, fault)?;
                    break;
                }
                continue;
            }
            match self.send(record) {
                Ok(receipt) => receipts.push((index, receipt)),
                Err(fault) => faults.note(index, self.why_given_up(fault))?,
            }
        }
        for (index, receipt) in receipts {
            let answer = match faults.deadline() {
                None => receipt.wait(),
                Some(deadline) => match receipt.wait_until(deadline) {
                    Some(answer) => answer,
                    None => continue,
                },
            };
            if let Err(fault) = answer {
                faults.note(index, self.why_given_up(fault))?;
            }
        }
        faults.outcome()
    }

    /// After a fatal error the client gives all records up without a reason.
    fn why_given_up(&self, fault: KafkaFault) -> KafkaFault {
        let KafkaFault::NotDelivered { topic, .. } = &fault else {
            return fault;
        };
        let fatal = self.producer.client().fatal_error();
        write_denied(fatal.map(|(code, _)| code), topic).unwrap_or(fault)
    }

    /// As [`Writer::send`], but returns None instead of waiting.
    pub fn try_send(&self, record: &Outgoing) -> Result<Option<Receipt>, KafkaFault> {
        if self.unacknowledged_bytes() >= MAX_UNACKNOWLEDGED_BYTES {
            return Ok(None);
        }
        self.send_now(record).map(Some)
    }

    /// Bytes handed over and not yet acknowledged.
    pub fn unacknowledged_bytes(&self) -> usize {
        *self.unacknowledged.lock()
    }

    fn send_now(&self, record: &Outgoing) -> Result<Receipt, KafkaFault> {
        let (answer_to, answer) = oneshot::channel();
        let bytes = record.payload.len();
        let native = BaseRecord {
            topic: &record.topic,
            partition: record.partition,
            payload: (!record.payload.is_empty()).then_some(&record.payload[..]),
            key: Some(&record.key[..]),
            timestamp: Some(record.timestamp_ms),
            headers: Some(record.native_headers()),
            delivery_opaque: Box::new(Waiting { answer_to, bytes }),
        };
        *self.unacknowledged.lock() += bytes;
        match self.producer.send(native) {
            Ok(()) => Ok(Receipt {
                topic: Arc::clone(&record.topic),
                answer,
            }),
            Err((cause, _)) => {
                self.unacknowledged.acknowledge(bytes);
                Err(not_delivered(&record.topic, cause))
            }
        }
    }

    /// Waits until everything sent is acknowledged or given up.
    pub fn flush(&self, at_most: Duration) -> Result<(), KafkaFault> {
        self.producer
            .flush(at_most)
            .map_err(KafkaFault::request("flushing the last records to Kafka"))
    }

    /// Gives up all that Kafka has not acknowledged, whoever else still holds the writer: none of it is sent from now on.
    pub fn purge(&self) {
        self.producer
            .purge(PurgeConfig::default().queue().inflight());
    }

    /// False if this client has no connection to any node; one that answers slowly is a connection. Blocks for up to a second
    /// while it asks for a topic that should exist.
    pub fn is_connected(&self, topic: &str) -> bool {
        const ASK: Duration = Duration::from_secs(1);
        let asked = self.producer.client().fetch_metadata(Some(topic), ASK);
        // What a client says that found nobody to ask.
        let nobody = Some(RDKafkaErrorCode::BrokerTransportFailure);
        !asked.is_err_and(|cause| cause.rdkafka_error_code() == nobody)
    }

    /// For a client that has lost all nodes: says where Kafka is, as when the writer was made.
    pub fn tell_addresses(&self, kafka: &KafkaConfig) {
        tell_addresses(self.producer.client(), kafka.bootstrap_servers());
    }

    /// True if a connection broke since the writer was made, so that requests may have been sent twice, or if a record could
    /// not be sent in its time.
    pub(super) fn is_disturbed(&self) -> bool {
        self.is_disturbed.load(Ordering::Acquire)
    }

    /// The producer, for a call on another thread.
    pub(super) fn shared(&self) -> Arc<ThreadedProducer<DeliveryContext>> {
        Arc::clone(&self.producer)
    }

    pub(super) fn native(&self) -> &ThreadedProducer<DeliveryContext> {
        &self.producer
    }
}

fn not_delivered(topic: &str, cause: KafkaError) -> KafkaFault {
    let topic = topic.to_owned();
    write_denied(cause.rdkafka_error_code(), &topic)
        .unwrap_or(KafkaFault::NotDelivered { topic, cause })
}

/// The fault, if this code says that the records may not be written.
fn write_denied(code: Option<RDKafkaErrorCode>, topic: &str) -> Option<KafkaFault> {
    // Whoever may write to no topic at all gets no producer id, which Kafka calls an operation on the cluster.
    let code = match code {
        Some(RDKafkaErrorCode::ClusterAuthorizationFailed) => {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed)
        }
        code => code,
    };
    denied(code, &[Access::to_topic("Write", topic)])
}

/// What went wrong with the records of a list: all those that Kafka refuses, or the first other fault.
#[derive(Default)]
struct Faults {
    refused: Vec<usize>,
    /// Of the first record refused, with its topic.
    why: Option<(String, KafkaError)>,
    /// Of a record that was not written because another was refused.
    beside: Option<KafkaFault>,
    /// When the first one was refused.
    since: Option<Instant>,
}

/// Records that were on their way together are answered together. After a refusal the client may hold the others back
/// until it is told what to do, so there is no use in a longer wait.
const AFTER_A_REFUSAL: Duration = Duration::from_millis(100);

impl Faults {
    /// How long the answers for the other records are waited for; None: until they come.
    fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + AFTER_A_REFUSAL)
    }

    /// Goes on after a record that was refused, or that shared its way with one; an error otherwise.
    fn note(&mut self, index: usize, fault: KafkaFault) -> Result<(), KafkaFault> {
        match fault {
            KafkaFault::NotDelivered { topic, cause } => match cause.rdkafka_error_code() {
                Some(code) if is_refusal(code) => {
                    self.refused.push(index);
                    self.since.get_or_insert_with(Instant::now);
                    self.why.get_or_insert((topic, cause));
                    Ok(())
                }
                Some(RDKafkaErrorCode::InvalidDifferentRecord) => {
                    self.beside = Some(KafkaFault::NotDelivered { topic, cause });
                    Ok(())
                }
                // After a refusal the client takes nothing more for the same transaction.
                _ if self.why.is_some() => Ok(()),
                _ => Err(KafkaFault::NotDelivered { topic, cause }),
            },
            fault => Err(fault),
        }
    }

    fn outcome(self) -> Result<(), KafkaFault> {
        match (self.why, self.beside) {
            (Some((topic, cause)), _) => Err(KafkaFault::RefusedRecords {
                topic,
                records: self.refused,
                cause: Box::new(cause),
            }),
            (None, Some(beside)) => Err(beside),
            (None, None) => Ok(()),
        }
    }
}

/// A record that could not be sent in all its time: Kafka is away, or this client does not find the partition's leader any more,
/// which it never does again once it was told that there is none (librdkafka 2.12, its issue 5430). A new client does.
fn is_timeout(cause: &KafkaError) -> bool {
    cause.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut)
}

#[derive(Debug, Default)]
struct Unacknowledged {
    bytes: Mutex<usize>,
    fewer: Condvar,
}

impl Unacknowledged {
    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_room(&self) {
        let full = |bytes: &mut usize| *bytes >= MAX_UNACKNOWLEDGED_BYTES;
        drop(
            self.fewer
                .wait_while(self.lock(), full)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn acknowledge(&self, bytes: usize) {
        *self.lock() -= bytes;
        self.fewer.notify_all();
    }
}

pub(super) struct Waiting {
    answer_to: oneshot::Sender<Result<Delivered, KafkaError>>,
    bytes: usize,
}

pub(super) struct DeliveryContext {
    unacknowledged: Arc<Unacknowledged>,
    is_disturbed: Arc<AtomicBool>,
}

impl DeliveryContext {
    fn connection_broke(&self, how: &str) {
        // A connection that could not be made has carried nothing.
        if !how.contains("in state CONNECT") {
            self.is_disturbed.store(true, Ordering::Release);
        }
    }
}

impl ClientContext for DeliveryContext {
    fn error(&self, cause: KafkaError, reason: &str) {
        tracing::warn!(%cause, reason, "Kafka connection");
        self.connection_broke(reason);
    }

    /// A connection that the other side closed is no error to the client, even with requests on their way, which it then
    /// sends again. It only logs that.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            self.connection_broke(message);
        }
        if level as i32 <= RDKafkaLogLevel::Warning as i32 {
            tracing::warn!(facility, message, "Kafka client");
        } else {
            tracing::debug!(facility, message, "Kafka client");
        }
    }
}

impl ProducerContext<NoCustomPartitioner> for DeliveryContext {
    type DeliveryOpaque = Box<Waiting>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Box<Waiting>) {
        let outcome = match result {
            Ok(message) => Ok(Delivered {
                partition: message.partition(),
                offset: message.offset(),
            }),
            Err((cause, _)) => Err(cause.clone()),
        };
        if outcome.as_ref().is_err_and(is_timeout) {
            self.is_disturbed.store(true, Ordering::Release);
        }
        self.unacknowledged.acknowledge(waiting.bytes);
        // Nobody waits for a receipt that was dropped.
        let _ = waiting.answer_to.send(outcome);
    }
}
