//! A video of all frames with their results drawn in.
//!
//! ```text
//! frames -> FILE.spool (appended, durable) ==at the end==> FILE.framelane-tmp.EXT -> FILE (renamed)
//! ```
//! No video format survives being cut off, so FILE is only made, from the spool, when the consumer ends.

use super::output::{self, Beginning, PROGRESS_SUFFIX};
use super::spool::{Entries, Spool};
use super::{Flow, Kept, OpenError, Sink, SinkError, SinkOptions};
use crate::decode;
use crate::delivery::Delivery;
use crate::progress::sync_folder_of;
use opencv::core::{Mat, MatTraitConst, Point, Rect, Scalar, Size};
use opencv::prelude::{VideoCaptureTraitConst, VideoWriterTrait, VideoWriterTraitConst};
use opencv::{imgproc, videoio};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// Where the times say nothing: one frame, or all at once.
const DEFAULT_FPS: f64 = 25.0;
const MAX_FPS: f64 = 240.0;

/// The sink.
#[derive(Debug)]
pub struct Video {
    path: PathBuf,
    spool_path: PathBuf,
    spool: Spool,
    fps: Option<f64>,
    /// With a group the spool stays, so that a later run goes on with the same video.
    keep_spool: KeepSpool,
    last_time_ns: i64,
}

#[derive(Debug, PartialEq, Eq)]
enum KeepSpool {
    Yes,
    No,
}

impl Video {
    /// Claims the file. Its mark is the length of the spool in bytes.
    pub fn open(path: &Path, options: &SinkOptions) -> Result<(Self, Option<Kept>), OpenError> {
        let spool_path = output::beside(path, ".spool");
        let had_spool = spool_path.exists();
        let has_output = path.exists() || had_spool;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&spool_path)
            .map_err(OpenError::io(&spool_path))?;
        output::lock(&spool_path, &file)?;
        let progress = output::beside(path, PROGRESS_SUFFIX);
        let claimed = output::claim(path, progress, has_output, 0, options);
        if claimed.is_err() && !had_spool {
            // Only made to be locked; nobody shall wonder about it.
            output::remove_if_there(&spool_path).map_err(OpenError::io(&spool_path))?;
        }
        let (beginning, kept) = claimed?;
        let length = match beginning {
            Beginning::Empty => {
                output::remove_if_there(path).map_err(OpenError::io(path))?;
                0
            }
            Beginning::At(mark) => mark,
        };
        let found = file.metadata().map_err(OpenError::io(&spool_path))?.len();
        if found < length {
            return Err(output::does_not_fit(&spool_path, found, length));
        }
        let spool = Spool::at(file, length).map_err(OpenError::io(&spool_path))?;
        let sink = Self {
            path: path.to_owned(),
            spool_path,
            spool,
            fps: options.fps,
            keep_spool: match options.group {
                Some(_) => KeepSpool::Yes,
                None => KeepSpool::No,
            },
            last_time_ns: 0,
        };
        Ok((sink, kept))
    }

    fn entries(&self) -> Result<Entries<File>, SinkError> {
        let spool = File::open(&self.spool_path).map_err(SinkError::write(&self.spool_path))?;
        Ok(Entries::of(spool))
    }

    fn captured_fps(&self) -> Result<f64, SinkError> {
        let mut entries = self.entries()?;
        let mut times = Vec::new();
        while let Some(entry) = entries.next().map_err(SinkError::write(&self.spool_path))? {
            times.push(entry.time_ns);
        }
        Ok(median_fps(&times))
    }

    /// Encodes the spool into `temporary`; returns how many frames went in.
    fn encode(&self, temporary: &Path) -> Result<u64, SinkError> {
        let fps = match self.fps {
            Some(fps) => fps,
            None => self.captured_fps()?,
        };
        let mut entries = self.entries()?;
        let mut output: Option<(videoio::VideoWriter, Size)> = None;
        let mut frames = 0;
        while let Some(entry) = entries.next().map_err(SinkError::write(&self.spool_path))? {
            let picture = decode::from_jpeg(&entry.jpeg)?;
            let (writer, size) = match &mut output {
                Some(open) => open,
                None => output.insert(open_writer(temporary, fps, picture.size()?)?),
            };
            writer.write(&fit(picture, *size)?)?;
            frames += 1;
        }
        if let Some((mut writer, _)) = output {
            writer.release()?;
        }
        tracing::info!(video = %self.path.display(), frames, fps, "video made");
        Ok(frames)
    }
}

impl Sink for Video {
    fn take(&mut self, delivery: &Delivery) -> Result<Flow, SinkError> {
        if !delivery.is_visible() {
            return Ok(Flow::GoOn);
        }
        let time_ns = time_of(delivery).unwrap_or(self.last_time_ns);
        self.last_time_ns = time_ns;
        let jpeg = delivery.annotated_jpeg()?;
        self.spool
            .append(time_ns, &jpeg)
            .map_err(SinkError::write(&self.spool_path))?;
        Ok(Flow::GoOn)
    }

    fn checkpoint(&mut self) -> Result<u64, SinkError> {
        self.spool
            .sync()
            .map_err(SinkError::write(&self.spool_path))
    }

    fn shows_absence(&self) -> bool {
        true
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        let extension = self.path.extension().and_then(|e| e.to_str());
        let suffix = format!(".framelane-tmp.{}", extension.unwrap_or("mp4"));
        let temporary = output::beside(&self.path, &suffix);
        if self.spool.length() == 0 {
            tracing::warn!(video = %self.path.display(), "no frames came: no video is made");
        } else {
            let frames = self.encode(&temporary)?;
            check_encoded(&temporary, frames)?;
            File::open(&temporary)
                .and_then(|video| video.sync_all())
                .and_then(|()| std::fs::rename(&temporary, &self.path))
                .and_then(|()| sync_folder_of(&self.path))
                .map_err(SinkError::write(&self.path))?;
        }
        if self.keep_spool == KeepSpool::No {
            output::remove_if_there(&self.spool_path)
                .map_err(SinkError::write(&self.spool_path))?;
        }
        Ok(())
    }
}

/// The presentation time where the source has one (a file that was read as fast as possible), else the capture time.
fn time_of(delivery: &Delivery) -> Option<i64> {
    let frame = delivery.frame()?;
    let Some(base) = frame.time_base else {
        return Some(frame.capture_time_unix_ns);
    };
    let ns = i128::from(frame.pts) * 1_000_000_000 * i128::from(base.num) / i128::from(base.den);
    i64::try_from(ns).ok()
}

/// The median is not disturbed by pauses, restarts or several sources.
fn median_fps(times_ns: &[i64]) -> f64 {
    let mut pauses: Vec<i64> = times_ns
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]))
        .filter(|&pause| pause > 0)
        .collect();
    pauses.sort_unstable();
    match pauses.get(pauses.len() / 2) {
        Some(&median_ns) => (1e9 / median_ns as f64).clamp(1.0, MAX_FPS),
        None => DEFAULT_FPS,
    }
}

fn open_writer(
    path: &Path,
    fps: f64,
    size: Size,
) -> Result<(videoio::VideoWriter, Size), SinkError> {
    let is_avi = path.extension().is_some_and(|extension| extension == "avi");
    let [a, b, c, d] = if is_avi { *b"MJPG" } else { *b"mp4v" }.map(char::from);
    let codec = videoio::VideoWriter::fourcc(a, b, c, d)?;
    // MPEG-4 wants even sizes.
    let size = Size::new((size.width / 2 * 2).max(2), (size.height / 2 * 2).max(2));
    let name = path.to_string_lossy();
    // MPEG-4 keeps times in 16 bits: odd rates such as 29.97002997 do not fit.
    let fps = (fps * 100.0).round() / 100.0;
    let writer = videoio::VideoWriter::new(path, codec, fps, size, true)?;
    if !writer.is_opened()? {
        return Err(SinkError::Video(format!(
            "{name} cannot be written as a video of {}x{} pixels at {fps} frames/s: is the folder writable? .avi works \
             without codecs on the machine",
            size.width, size.height
        )));
    }
    Ok((writer, size))
}

/// All pictures of a video have the first one's size; others are scaled into it, their shape kept.
fn fit(picture: Mat, size: Size) -> opencv::Result<Mat> {
    let (width, height) = (picture.cols(), picture.rows());
    if (width, height) == (size.width, size.height) {
        return Ok(picture);
    }
    if width - size.width == width % 2 && height - size.height == height % 2 {
        let inside = Rect::new(0, 0, size.width, size.height);
        return Mat::roi(&picture, inside)?.try_clone();
    }
    let scale =
        (f64::from(size.width) / f64::from(width)).min(f64::from(size.height) / f64::from(height));
    let scaled = |length: i32| ((f64::from(length) * scale) as i32).max(1);
    let inner = Size::new(scaled(width), scaled(height));
    let mut small = Mat::default();
    imgproc::resize(&picture, &mut small, inner, 0.0, 0.0, imgproc::INTER_AREA)?;
    let corner = Point::new(
        (size.width - inner.width) / 2,
        (size.height - inner.height) / 2,
    );
    let mut framed = Mat::default();
    opencv::core::copy_make_border(
        &small,
        &mut framed,
        corner.y,
        size.height - inner.height - corner.y,
        corner.x,
        size.width - inner.width - corner.x,
        opencv::core::BORDER_CONSTANT,
        Scalar::all(0.0),
    )?;
    Ok(framed)
}

/// OpenCV's writer does not report a full disk.
fn check_encoded(path: &Path, frames: u64) -> Result<(), SinkError> {
    let name = path.to_string_lossy();
    let video = videoio::VideoCapture::from_file(path, videoio::CAP_ANY)?;
    let found = match video.is_opened()? {
        true => video.get(videoio::CAP_PROP_FRAME_COUNT)? as u64,
        false => 0,
    };
    if found == frames {
        return Ok(());
    }
    Err(SinkError::Video(format!(
        "{name} holds {found} of {frames} frames: is the disk full? The frames are kept in the spool beside it"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_most_frames() {
        let ms =
            |times: &[i64]| median_fps(&times.iter().map(|t| t * 1_000_000).collect::<Vec<_>>());
        assert_eq!(ms(&[0, 100, 200, 5_000, 5_100]), 10.0);
        assert_eq!(ms(&[7]), DEFAULT_FPS);
        assert_eq!(ms(&[7, 7, 7]), DEFAULT_FPS);
    }

    #[test]
    fn pictures_of_another_size_are_framed_into_the_first_ones() {
        let size = Size::new(64, 48);
        for (rows, cols) in [(48, 64), (49, 65), (100, 30), (30, 100), (1, 1)] {
            let picture = Mat::new_rows_cols_with_default(
                rows,
                cols,
                opencv::core::CV_8UC3,
                Scalar::all(9.0),
            )
            .unwrap();
            let fitted = fit(picture, size).unwrap();
            assert_eq!(fitted.size().unwrap(), size, "{cols}x{rows}");
        }
    }
}
