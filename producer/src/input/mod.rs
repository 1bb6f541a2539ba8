//! Where pictures come from. Every input lives on one thread of its own.

pub mod file;
pub mod images;
pub mod live;
pub mod pattern;

use bytes::Bytes;
use opencv::core::Mat;
use opencv::prelude::*;
use pipeline::v1::{FrameId, TimeBase};
use std::time::Duration;

/// A sequence of pictures.
pub trait Input: Send {
    /// Goes to the next picture. None at the end, and for live inputs after a stop.
    ///
    /// Cheaper than [`Input::picture`]: frames that are not wanted are stepped over without decoding them.
    fn advance(&mut self) -> Result<Option<Moment>, InputError>;

    /// The picture that the last `advance` went to; `id` is the frame's that it becomes.
    fn picture(&mut self, id: &FrameId) -> Result<Picture, InputError>;

    /// The unit of the timestamps on the wire.
    fn time_base(&self) -> TimeBase;
}

/// A place in a sequence of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the beginning.
    pub pts: Duration,
    /// Nanoseconds since the Unix epoch, if the picture was taken before now.
    pub captured_unix_ns: Option<i64>,
}

/// What an input gives.
#[derive(Debug)]
pub enum Picture {
    /// Blue, green, red; 8 bits each.
    Pixels(Mat),
    /// A file's or camera's own encoding.
    Encoded {
        /// The encoded picture.
        bytes: Bytes,
        /// What it is called if it is broken.
        name: String,
    },
}

impl Picture {
    /// Its cost in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Pixels(pixels) => pixels.total() * pixels.elem_size().unwrap_or(0),
            Self::Encoded { bytes, .. } => bytes.len(),
        }
    }
}

/// What goes wrong with inputs.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It does not exist or is nothing that can be read: another one has to be named.
    #[error("{0}")]
    Unusable(String),
    /// It went wrong on the way.
    #[error("{0}")]
    Failed(String),
}

/// OpenCV refused a call that should not fail.
impl From<opencv::Error> for InputError {
    fn from(fault: opencv::Error) -> Self {
        Self::Failed(format!("OpenCV: {fault}"))
    }
}

/// Milliseconds: what containers of video files give.
pub(crate) const MILLISECONDS: TimeBase = TimeBase { num: 1, den: 1000 };
/// Nanoseconds: for times of this machine's clock.
pub(crate) const NANOSECONDS: TimeBase = TimeBase {
    num: 1,
    den: 1_000_000_000,
};
