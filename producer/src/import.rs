//! Frames to Kafka in transactions, so that a start after a kill -9 finds exactly what it has to go on with.
//!
//! All frames of a transaction are there or none is, and a newer start of the source fences this one: what it reads
//! back is final.

use crate::encode::{EncodedStream, Outbound};
use crate::epoch::{FENCE_LOOK, TakenOver};
use crate::handover::Ending;
use crate::message::Messages;
use crate::progress::Progress;
use crate::publish::PublishError;
use futures::future::BoxFuture;
use pipeline::kafka::{Outgoing, TransactionFault, TransactionalWriter};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// A commit takes some 5 to 10 ms: with this many frames in one it costs little.
const BATCH_FRAMES: usize = 50;
/// Well under what Kafka's client buffers.
const BATCH_BYTES: usize = 8 << 20;
/// A slow source's frames do not wait longer than this for their batch to fill.
const BATCH_TIME: Duration = Duration::from_millis(100);
/// Aborted surely and for a passing reason; more often than this it does not pass.
const ATTEMPTS: usize = 5;

/// Sends what one epoch of one source gives. Every call blocks: it runs on a thread of its own.
pub struct Importer {
    /// Makes the records.
    pub messages: Messages,
    /// What to send.
    pub frames: EncodedStream,
    /// Of the same transactional id as the claim.
    pub writer: TransactionalWriter,
    /// What was sent.
    pub progress: Arc<Progress>,
    /// The source's id, for the log.
    pub source_id: String,
    /// The sequence of the next frame.
    pub next: u64,
    /// For waits.
    pub runtime: Handle,
    /// Resolves when a newer start takes over.
    pub taken_over: BoxFuture<'static, TakenOver>,
}

#[derive(Default)]
struct Batch {
    records: Vec<Outgoing>,
    bytes: usize,
    frame_bytes: Vec<usize>,
    ending: Option<Ending>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_FRAMES || self.bytes >= BATCH_BYTES || self.ending.is_some()
    }

    fn push(&mut self, record: Outgoing) {
        self.bytes += record.payload.len();
        self.frame_bytes.push(record.payload.len());
        self.records.push(record);
    }
}

impl Importer {
    /// Runs until the source has ended and Kafka has committed everything.
    ///
    /// A source that was stopped gets no end-of-stream record: `--resume` goes on with it later.
    pub fn run(mut self) -> Result<Ending, PublishError> {
        loop {
            let first = self.next;
            let mut batch = self.collect()?;
            match &batch.ending {
                None | Some(Ending::Stopped) => {}
                Some(ending) => {
                    let last = self.next.checked_sub(1);
                    batch.records.push(self.messages.end(last, ending)?);
                }
            }
            self.commit(first, &batch)?;
            match batch.ending {
                None => {}
                Some(Ending::Failed(why)) => return Err(PublishError::Source(why)),
                Some(ending) => return Ok(ending),
            }
        }
    }

    /// Waits for the first frame, then a little longer for more.
    fn collect(&mut self) -> Result<Batch, PublishError> {
        let mut batch = Batch::default();
        let mut until: Option<tokio::time::Instant> = None;
        while !batch.is_full() {
            let Self {
                runtime,
                frames,
                taken_over,
                ..
            } = self;
            let full_time = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let outbound = runtime.block_on(async {
                tokio::select! {
                    biased;
                    newer = taken_over => Err(Box::new(newer).into()),
                    outbound = frames.next() => outbound.map(Some).ok_or(PublishError::StageLost),
                    () = full_time => Ok(None),
                }
            })?;
            match outbound {
                Some(outbound) => self.add(&mut batch, outbound)?,
                None => break,
            }
            until.get_or_insert_with(|| tokio::time::Instant::now() + BATCH_TIME);
        }
        Ok(batch)
    }

    fn add(&mut self, batch: &mut Batch, outbound: Outbound) -> Result<(), PublishError> {
        match outbound {
            Outbound::Frame(frame) => {
                let sequence = frame.sequence;
                let progress = &self.progress;
                progress.shows(frame.captured_unix_ns, frame.width, frame.height);
                match self.messages.frame(frame) {
                    Ok(record) => {
                        self.progress.sent(sequence, record.payload.len());
                        self.next = sequence + 1;
                        batch.push(record);
                    }
                    Err(fault) => {
                        let why = PublishError::from(fault).to_string();
                        batch.ending = Some(Ending::Failed(why));
                    }
                }
            }
            Outbound::Gap(run) => {
                // Files wait; if that ever changes, the gap is said like any other.
                self.next = run.first + run.count;
                batch.push(self.messages.gap(run)?);
            }
            Outbound::Failed { sequence, why } => {
                let id = self.messages.id(sequence);
                batch.ending = Some(Ending::Failed(format!("frame {id}: {why}")));
            }
            Outbound::End(ending) => batch.ending = Some(ending),
        }
        Ok(())
    }

    fn commit(&mut self, first: u64, batch: &Batch) -> Result<(), PublishError> {
        if batch.records.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        let mut attempts = 1;
        loop {
            match self.writer.commit(&batch.records, None) {
                Ok(()) => break,
                Err(TransactionFault::Aborted(fault)) if attempts < ATTEMPTS => {
                    tracing::warn!(source = self.source_id, %fault, "a batch was aborted; sending it again");
                    attempts += 1;
                }
                Err(fault) => return Err(self.why(first, &fault)),
            }
        }
        for bytes in &batch.frame_bytes {
            self.progress.acknowledged(*bytes, start.elapsed());
        }
        Ok(())
    }

    /// The usual reason is a newer start of the same source: then that is the error.
    fn why(&mut self, from: u64, fault: &TransactionFault) -> PublishError {
        let taken_over = &mut self.taken_over;
        let newer = self
            .runtime
            .block_on(async { tokio::time::timeout(FENCE_LOOK, taken_over).await });
        match newer {
            Ok(newer) => Box::new(newer).into(),
            Err(_) => PublishError::NotCommitted {
                from,
                why: fault.to_string(),
            },
        }
    }
}
