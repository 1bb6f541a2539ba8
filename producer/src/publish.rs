//! Frames to Kafka, each at once, in order. The first record that is not delivered ends the source.

use crate::encode::{EncodedStream, Outbound};
use crate::epoch::TakenOver;
use crate::handover::Ending;
use crate::message::Messages;
use crate::progress::Progress;
use pipeline::kafka::{Delivered, KafkaFault, Outgoing, Receipt, Writer};
use pipeline::wire::TooLarge;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Records without an answer. With small pictures the writer's bound by bytes would allow too many.
const MAX_UNACKNOWLEDGED: usize = 2_000;
/// How long a source that was stopped waits for Kafka's last answers.
pub const GRACE: Duration = Duration::from_secs(10);

/// Why a source ended badly.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A newer start of the same source.
    #[error(transparent)]
    TakenOver(#[from] TakenOver),
    /// Kafka refused a record or did not answer in time.
    #[error("frame {frame} is not delivered, so the source stops here: {cause}")]
    NotDelivered {
        /// Its id.
        frame: String,
        /// Why.
        cause: KafkaFault,
    },
    /// A transaction failed; nothing after the last one before it is in Kafka.
    #[error(
        "{source_id}: the frames from {from} on are not delivered: {why}. Run it again with --resume to go on"
    )]
    NotCommitted {
        /// The source.
        source_id: String,
        /// The first frame's sequence.
        from: u64,
        /// Why.
        why: String,
    },
    /// A frame does not fit into a record.
    #[error("{0} (--quality, --resize)")]
    TooLarge(#[from] TooLarge),
    /// The source itself failed.
    #[error("{0}")]
    Source(String),
    /// Stopped, and Kafka did not answer.
    #[error("{0} records were not acknowledged within {GRACE:?} after the stop: is Kafka down?")]
    GraceOver(usize),
    /// A thread before this one ended without a word.
    #[error("a thread of the source ended unexpectedly")]
    StageLost,
}

/// Sends what one epoch of one source gives.
pub struct Publisher {
    pub messages: Messages,
    pub frames: EncodedStream,
    pub writer: Writer,
    pub progress: Arc<Progress>,
    /// The source is to end: bounds the wait for Kafka.
    pub stop: CancellationToken,
    waiting: VecDeque<Unacknowledged>,
    /// The last sequence that was sent, or stands in a gap that was.
    last: Option<u64>,
}

struct Unacknowledged {
    receipt: Receipt,
    sequence: u64,
    bytes: usize,
    sent: Instant,
    is_frame: bool,
}

/// A record and what the counters say of it.
struct Pending {
    record: Outgoing,
    last: u64,
    is_frame: bool,
}

impl Publisher {
    /// `first` is the sequence of the first frame to come.
    pub fn new(
        messages: Messages,
        frames: EncodedStream,
        writer: Writer,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            messages,
            frames,
            writer,
            progress,
            stop,
            waiting: VecDeque::new(),
            last: None,
        }
    }

    /// Runs until the source has ended and Kafka has everything, including the record that says how it ended.
    pub async fn run(
        mut self,
        taken_over: impl Future<Output = TakenOver>,
    ) -> Result<Ending, PublishError> {
        let stop = self.stop.clone();
        let grace = async {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let result = tokio::select! {
            biased;
            newer = taken_over => Err(newer.into()),
            result = self.send_all() => result,
            () = grace => Err(PublishError::GraceOver(0)),
        };
        let result = match result {
            Err(PublishError::GraceOver(_)) => Err(PublishError::GraceOver(self.waiting.len())),
            other => other,
        };
        // Dropping the writer waits for its thread.
        let Self { writer, .. } = self;
        if tokio::task::spawn_blocking(move || drop(writer))
            .await
            .is_err()
        {
            return Err(PublishError::StageLost);
        }
        result
    }

    async fn send_all(&mut self) -> Result<Ending, PublishError> {
        let outcome = self.send_frames().await;
        let ending = match &outcome {
            Ok(ending) => ending.clone(),
            Err(fault) => Ending::Failed(fault.to_string()),
        };
        match (outcome, self.send_end(&ending)) {
            (Ok(_), sending) => sending.await?,
            (Err(fault), sending) => {
                // Kafka may be gone: the end is worth a try, not a long wait.
                if !matches!(tokio::time::timeout(GRACE, sending).await, Ok(Ok(()))) {
                    tracing::warn!("the record that ends the epoch could not be written");
                }
                return Err(fault);
            }
        }
        match ending {
            Ending::Failed(why) => Err(PublishError::Source(why)),
            ending => Ok(ending),
        }
    }

    async fn send_frames(&mut self) -> Result<Ending, PublishError> {
        loop {
            let full = self.waiting.len() >= MAX_UNACKNOWLEDGED;
            tokio::select! {
                biased;
                delivered = next_receipt(&mut self.waiting), if !self.waiting.is_empty() => {
                    self.acknowledge(delivered)?;
                }
                outbound = self.frames.next(), if !full => {
                    let pending = match outbound.ok_or(PublishError::StageLost)? {
                        Outbound::Frame(frame) => Pending {
                            last: frame.sequence,
                            record: self.messages.frame(frame)?,
                            is_frame: true,
                        },
                        Outbound::Gap(run) => Pending {
                            last: run.first + run.count - 1,
                            record: self.messages.gap(run)?,
                            is_frame: false,
                        },
                        Outbound::Failed { sequence, why } => {
                            let id = self.messages.id(sequence);
                            return Ok(Ending::Failed(format!("frame {id}: {why}")));
                        }
                        Outbound::End(ending) => return Ok(ending),
                    };
                    self.send(pending).await?;
                }
            }
        }
    }

    async fn send_end(&mut self, ending: &Ending) -> Result<(), PublishError> {
        let pending = Pending {
            record: self.messages.end(self.last, ending)?,
            last: self.last.unwrap_or(0),
            is_frame: false,
        };
        self.send(pending).await?;
        while !self.waiting.is_empty() {
            let delivered = next_receipt(&mut self.waiting).await;
            self.acknowledge(delivered)?;
        }
        Ok(())
    }

    /// Hands a record to the client, waiting for Kafka's answers while it has too much.
    async fn send(&mut self, pending: Pending) -> Result<(), PublishError> {
        let Pending {
            record,
            last,
            is_frame,
        } = pending;
        let sequence = last;
        let receipt = loop {
            let sent = self.writer.try_send(&record);
            match sent.map_err(|cause| self.not_delivered(sequence, cause))? {
                Some(receipt) => break receipt,
                None => {
                    let delivered = next_receipt(&mut self.waiting).await;
                    self.acknowledge(delivered)?;
                }
            }
        };
        let bytes = record.payload.len();
        self.waiting.push_back(Unacknowledged {
            receipt,
            sequence,
            bytes,
            sent: Instant::now(),
            is_frame,
        });
        self.last = Some(last);
        if is_frame {
            self.progress.sent(sequence, bytes);
        }
        Ok(())
    }

    fn acknowledge(
        &mut self,
        (record, delivered): (Unacknowledged, Result<Delivered, KafkaFault>),
    ) -> Result<(), PublishError> {
        delivered.map_err(|cause| self.not_delivered(record.sequence, cause))?;
        if record.is_frame {
            self.progress
                .acknowledged(record.bytes, record.sent.elapsed());
        }
        Ok(())
    }

    fn not_delivered(&self, sequence: u64, cause: KafkaFault) -> PublishError {
        PublishError::NotDelivered {
            frame: self.messages.id(sequence).to_string(),
            cause,
        }
    }
}

/// Waits for the answer about the oldest record. Nothing is lost if the future is dropped.
async fn next_receipt(
    waiting: &mut VecDeque<Unacknowledged>,
) -> (Unacknowledged, Result<Delivered, KafkaFault>) {
    match waiting.front_mut() {
        Some(oldest) => {
            let delivered = (&mut oldest.receipt).await;
            let oldest = waiting.pop_front().expect("it was there");
            (oldest, delivered)
        }
        None => std::future::pending().await,
    }
}
