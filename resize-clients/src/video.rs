//! A video file to frames that can be sent, on a thread of its own: decoding and compressing keep a core busy.
//!
//! Each instance reads the file for itself, as independent clients would.

use crate::config::Encoding;
use bytes::Bytes;
use opencv::core::{Mat, Vector};
use opencv::prelude::*;
use opencv::videoio::{CAP_ANY, CAP_PROP_FPS, CAP_PROP_FRAME_COUNT, VideoCapture};
use opencv::{core, imgcodecs};
use processor_proto::MAX_RECORD_BYTES;
use processor_proto::v1::{Codec, PixelFormat};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use tokio::sync::mpsc;

/// High enough that a smaller picture shows nothing of it. Each step more costs the service: at this size it mostly
/// unpacks bits.
const JPEG_QUALITY: i32 = 90;
/// Frames read ahead of the calls: hides the time between two of them, and no more.
const READ_AHEAD: usize = 2;

/// Why a video gives no (more) frames.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    /// Another file must be given.
    #[error("{path}: {why}", path = path.display())]
    Unusable { path: PathBuf, why: String },
    /// It went well until here.
    #[error("{path} is damaged: {why}", path = path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("OpenCV: {0}")]
    OpenCv(#[from] opencv::Error),
    #[error("no thread to read the video: {0}")]
    Thread(#[from] io::Error),
}

/// What a video is, as far as its header and its first picture say.
#[derive(Clone, Debug)]
pub struct Video {
    path: PathBuf,
    /// Pixels.
    pub size: (u32, u32),
    /// By the container, which may be wrong; 0 if it does not say.
    pub frames: u64,
    fps: f64,
}

/// One picture, ready to be sent.
#[derive(Debug)]
pub struct Frame {
    /// From 1.
    pub number: u64,
    pub codec: Codec,
    pub pixel_format: PixelFormat,
    /// Pixels.
    pub size: (u32, u32),
    pub content: Bytes,
}

/// What a reader gives: frames in their order, then nothing more, or why.
pub type Frames = mpsc::Receiver<Result<Frame, VideoError>>;

impl Video {
    /// Opens the file once to see whether there is a picture in it.
    pub fn probe(path: &Path) -> Result<Self, VideoError> {
        // Within one picture nothing is to run on several threads: the instances are the threads.
        core::set_num_threads(1)?;
        let mut capture = open(path)?;
        let mut first = Mat::default();
        if !capture.read(&mut first)? || first.empty() {
            return Err(unusable(
                path,
                "holds no picture that OpenCV can read: is it a video?",
            ));
        }
        let frames = capture.get(CAP_PROP_FRAME_COUNT)?;
        Ok(Self {
            path: path.to_owned(),
            size: size_of(&first),
            frames: if frames >= 1.0 { frames as u64 } else { 0 },
            fps: capture.get(CAP_PROP_FPS)?,
        })
    }

    /// Raw pixels of one frame, bytes.
    pub fn raw_bytes(&self) -> usize {
        self.size.0 as usize * self.size.1 as usize * 3
    }

    /// True if its raw frames are small enough for a call.
    pub fn may_go_raw(&self) -> bool {
        self.raw_bytes() <= MAX_RECORD_BYTES
    }

    /// Starts to read. The thread ends with the video, or when nobody wants frames any more.
    pub fn read(&self, encoding: Encoding) -> Result<Frames, VideoError> {
        let (sender, frames) = mpsc::channel(READ_AHEAD);
        let video = self.clone();
        thread::Builder::new()
            .name("video".to_owned())
            .spawn(move || {
                if let Err(error) = video.read_to_end(encoding, &sender) {
                    // Nobody there: the instance has failed already, for a reason of its own.
                    let _ = sender.blocking_send(Err(error));
                }
            })?;
        Ok(frames)
    }

    fn read_to_end(
        &self,
        encoding: Encoding,
        sender: &mpsc::Sender<Result<Frame, VideoError>>,
    ) -> Result<(), VideoError> {
        let mut capture = open(&self.path)?;
        let mut picture = Mat::default();
        let mut number = 0;
        while capture.grab()? {
            number += 1;
            if !capture.retrieve(&mut picture, 0)? || picture.empty() {
                return Err(self.damaged(format!("frame {number} cannot be decoded")));
            }
            let frame = Frame {
                number,
                codec: match encoding {
                    Encoding::Jpeg => Codec::Jpeg,
                    Encoding::Raw => Codec::Raw,
                },
                pixel_format: PixelFormat::Bgr24,
                size: size_of(&picture),
                content: match encoding {
                    Encoding::Jpeg => jpeg(&picture)?,
                    Encoding::Raw => Bytes::copy_from_slice(picture.data_bytes()?),
                },
            };
            if sender.blocking_send(Ok(frame)).is_err() {
                return Ok(());
            }
        }
        self.check_complete(number)
    }

    /// Says so if much less came out of the file than it promises: it is cut off or damaged.
    ///
    /// What containers promise is an estimate for some (the longest of several streams; variable rates), hence the
    /// tolerance.
    fn check_complete(&self, came: u64) -> Result<(), VideoError> {
        const TOLERANCE_S: f64 = 2.0;
        const TOLERANCE_SHARE: f64 = 0.05;
        let promised = self.frames as f64;
        let tolerance = (TOLERANCE_S * self.fps.max(0.0))
            .max(promised * TOLERANCE_SHARE)
            .min(promised / 2.0);
        if came as f64 + tolerance >= promised {
            return Ok(());
        }
        Err(self.damaged(format!(
            "it ends after {came} of {} frames. Copy it again, or mend it (ffmpeg -i VIDEO -c copy NEW.mp4)",
            self.frames
        )))
    }

    fn damaged(&self, why: String) -> VideoError {
        VideoError::Damaged {
            path: self.path.clone(),
            why,
        }
    }
}

fn open(path: &Path) -> Result<VideoCapture, VideoError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(unusable(path, "is not a file")),
        Err(cause) => return Err(unusable(path, &format!("cannot be read: {cause}"))),
    }
    let text = path
        .to_str()
        .ok_or_else(|| unusable(path, "its name is not UTF-8: rename it"))?;
    let capture = VideoCapture::from_file(text, CAP_ANY)?;
    if !capture.is_opened()? {
        let why = "cannot be opened as a video: OpenCV knows no decoder for it. `ffprobe` says what it holds";
        return Err(unusable(path, why));
    }
    Ok(capture)
}

fn unusable(path: &Path, why: &str) -> VideoError {
    VideoError::Unusable {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

fn size_of(picture: &Mat) -> (u32, u32) {
    (picture.cols().unsigned_abs(), picture.rows().unsigned_abs())
}

fn jpeg(picture: &Mat) -> Result<Bytes, VideoError> {
    let mut jpeg = Vector::new();
    let quality = Vector::from_slice(&[imgcodecs::IMWRITE_JPEG_QUALITY, JPEG_QUALITY]);
    imgcodecs::imencode(".jpg", picture, &mut jpeg, &quality)?;
    Ok(Vec::from(jpeg).into())
}
