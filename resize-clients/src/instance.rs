//! One instance of the video: frames are read, called for and written, several at once, until all are on disk.
//!
//! ```text
//! video thread -> read ahead -> [call -> write] x in flight -> counted
//! ```

use crate::board::Board;
use crate::client::Client;
use crate::config::Encoding;
use crate::folder::Folder;
use crate::video::{Frame, Frames, Video};
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
        let all = async {
            tokio::time::sleep_until(starts_at.into()).await;
            this.board.has_started(this.number);
            let frames = this.video.read(this.encoding)?;
            Self::all(&this, frames, &mut outcome).await
        };
        let result = stop.run_until_cancelled(all).await;
        let result = result.unwrap_or_else(|| Err(anyhow!("stopped before its end")));
        outcome.error = result.err();
        outcome.took = starts_at.elapsed();
        outcome.refusals = this.client.refusals.load(Relaxed);
        outcome.failures = this.client.failures.load(Relaxed);
        this.board.has_ended(&outcome);
        outcome
    }

    async fn all(
        this: &Arc<Self>,
        mut frames: Frames,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let mut calls = JoinSet::new();
        let mut read = 0;
        let mut at_end = false;
        while !at_end || !calls.is_empty() {
            tokio::select! {
                frame = frames.recv(), if !at_end && calls.len() < this.in_flight.get() => match frame {
                    None => at_end = true,
                    Some(frame) => {
                        let frame = frame?;
                        read = frame.number;
                        outcome.sent_bytes += frame.content.len() as u64;
                        calls.spawn(Arc::clone(this).one(frame));
                    }
                },
                Some(done) = calls.join_next() => {
                    let done = done.map_err(|error| anyhow!("a call's task ended: {error}"))??;
                    outcome.frames += 1;
                    outcome.received_bytes += done.received_bytes;
                    let latency_us = done.latency.as_micros() as u64;
                    outcome.latencies.record(latency_us).expect("it grows as needed");
                    this.board.has_frames(this.number, outcome.frames);
                }
            }
        }
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
