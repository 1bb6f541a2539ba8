//! A video file, by its own timestamps or resampled.

use super::{Input, InputError, MILLISECONDS, Moment, Picture};
use crate::config::AtEnd;
use crate::options::Fps;
use crate::pace::Resampler;
use opencv::core::Mat;
use opencv::prelude::*;
use opencv::videoio::{
    CAP_ANY, CAP_PROP_FPS, CAP_PROP_FRAME_COUNT, CAP_PROP_POS_MSEC, VideoCapture,
};
use pipeline::v1::{FrameId, TimeBase};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reads frames one after the other.
pub struct VideoFile {
    path: PathBuf,
    capture: VideoCapture,
    /// What the container says, for timestamps it does not give.
    interval: Duration,
    /// What the container says; None if it does not.
    duration: Option<Duration>,
    at_end: AtEnd,
    resampler: Option<Resampler>,
    /// When the frame that was grabbed last is to be shown: once, or as the resampler says.
    shown_at: VecDeque<Duration>,
    /// Frames grabbed in this pass.
    grabbed: u64,
    /// The time at which this pass began: the sum of the passes before it.
    pass_start: Duration,
    /// In this pass.
    pts: Duration,
}

impl VideoFile {
    /// Opens the file and makes sure that it has pictures.
    pub fn open(path: &Path, fps: Option<Fps>, at_end: AtEnd) -> Result<Self, InputError> {
        check_exists(path)?;
        let capture = open(path)?;
        let rate = Fps::new(capture.get(CAP_PROP_FPS)?).unwrap_or(Fps::TEN);
        let frames = capture.get(CAP_PROP_FRAME_COUNT)?;
        let duration = (frames >= 1.0).then(|| rate.time_of(frames as u64));
        let mut file = Self {
            path: path.to_owned(),
            capture,
            interval: rate.time_of(1),
            duration,
            at_end,
            resampler: fps.map(Resampler::new),
            shown_at: VecDeque::new(),
            grabbed: 0,
            pass_start: Duration::ZERO,
            pts: Duration::ZERO,
        };
        if !file.grab()? {
            return Err(InputError::Unusable(format!(
                "{} holds no picture that OpenCV can read: is it a video?",
                path.display()
            )));
        }
        Ok(file)
    }

    /// Goes to the next frame of the file; false after the last one.
    fn grab(&mut self) -> Result<bool, InputError> {
        if !self.capture.grab()? {
            return Ok(false);
        }
        let ms = self.capture.get(CAP_PROP_POS_MSEC)?;
        let given = Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default();
        if self.grabbed == 0 || given > self.pts {
            self.pts = given;
        } else {
            self.pts += self.interval; // a container without timestamps, or with broken ones
        }
        self.grabbed += 1;
        let pts = self.pass_start + self.pts;
        match &mut self.resampler {
            None => self.shown_at.push_back(pts),
            Some(resampler) => self.shown_at.extend(resampler.shown_at(pts)),
        }
        Ok(true)
    }

    /// Says so if much less came out of the file than it promises: it is cut off or damaged.
    ///
    /// What containers promise is an estimate for some (the longest of several streams; variable rates), hence the
    /// tolerance.
    fn check_complete(&self) -> Result<(), InputError> {
        const TOLERANCE: Duration = Duration::from_secs(2);
        const TOLERANCE_SHARE: u32 = 20;
        let Some(promised) = self.duration else {
            return Ok(());
        };
        let came = self.pts + self.interval;
        let tolerance = TOLERANCE.max(promised / TOLERANCE_SHARE).min(promised / 2);
        if came + tolerance >= promised {
            return Ok(());
        }
        Err(InputError::Failed(format!(
            "{} ends early: only {:.1} s of {:.1} s ({} frames) can be read. It is cut off or damaged",
            self.path.display(),
            came.as_secs_f64(),
            promised.as_secs_f64(),
            self.grabbed
        )))
    }

    fn rewind(&mut self) -> Result<(), InputError> {
        self.pass_start += self.pts + self.interval;
        self.pts = Duration::ZERO;
        self.grabbed = 0;
        // Opening anew is exact; seeking back is not, with some containers.
        self.capture = open(&self.path)?;
        Ok(())
    }
}

fn check_exists(path: &Path) -> Result<(), InputError> {
    let found = std::fs::metadata(path);
    match found {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(InputError::Unusable(format!(
            "{} is not a file; a folder of pictures is --images",
            path.display()
        ))),
        Err(cause) => Err(InputError::Unusable(format!(
            "cannot read {}: {cause}",
            path.display()
        ))),
    }
}

fn open(path: &Path) -> Result<VideoCapture, InputError> {
    let unusable = |why: &str| {
        InputError::Unusable(format!(
            "{} cannot be opened as a video{why}",
            path.display()
        ))
    };
    let text = path
        .to_str()
        .ok_or_else(|| unusable(": its name is not UTF-8"))?;
    let capture = VideoCapture::from_file(text, CAP_ANY)?;
    if !capture.is_opened()? {
        return Err(unusable(
            ": OpenCV knows no decoder for it. `ffprobe` says what it holds",
        ));
    }
    Ok(capture)
}

impl Input for VideoFile {
    fn advance(&mut self) -> Result<Option<Moment>, InputError> {
        loop {
            if let Some(pts) = self.shown_at.pop_front() {
                return Ok(Some(Moment {
                    pts,
                    captured_unix_ns: None,
                }));
            }
            if self.grab()? {
                continue;
            }
            self.check_complete()?;
            match self.at_end {
                AtEnd::Stop => return Ok(None),
                AtEnd::Repeat => self.rewind()?,
            }
        }
    }

    fn picture(&mut self, _: &FrameId) -> Result<Picture, InputError> {
        let mut pixels = Mat::default();
        if self.capture.retrieve(&mut pixels, 0)? && !pixels.empty() {
            return Ok(Picture::Pixels(pixels));
        }
        Err(InputError::Failed(format!(
            "picture {} of {} cannot be decoded: the file is damaged there",
            self.grabbed - 1,
            self.path.display()
        )))
    }

    fn time_base(&self) -> TimeBase {
        MILLISECONDS
    }
}
