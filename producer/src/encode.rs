//! Pictures to bytes, on several threads, in order.
//!
//! ```text
//! capture -> handover -> [turn] -> encoder 1 --+
//!                          |  \--> encoder 2 --+--> each fills its own slot
//!                          +--> slots in order --> EncodedStream -> publisher
//! ```
//! An encoder takes an item and queues an empty slot for it in one turn, so slots are in the order of the sequence,
//! whichever encoder is done first.

use crate::config::Encoding;
use crate::handover::{Ending, Item, Taker};
use crate::input::Picture;
use crate::jpeg::{self, Soundness};
use crate::options::{PictureCodec, Quality};
use crate::overload::{Run, Waiting};
use crate::worker::Worker;
use bytes::Bytes;
use opencv::core::{Mat, Size as CvSize, Vector};
use opencv::prelude::*;
use opencv::{imgcodecs, imgproc};
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

#[derive(Debug)]
struct Content {
    codec: Codec,
    width: u32,
    height: u32,
    bytes: Bytes,
}

#[derive(Debug, thiserror::Error)]
enum EncodeError {
    #[error("{name} is not a picture that OpenCV can decode: is it damaged?")]
    Undecodable { name: String },
    #[error("{name} is cut off: its end is missing")]
    CutOff { name: String },
    #[error("OpenCV refuses it: {0}")]
    OpenCv(#[from] opencv::Error),
}

fn content_of(picture: Picture, encoding: Encoding) -> Result<Content, EncodeError> {
    let pixels = match picture {
        Picture::Pixels(pixels) => pixels,
        Picture::Encoded { bytes, name } => {
            if let Some(content) = passed_through(&bytes, encoding) {
                return Ok(content);
            }
            decode(&bytes, name)?
        }
    };
    write(&resize(pixels, encoding)?, encoding)
}

/// The source's own encoding, if it is what is asked for: no second loss, no work.
fn passed_through(bytes: &Bytes, encoding: Encoding) -> Option<Content> {
    if !encoding.takes_jpegs() || jpeg::soundness(bytes) != Some(Soundness::Whole) {
        return None;
    }
    let size = imagesize::blob_size(bytes).ok()?;
    Some(Content {
        codec: Codec::Jpeg,
        width: u32::try_from(size.width).ok()?,
        height: u32::try_from(size.height).ok()?,
        bytes: bytes.clone(),
    })
}

fn decode(bytes: &[u8], name: String) -> Result<Mat, EncodeError> {
    if jpeg::soundness(bytes) == Some(Soundness::CutOff) {
        return Err(EncodeError::CutOff { name });
    }
    let pixels = imgcodecs::imdecode(&bytes, imgcodecs::IMREAD_COLOR);
    match pixels {
        Ok(pixels) if !pixels.empty() => Ok(pixels),
        _ => Err(EncodeError::Undecodable { name }),
    }
}

fn resize(pixels: Mat, encoding: Encoding) -> Result<Mat, EncodeError> {
    let Some(size) = encoding.resize else {
        return Ok(pixels);
    };
    let wanted = CvSize::new(size.width as i32, size.height as i32);
    let given = pixels.size()?;
    if given == wanted {
        return Ok(pixels);
    }
    // AREA averages what a smaller picture cannot show; when enlarging it would only repeat pixels.
    let method = if wanted.area() < given.area() {
        imgproc::INTER_AREA
    } else {
        imgproc::INTER_LINEAR
    };
    let mut resized = Mat::default();
    imgproc::resize(&pixels, &mut resized, wanted, 0.0, 0.0, method)?;
    Ok(resized)
}

fn write(pixels: &Mat, encoding: Encoding) -> Result<Content, EncodeError> {
    /// OpenCV's default, 3, takes twice as long for a few percent.
    const PNG_COMPRESSION: i32 = 1;
    let (codec, bytes) = match encoding.codec {
        PictureCodec::Jpeg => {
            let quality = i32::from(encoding.quality.unwrap_or(Quality::DEFAULT).get());
            let options = [imgcodecs::IMWRITE_JPEG_QUALITY, quality];
            (Codec::Jpeg, compress(".jpg", pixels, &options)?)
        }
        PictureCodec::Png => {
            let options = [imgcodecs::IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION];
            (Codec::Png, compress(".png", pixels, &options)?)
        }
        PictureCodec::Raw if pixels.is_continuous() => {
            (Codec::Raw, Bytes::copy_from_slice(pixels.data_bytes()?))
        }
        PictureCodec::Raw => {
            let whole = pixels.try_clone()?;
            (Codec::Raw, Bytes::copy_from_slice(whole.data_bytes()?))
        }
    };
    Ok(Content {
        codec,
        width: pixels.cols() as u32,
        height: pixels.rows() as u32,
        bytes,
    })
}

fn compress(extension: &str, pixels: &Mat, options: &[i32]) -> Result<Bytes, EncodeError> {
    let mut compressed = Vector::<u8>::new();
    imgcodecs::imencode(
        extension,
        pixels,
        &mut compressed,
        &Vector::from_slice(options),
    )?;
    Ok(Bytes::from_owner(Compressed(compressed)))
}

/// OpenCV's own buffer, not copied.
struct Compressed(Vector<u8>);

impl AsRef<[u8]> for Compressed {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::handover;
    use crate::options::Overload;
    use crate::overload::Bounds;
    use opencv::core::{CV_8UC3, Scalar};

    const JPEG: Encoding = Encoding {
        codec: PictureCodec::Jpeg,
        quality: None,
        resize: None,
    };

    fn pixels(width: i32, height: i32) -> Mat {
        Mat::new_rows_cols_with_default(height, width, CV_8UC3, Scalar::all(90.0)).unwrap()
    }

    fn encoded(bytes: Bytes) -> Picture {
        Picture::Encoded {
            bytes,
            name: "shot.jpg".to_owned(),
        }
    }

    #[test]
    fn a_whole_jpeg_passes_untouched_unless_something_else_is_asked_for() {
        let original = content_of(Picture::Pixels(pixels(64, 48)), JPEG).unwrap();
        let passed = content_of(encoded(original.bytes.clone()), JPEG).unwrap();
        assert_eq!(passed.bytes, original.bytes);
        assert_eq!((passed.width, passed.height), (64, 48));
        let smaller = Encoding {
            resize: Some("32x24".parse().unwrap()),
            ..JPEG
        };
        let resized = content_of(encoded(original.bytes.clone()), smaller).unwrap();
        assert_eq!((resized.width, resized.height), (32, 24));
        let coarse = Encoding {
            quality: Some("5".parse().unwrap()),
            ..JPEG
        };
        assert_ne!(
            content_of(encoded(original.bytes.clone()), coarse)
                .unwrap()
                .bytes,
            original.bytes
        );
    }

    #[test]
    fn a_broken_picture_is_named() {
        let original = content_of(Picture::Pixels(pixels(64, 48)), JPEG).unwrap();
        for length in [4, 100, original.bytes.len() - 1] {
            let error = content_of(encoded(original.bytes.slice(..length)), JPEG).unwrap_err();
            assert!(error.to_string().contains("shot.jpg is cut off"), "{error}");
        }
        let error = content_of(encoded(Bytes::from_static(b"text")), JPEG).unwrap_err();
        assert!(error.to_string().contains("shot.jpg"), "{error}");
    }

    #[test]
    fn raw_is_the_pixels_and_png_loses_nothing() {
        let raw = Encoding {
            codec: PictureCodec::Raw,
            ..JPEG
        };
        let content = content_of(Picture::Pixels(pixels(31, 17)), raw).unwrap();
        assert_eq!(content.bytes, vec![90; 31 * 17 * 3]);
        let png = Encoding {
            codec: PictureCodec::Png,
            ..JPEG
        };
        let content = content_of(Picture::Pixels(pixels(31, 17)), png).unwrap();
        let back = decode(&content.bytes, String::new()).unwrap();
        assert_eq!(back.data_bytes().unwrap(), vec![90; 31 * 17 * 3]);
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
