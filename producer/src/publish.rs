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
    TakenOver(#[from] Box<TakenOver>),
    /// Kafka refused a record or did not answer in time.
    #[error("frame {frame} is not delivered, so the source stops here: {cause}")]
    NotDelivered {
        /// Its id.
        frame: String,
        /// Why.
        cause: Box<KafkaFault>,
    },
    /// Kafka's client has lost all nodes, for good.
    #[error(
        "Kafka's client has lost all nodes, though Kafka answers (it does that when Kafka stalls for some seconds): frame \
         {frame} and those after it may not be delivered, and the source stops here. Start it again"
    )]
    ClientLost {
        /// The oldest one without an answer, or the next one.
        frame: String,
    },
    /// A transaction failed; nothing after the last one before it is in Kafka.
    #[error(
        "the frames from {from} on are not delivered: {why}. Run it again with --resume to go on"
    )]
    NotCommitted {
        /// The first frame's sequence.
        from: u64,
        /// Why.
        why: String,
    },
    /// A frame does not fit into a record.
    #[error("{0} (--quality, --resize)")]
    TooLarge(String),
    /// The source itself failed.
    #[error("{0}")]
    Source(String),
    /// Stopped, and Kafka did not answer.
    #[error(
        "Kafka has not acknowledged everything within {GRACE:?} after the stop: the last frames may be lost"
    )]
    GraceOver,
    /// A thread before this one ended without a word.
    #[error("a thread of the source ended unexpectedly")]
    StageLost,
}

impl From<TooLarge> for PublishError {
    fn from(fault: TooLarge) -> Self {
        Self::TooLarge(fault.to_string())
    }
}

/// Sends what one epoch of one source gives.
pub struct Publisher {
    /// Makes the records.
    pub messages: Messages,
    /// What to send.
    pub frames: EncodedStream,
    /// To Kafka.
    pub writer: Arc<Writer>,
    /// What was sent.
    pub progress: Arc<Progress>,
    /// The source is to end: bounds the wait for Kafka.
    pub stop: CancellationToken,
    /// The sequence of the next frame.
    pub next: u64,
}

/// A record without Kafka's answer.
struct Unacknowledged {
    receipt: Receipt,
    sequence: u64,
    bytes: usize,
    sent: Instant,
    kind: SentKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SentKind {
    Frame,
    /// A gap or an end.
    Notice,
}

impl Publisher {
    /// Runs until the source has ended and Kafka has everything, including the record that says how it ended. `lost`
    /// resolves when the writer cannot reach Kafka any more.
    pub async fn run(
        self,
        taken_over: impl Future<Output = TakenOver>,
        lost: impl Future<Output = ()>,
    ) -> Result<Ending, PublishError> {
        let stop = self.stop.clone();
        let grace = async {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let mut sending = Sending {
            publisher: self,
            waiting: VecDeque::new(),
        };
        let result = tokio::select! {
            biased;
            newer = taken_over => Some(Err(Box::new(newer).into())),
            result = sending.send_all() => Some(result),
            () = grace => Some(Err(PublishError::GraceOver)),
            () = lost => None,
        };
        let result = result.unwrap_or_else(|| Err(sending.lost()));
        let end = move || {
            // A look whether the writer is lost may hold it for a while: what has not been sent must not follow then.
            sending.publisher.writer.purge();
            // If nobody holds it, this waits for its thread.
            drop(sending);
        };
        let dropped = tokio::task::spawn_blocking(end).await;
        dropped.map_err(|_| PublishError::StageLost).and(result)
    }
}

struct Sending {
    publisher: Publisher,
    /// In the order in which they were sent.
    waiting: VecDeque<Unacknowledged>,
}

impl Sending {
    async fn send_all(&mut self) -> Result<Ending, PublishError> {
        match self.send_frames().await {
            Ok(ending) => {
                self.send_end(&ending).await?;
                match ending {
                    Ending::Failed(why) => Err(PublishError::Source(why)),
                    ending => Ok(ending),
                }
            }
            Err(fault) => {
                // Kafka may be gone: the end is worth a try, not a long wait.
                let ending = Ending::Failed(fault.to_string());
                let sending = tokio::time::timeout(GRACE, self.send_end(&ending));
                if !matches!(sending.await, Ok(Ok(()))) {
                    tracing::warn!("the record that ends the epoch could not be written");
                }
                Err(fault)
            }
        }
    }

    async fn send_frames(&mut self) -> Result<Ending, PublishError> {
        loop {
            let full = self.waiting.len() >= MAX_UNACKNOWLEDGED;
            tokio::select! {
                biased;
                answer = next_answer(&mut self.waiting) => self.acknowledge(answer)?,
                outbound = self.publisher.frames.next(), if !full => {
                    let outbound = outbound.ok_or(PublishError::StageLost)?;
                    if let Some(ending) = self.pass_on(outbound).await? {
                        return Ok(ending);
                    }
                }
            }
        }
    }

    /// Sends one item, unless it is the end.
    async fn pass_on(&mut self, outbound: Outbound) -> Result<Option<Ending>, PublishError> {
        let messages = &self.publisher.messages;
        match outbound {
            Outbound::Frame(frame) => {
                let sequence = frame.sequence;
                let progress = &self.publisher.progress;
                progress.shows(frame.captured_unix_ns, frame.width, frame.height);
                let record = messages.frame(frame)?;
                let bytes = record.payload.len();
                self.send(record, sequence, SentKind::Frame).await?;
                self.publisher.progress.sent(sequence, bytes);
            }
            Outbound::Gap(run) => {
                let record = messages.gap(run)?;
                self.send(record, run.first + run.count - 1, SentKind::Notice)
                    .await?;
            }
            Outbound::Failed { sequence, why } => {
                let id = messages.id(sequence);
                return Ok(Some(Ending::Failed(format!("frame {id}: {why}"))));
            }
            Outbound::End(ending) => return Ok(Some(ending)),
        }
        Ok(None)
    }

    async fn send_end(&mut self, ending: &Ending) -> Result<(), PublishError> {
        let last = self.publisher.next.checked_sub(1);
        let record = self.publisher.messages.end(last, ending)?;
        self.send(record, last.unwrap_or(0), SentKind::Notice)
            .await?;
        while !self.waiting.is_empty() {
            let answer = next_answer(&mut self.waiting).await;
            self.acknowledge(answer)?;
        }
        Ok(())
    }

    /// Hands a record that reaches up to `sequence` to the client, waiting for Kafka's answers while it has too much.
    async fn send(
        &mut self,
        record: Outgoing,
        sequence: u64,
        kind: SentKind,
    ) -> Result<(), PublishError> {
        let receipt = loop {
            let sent = self.publisher.writer.try_send(&record);
            match sent.map_err(|cause| self.not_delivered(sequence, cause))? {
                Some(receipt) => break receipt,
                None => {
                    let answer = next_answer(&mut self.waiting).await;
                    self.acknowledge(answer)?;
                }
            }
        };
        self.waiting.push_back(Unacknowledged {
            receipt,
            sequence,
            bytes: record.payload.len(),
            sent: Instant::now(),
            kind,
        });
        self.publisher.next = sequence + 1;
        Ok(())
    }

    fn acknowledge(&self, (record, answer): Answer) -> Result<(), PublishError> {
        answer.map_err(|cause| self.not_delivered(record.sequence, cause))?;
        if record.kind == SentKind::Frame {
            let took = record.sent.elapsed();
            self.publisher.progress.acknowledged(record.bytes, took);
        }
        Ok(())
    }

    fn lost(&self) -> PublishError {
        let oldest = self.waiting.front().map(|record| record.sequence);
        let sequence = oldest.unwrap_or(self.publisher.next);
        PublishError::ClientLost {
            frame: self.publisher.messages.id(sequence).to_string(),
        }
    }

    fn not_delivered(&self, sequence: u64, cause: KafkaFault) -> PublishError {
        PublishError::NotDelivered {
            frame: self.publisher.messages.id(sequence).to_string(),
            cause: Box::new(cause),
        }
    }
}

type Answer = (Unacknowledged, Result<Delivered, KafkaFault>);

/// Waits for Kafka's answer about the oldest record; for ever if there is none. Nothing is lost if the future is
/// dropped.
async fn next_answer(waiting: &mut VecDeque<Unacknowledged>) -> Answer {
    match waiting.front_mut() {
        Some(oldest) => {
            let answer = (&mut oldest.receipt).await;
            let oldest = waiting.pop_front().expect("it was there");
            (oldest, answer)
        }
        None => std::future::pending().await,
    }
}
