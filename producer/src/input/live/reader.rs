//! One connection to a camera or stream, on a thread of its own, from opening to the first failure.

use crate::config::{LivePlace, LiveSpec};
use crate::input::Picture;
use crate::jpeg::{self, Soundness};
use crate::pace::RateLimit;
use crate::worker::Worker;
use bytes::Bytes;
use opencv::core::{Mat, Vector};
use opencv::prelude::*;
use opencv::videoio::{
    CAP_ANY, CAP_FFMPEG, CAP_PROP_CONVERT_RGB, CAP_PROP_FORMAT, CAP_PROP_FOURCC, CAP_PROP_FPS,
    CAP_PROP_FRAME_HEIGHT, CAP_PROP_FRAME_WIDTH, CAP_PROP_OPEN_TIMEOUT_MSEC,
    CAP_PROP_READ_TIMEOUT_MSEC, VideoCapture, VideoWriter,
};
use pipeline::wire::now_unix_ns;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// May a source's own JPEGs be taken as they are?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passthrough {
    /// If it gives any.
    Jpeg,
    /// No: pixels are needed.
    Never,
}

/// A picture that was taken.
#[derive(Debug)]
pub struct Shot {
    /// What it shows.
    pub picture: Picture,
    /// When it was taken.
    pub captured_unix_ns: i64,
}

/// A connection.
#[derive(Debug)]
pub struct Reader {
    /// One picture: what waits here is older than what the driver has.
    shots: mpsc::Receiver<Result<Shot, String>>,
    thread: Worker,
}

impl Reader {
    /// Starts to open the source.
    pub fn start(
        spec: &LiveSpec,
        passthrough: Passthrough,
        timeout: Duration,
    ) -> std::io::Result<Self> {
        let (sender, shots) = mpsc::channel(1);
        let spec = spec.clone();
        let thread = Worker::spawn(&format!("read {}", spec.place), move || {
            if let Err(why) = read(&spec, passthrough, timeout, &sender) {
                // Nobody listens any more: then nobody needs to know.
                let _ = sender.blocking_send(Err(why));
            }
        })?;
        Ok(Self { shots, thread })
    }

    /// The next picture, or why there are no more.
    pub async fn next(&mut self) -> Result<Shot, String> {
        let shot = self.shots.recv().await;
        shot.unwrap_or_else(|| Err("its reader ended unexpectedly".to_owned()))
    }

    /// Asks the thread to end, which it does when its driver lets it.
    pub fn leave(self) -> Worker {
        self.thread
    }
}

/// Reads until the source fails (an error) or nobody wants pictures any more.
fn read(
    spec: &LiveSpec,
    passthrough: Passthrough,
    timeout: Duration,
    sender: &mpsc::Sender<Result<Shot, String>>,
) -> Result<(), String> {
    let refused = |cause: opencv::Error| format!("OpenCV: {cause}");
    let mut capture = match &spec.place {
        LivePlace::Camera(index) => open_camera(*index, spec, passthrough),
        LivePlace::Url(url) => open_url(url, passthrough, timeout),
    }
    .map_err(refused)?;
    if !capture.is_opened().map_err(refused)? {
        return Err("it cannot be opened".to_owned());
    }
    let mut limit = spec.fps.map(RateLimit::new);
    loop {
        if !capture.grab().map_err(refused)? {
            return Err("it gives no more pictures".to_owned());
        }
        if sender.is_closed() {
            return Ok(());
        }
        let captured_unix_ns = now_unix_ns();
        let is_wanted = limit
            .as_mut()
            .is_none_or(|limit| limit.admits(Instant::now()));
        if !is_wanted {
            continue;
        }
        let mut pixels = Mat::default();
        if !capture.retrieve(&mut pixels, 0).map_err(refused)? || pixels.empty() {
            return Err("it gave a picture that cannot be decoded".to_owned());
        }
        let Some(picture) = picture(pixels, spec).map_err(refused)? else {
            tracing::warn!(place = %spec.place, "a picture was cut off on its way and is left out");
            continue;
        };
        let shot = Shot {
            picture,
            captured_unix_ns,
        };
        if sender.blocking_send(Ok(shot)).is_err() {
            return Ok(());
        }
    }
}

/// None if it is not whole. What passes through comes as one row of bytes.
fn picture(pixels: Mat, spec: &LiveSpec) -> opencv::Result<Option<Picture>> {
    if pixels.channels() != 1 || pixels.rows() != 1 {
        return Ok(Some(Picture::Pixels(pixels)));
    }
    let bytes = pixels.data_bytes()?;
    Ok(match jpeg::soundness(bytes) {
        Some(Soundness::Whole | Soundness::Odd) => Some(Picture::Encoded {
            bytes: Bytes::copy_from_slice(bytes),
            name: format!("a picture of {}", spec.place),
        }),
        Some(Soundness::CutOff) | None => None,
    })
}

fn open_camera(
    index: u32,
    spec: &LiveSpec,
    passthrough: Passthrough,
) -> opencv::Result<VideoCapture> {
    let index = i32::try_from(index).unwrap_or(i32::MAX);
    let mut capture = VideoCapture::new(index, CAP_ANY)?;
    if !capture.is_opened()? {
        return Ok(capture);
    }
    // Each of these is a wish: a camera that cannot grant it keeps its own setting. The format comes first, since it
    // decides which sizes and rates there are (over USB 2, only MJPEG reaches 30 fps at HD).
    let mjpeg = f64::from(VideoWriter::fourcc('M', 'J', 'P', 'G')?);
    capture.set(CAP_PROP_FOURCC, mjpeg)?;
    if let Some(size) = spec.size {
        capture.set(CAP_PROP_FRAME_WIDTH, f64::from(size.width))?;
        capture.set(CAP_PROP_FRAME_HEIGHT, f64::from(size.height))?;
    }
    if let Some(fps) = spec.fps {
        capture.set(CAP_PROP_FPS, fps.get())?;
    }
    if passthrough == Passthrough::Jpeg && capture.get(CAP_PROP_FOURCC)? == mjpeg {
        capture.set(CAP_PROP_CONVERT_RGB, 0.0)?;
    }
    Ok(capture)
}

fn open_url(
    url: &str,
    passthrough: Passthrough,
    timeout: Duration,
) -> opencv::Result<VideoCapture> {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // Without these FFmpeg waits for half a minute and more.
    let options = Vector::from_slice(&[
        CAP_PROP_OPEN_TIMEOUT_MSEC,
        timeout_ms,
        CAP_PROP_READ_TIMEOUT_MSEC,
        timeout_ms,
    ]);
    let mut capture = VideoCapture::from_file_with_params(url, CAP_FFMPEG, &options)?;
    if passthrough == Passthrough::Jpeg && capture.is_opened()? && is_motion_jpeg(&capture)? {
        const ENCODED_PACKETS: f64 = -1.0;
        capture.set(CAP_PROP_FORMAT, ENCODED_PACKETS)?;
    }
    Ok(capture)
}

/// FFmpeg tells the container's four letters or, if it has none, the first of its own name, "mjpeg".
fn is_motion_jpeg(capture: &VideoCapture) -> opencv::Result<bool> {
    let letters = (capture.get(CAP_PROP_FOURCC)? as u32).to_le_bytes();
    let letters = letters.map(|letter| letter.to_ascii_lowercase());
    Ok([*b"mjpg", *b"mjpe", *b"jpeg"].contains(&letters))
}
