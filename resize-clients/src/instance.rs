//! One instance of the video: frames are read, called for and written, several at once, until all are on disk.
//!
//! ```text
//! video thread -> read ahead -> [call -> write] x in flight -> counted
//! ```

use crate::board::Board;
use crate::client::Client;
use crate::config::Encoding;
use crate::folder::Folder;
use crate::video::{Frame, Video};
use anyhow::{Context, anyhow};
use hdrhistogram::Histogram;
use processor_proto::v1::{self, FrameId, frame::Content};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What a frame asks the service for: see `processor resize --help`.
const LABEL: &str = "resize";
/// What calls under way get to end in after a stop.
const LAST_CALLS: Duration = Duration::from_secs(2);
/// Three digits are enough for a latency.
const DIGITS: u8 = 3;

/// One of N.
#[derive(Debug)]
pub struct Instance {
    /// From 1.
    pub number: u32,
    pub video: Video,
    pub encoding: Encoding,
    pub in_flight: NonZeroUsize,
    /// The text of the size that is asked for, if one is.
    pub wish: Option<String>,
    pub client: Client,
    pub folder: Folder,
    pub board: Arc<Board>,
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    pub number: u32,
    /// On disk.
    pub frames: u64,
    pub took: Duration,
    /// From a frame's first call until its picture is on disk, microseconds.
    pub latencies: Histogram<u64>,
    /// Contents only, each frame once.
    pub sent_bytes: u64,
    /// Contents only.
    pub received_bytes: u64,
    /// Calls that the service refused because it was full.
    pub refusals: u64,
    /// Calls that failed or got lost.
    pub failures: u64,
    /// Why not every frame is on disk.
    pub error: Option<anyhow::Error>,
}

struct Done {
    latency: Duration,
    received_bytes: u64,
}

impl Outcome {
    fn count(&mut self, done: &Done) {
        self.frames += 1;
        self.received_bytes += done.received_bytes;
        let latency_us = done.latency.as_micros() as u64;
        self.latencies
            .record(latency_us)
            .expect("it grows as needed");
    }
}

/// The error that came first; what comes after it is mostly of its making.
fn first(end: Option<anyhow::Result<()>>, error: anyhow::Error) -> anyhow::Result<()> {
    match end {
        Some(Err(first)) => Err(first),
        None | Some(Ok(())) => Err(error),
    }
}

/// Never, if there is no time.
async fn at(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Instance {
    /// Runs from its start to the end of the video, to the first frame that cannot be had, or until `stop`.
    pub async fn run(self, starts_at: Instant, stop: CancellationToken) -> Outcome {
        let this = Arc::new(self);
        let mut outcome = Outcome {
            number: this.number,
            frames: 0,
            took: Duration::ZERO,
            latencies: Histogram::new(DIGITS).expect("3 digits are possible"),
            sent_bytes: 0,
            received_bytes: 0,
            refusals: 0,
            failures: 0,
            error: None,
        };
        let wait = tokio::time::sleep_until(starts_at.into());
        let result = match stop.run_until_cancelled(wait).await {
            Some(()) => Self::all(&this, &mut outcome, &stop).await,
            None => Err(anyhow!("stopped before its start")),
        };
        outcome.error = result.err();
        outcome.took = starts_at.elapsed();
        outcome.refusals = this.client.refusals.load(Relaxed);
        outcome.failures = this.client.failures.load(Relaxed);
        this.board.has_ended(&outcome);
        outcome
    }

    /// What is under way when something goes wrong is brought to its end, so that the count is right.
    async fn all(
        this: &Arc<Self>,
        outcome: &mut Outcome,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        this.board.has_started(this.number);
        let mut frames = this.video.read(this.encoding)?;
        let mut calls = JoinSet::new();
        let mut read = 0;
        let mut end: Option<anyhow::Result<()>> = None;
        let mut give_up_at = None;
        while end.is_none() || !calls.is_empty() {
            let has_room = calls.len() < this.in_flight.get();
            tokio::select! {
                frame = frames.recv(), if end.is_none() && has_room => match frame {
                    None => end = Some(Ok(())),
                    Some(Err(error)) => end = Some(Err(error.into())),
                    Some(Ok(frame)) => {
                        read = frame.number;
                        outcome.sent_bytes += frame.content.len() as u64;
                        calls.spawn(Arc::clone(this).one(frame));
                    }
                },
                Some(done) = calls.join_next() => match done {
                    Ok(Ok(done)) => {
                        outcome.count(&done);
                        this.board.has_frames(this.number, outcome.frames);
                    }
                    Ok(Err(error)) => end = Some(first(end, error)),
                    Err(error) => end = Some(first(end, anyhow!("a call's task ended: {error}"))),
                },
                () = stop.cancelled(), if give_up_at.is_none() => {
                    end = Some(first(end, anyhow!("stopped before its end")));
                    give_up_at = Some(tokio::time::Instant::now() + LAST_CALLS);
                }
                () = at(give_up_at) => calls.shutdown().await,
            }
        }
        end.unwrap_or(Ok(()))?;
        this.folder.check(read)
    }

    /// From a frame to its file.
    async fn one(self: Arc<Self>, frame: Frame) -> anyhow::Result<Done> {
        let began = Instant::now();
        let number = frame.number;
        let picture = self.client.resize(number, self.message(frame)).await?;
        let received_bytes = picture.content.len() as u64;
        let this = Arc::clone(&self);
        let written =
            tokio::task::spawn_blocking(move || this.folder.write(number, &picture.content));
        written.await?.with_context(|| {
            format!(
                "frame {number} cannot be written to {}: is the disk full?",
                self.folder.path().display()
            )
        })?;
        Ok(Done {
            latency: began.elapsed(),
            received_bytes,
        })
    }

    fn message(&self, frame: Frame) -> v1::Frame {
        let wish = self.wish.as_ref();
        v1::Frame {
            id: Some(FrameId::new(
                format!("vid-instance{}", self.number),
                1,
                frame.number - 1,
            )),
            codec: frame.codec.into(),
            pixel_format: frame.pixel_format.into(),
            width: frame.size.0,
            height: frame.size.1,
            keyframe: true,
            labels: wish
                .map(|wish| (LABEL.to_owned(), wish.clone()))
                .into_iter()
                .collect(),
            content: Some(Content::Inline(frame.content)),
            ..v1::Frame::default()
        }
    }
}
