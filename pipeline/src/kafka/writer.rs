//! Records without transactions: idempotent, in order, each with a receipt.

use super::{KafkaConfig, KafkaFault, Outgoing};
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{
    BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;

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

    fn outcome(
        topic: &Arc<str>,
        result: Result<Delivered, KafkaError>,
    ) -> Result<Delivered, KafkaFault> {
        result.map_err(|cause| KafkaFault::NotDelivered {
            topic: topic.to_string(),
            cause,
        })
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
    producer: ThreadedProducer<DeliveryContext>,
    unacknowledged: Arc<Unacknowledged>,
    is_disturbed: Arc<AtomicBool>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// A producer of its own connections and buffers.
    pub fn new(config: &KafkaConfig) -> Result<Self, KafkaFault> {
        Self::from_client_config(&config.producer())
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
        Ok(Self {
            producer,
            unacknowledged,
            is_disturbed,
        })
    }

    /// Hands the record to the client. Blocks while too many bytes wait for Kafka's acknowledgement.
    ///
    /// Records of one partition keep the order of these calls.
    pub fn send(&self, record: &Outgoing) -> Result<Receipt, KafkaFault> {
        self.unacknowledged.wait_for_room();
        self.send_now(record)
    }

    /// Sends all and waits for all acknowledgements.
    pub fn send_all<'a>(
        &self,
        records: impl IntoIterator<Item = &'a Outgoing>,
    ) -> Result<(), KafkaFault> {
        let receipts: Vec<_> = records
            .into_iter()
            .map(|record| self.send(record))
            .collect::<Result<_, _>>()?;
        receipts
            .into_iter()
            .try_for_each(|receipt| receipt.wait().map(drop))
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
            payload: Some(&record.payload[..]),
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
                Err(KafkaFault::NotDelivered {
                    topic: record.topic.to_string(),
                    cause,
                })
            }
        }
    }

    /// Waits until everything sent is acknowledged or given up.
    pub fn flush(&self, at_most: Duration) -> Result<(), KafkaFault> {
        self.producer
            .flush(at_most)
            .map_err(KafkaFault::request("flushing the last records to Kafka"))
    }

    /// True if a connection broke since the writer was made: requests may have been sent twice.
    pub(super) fn is_disturbed(&self) -> bool {
        self.is_disturbed.load(Ordering::Acquire)
    }

    pub(super) fn native(&self) -> &ThreadedProducer<DeliveryContext> {
        &self.producer
    }
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

impl ClientContext for DeliveryContext {
    fn error(&self, cause: KafkaError, reason: &str) {
        tracing::warn!(%cause, reason, "Kafka connection");
        // A connection that could not be made has carried nothing.
        if !reason.contains("in state CONNECT") {
            self.is_disturbed.store(true, Ordering::Release);
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
        self.unacknowledged.acknowledge(waiting.bytes);
        // Nobody waits for a receipt that was dropped.
        let _ = waiting.answer_to.send(outcome);
    }
}
