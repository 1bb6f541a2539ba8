//! Pictures to bytes, on several threads, in order.
//!
//! ```text
//! capture -> handover -> [turn] -> encoder 1 --+
//!                          |  \--> encoder 2 --+--> each fills its own slot
//!                          +--> slots in order --> EncodedStream -> publisher
//! ```
//! An encoder takes an item and queues an empty slot for it in one turn, so slots are in the order of the sequence,
//! whichever encoder is done first.

mod content;

use crate::config::Encoding;
use crate::handover::{Ending, Item, Taker};
use crate::input::Picture;
use crate::overload::{Run, Waiting};
use crate::worker::Worker;
use bytes::Bytes;
use content::content_of;
use pipeline::v1::{Codec, PixelFormat};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A captured picture on its way.
#[derive(Debug)]
pub struct Captured {
    /// Since the beginning of the source.
    pub pts: Duration,
    /// What was captured.
    pub picture: Picture,
}

/// What the publisher gets, in the order of the sequence.
#[derive(Debug)]
pub enum Outbound {
    /// A frame.
    Frame(Encoded),
    /// Frames that were dropped.
    Gap(Run),
    /// A frame that cannot be encoded.
    Failed { sequence: u64, why: String },
    /// Nothing follows.
    End(Ending),
}

/// A frame that is ready to be sent.
#[derive(Debug)]
pub struct Encoded {
    /// Its number in the epoch.
    pub sequence: u64,
    /// Nanoseconds since the Unix epoch.
    pub captured_unix_ns: i64,
    /// Since the beginning of the source.
    pub pts: Duration,
    /// The codec.
    pub codec: Codec,
    /// The layout after decoding.
    pub pixel_format: PixelFormat,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The encoded picture.
    pub content: Bytes,
}

/// Encoded frames that wait for the publisher: enough to keep every encoder busy while it sends one.
const ENCODED_AHEAD: usize = 8;
/// A JPEG of 1280x720 takes some 5 ms: four threads keep up with any camera and leave cores to others.
const MAX_ENCODERS: usize = 4;

/// The encoders' output.
#[derive(Debug)]
pub struct EncodedStream {
    slots: mpsc::Receiver<oneshot::Receiver<Outbound>>,
    current: Option<oneshot::Receiver<Outbound>>,
}

impl EncodedStream {
    /// The next frame in order. None after the end, or if a thread before this one panicked. Nothing is lost if the
    /// future is dropped.
    pub async fn next(&mut self) -> Option<Outbound> {
        if self.current.is_none() {
            self.current = self.slots.recv().await;
        }
        let outbound = self.current.as_mut()?.await.ok();
        self.current = None;
        outbound
    }
}

/// Starts the encoders of one source.
pub fn spawn(
    source_id: &str,
    taker: &Taker<Captured>,
    encoding: Encoding,
) -> std::io::Result<(EncodedStream, Vec<Worker>)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (sender, slots) = mpsc::channel(ENCODED_AHEAD);
    let turn = Arc::new(Mutex::new(sender));
    let workers = (0..cores.min(MAX_ENCODERS))
        .map(|n| {
            let (taker, turn) = (taker.clone(), Arc::clone(&turn));
            Worker::spawn(&format!("encode {source_id} {n}"), move || {
                run(&taker, &turn, encoding);
            })
        })
        .collect::<std::io::Result<_>>()?;
    let stream = EncodedStream {
        slots,
        current: None,
    };
    Ok((stream, workers))
}

type Turn = Mutex<mpsc::Sender<oneshot::Receiver<Outbound>>>;

fn run(taker: &Taker<Captured>, turn: &Turn, encoding: Encoding) {
    loop {
        let (item, fill) = {
            let slots = turn.lock().unwrap_or_else(PoisonError::into_inner);
            // The slot first: a frame that is taken from the queue is beyond the reach of the overload policy.
            let Ok(slot) = futures::executor::block_on(slots.reserve()) else {
                return; // the publisher has ended
            };
            let Some(item) = taker.take() else {
                return;
            };
            let (fill, filled) = oneshot::channel();
            slot.send(filled);
            (item, fill)
        };
        let outbound = match item {
            Item::Frame(frame) => encode(frame, encoding),
            Item::Gap(run) => Outbound::Gap(run),
            Item::End(ending) => Outbound::End(ending),
        };
        if fill.send(outbound).is_err() {
            return;
        }
    }
}

fn encode(frame: Waiting<Captured>, encoding: Encoding) -> Outbound {
    let sequence = frame.sequence;
    match content_of(frame.frame.picture, encoding) {
        Ok(content) => Outbound::Frame(Encoded {
            sequence,
            captured_unix_ns: frame.captured_unix_ns,
            pts: frame.frame.pts,
            codec: content.codec,
            pixel_format: PixelFormat::Bgr24,
            width: content.width,
            height: content.height,
            content: content.bytes,
        }),
        Err(why) => Outbound::Failed {
            sequence,
            why: why.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::handover;
    use crate::options::{Overload, PictureCodec};
    use crate::overload::Bounds;
    use opencv::core::{CV_8UC3, Mat, Scalar};

    const JPEG: Encoding = Encoding {
        codec: PictureCodec::Jpeg,
        quality: None,
        resize: None,
    };

    fn pixels(width: i32, height: i32) -> Mat {
        Mat::new_rows_cols_with_default(height, width, CV_8UC3, Scalar::all(90.0)).unwrap()
    }

    #[test]
    fn frames_come_out_in_order_whatever_they_cost() {
        let bounds = Bounds {
            frames: 4,
            bytes: usize::MAX,
        };
        let (giver, taker) = handover(Overload::Wait, bounds);
        let (mut stream, workers) = spawn("test", &taker, JPEG).unwrap();
        drop(taker);
        let capture = std::thread::spawn(move || {
            for sequence in 0..60 {
                let side = if sequence % 3 == 0 { 600 } else { 16 };
                let frame = Captured {
                    pts: Duration::ZERO,
                    picture: Picture::Pixels(pixels(side, side)),
                };
                let waiting = Waiting {
                    sequence,
                    captured_unix_ns: 0,
                    bytes: 1,
                    frame,
                };
                giver.give(waiting).unwrap();
            }
            giver.end(Ending::Finished);
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            for expected in 0..60 {
                match stream.next().await {
                    Some(Outbound::Frame(frame)) => assert_eq!(frame.sequence, expected),
                    other => panic!("{other:?}"),
                }
            }
            assert!(matches!(
                stream.next().await,
                Some(Outbound::End(Ending::Finished))
            ));
            assert!(stream.next().await.is_none());
            for worker in workers {
                worker.join(Duration::from_secs(10)).await.unwrap();
            }
        });
        capture.join().unwrap();
    }
}
