//! Where records go. A new sink is one file here: implement [`Sink`], name it in [`SinkSpec`], open it in [`open`].

mod jpeg;
pub mod json;
mod jsonl;
mod null;
mod output;
mod report;
mod spec;
mod spool;
mod stats;
mod verify;
mod video;
mod window;
mod worker;

pub use jsonl::{JsonLines, Shows};
pub use output::{Existing, OpenError};
pub use registry::model::SinkSpec;
pub use spec::ReportSpec;
pub use worker::{Checkpoint, EVENTS_PER_SINK, Job, SinkEvent, SinkFailure, SinkThread};

use crate::config::Config;
use crate::delivery::Delivery;
use crate::picture::PictureError;
use crate::progress::{Progress, ProgressFile};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Takes every record, in order, on a thread of its own.
pub trait Sink: Send {
    /// Takes the next record. When it returns, the record may still be in memory only.
    fn take(&mut self, delivery: &Delivery) -> Result<Flow, SinkError>;

    /// Brings everything taken to where it survives a crash. Returns how much of the output that is (in the sink's own
    /// unit), to cut it back to after a restart.
    fn checkpoint(&mut self) -> Result<u64, SinkError> {
        Ok(0)
    }

    /// No record comes any more. Called once: after the last checkpoint, or after a failure, to save what is whole.
    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// True if it shows a picture in place of those that a source does not give. Such a delivery is no record.
    fn shows_absence(&self) -> bool {
        false
    }

    /// How often [`Sink::idle`] is to be called while no record comes; None: never.
    fn idle_every(&self) -> Option<Duration> {
        None
    }

    /// Lets the sink live while no record comes.
    fn idle(&mut self) -> Result<Flow, SinkError> {
        Ok(Flow::GoOn)
    }
}

/// What a sink wants of the consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next record.
    GoOn,
    /// To stop: the person has seen enough.
    Quit,
}

/// Why a sink cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Writing failed: disk full, rights, a disk that is gone.
    #[error("writing {} failed: {cause}. Mend that (free space?) and start the same command again", .path.display())]
    Write {
        /// What was written.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// The picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The video could not be made.
    #[error("{0}")]
    Video(String),
    /// An alert could not be delivered.
    #[error(
        "{action} did not take alert {alert}: {why}. Mend that and start the same command again: with --group it goes on \
         with this alert"
    )]
    Action {
        /// What was to be done.
        action: String,
        /// The frame.
        alert: String,
        /// Why it was not.
        why: String,
    },
    /// Pixels and frame ids do not belong together.
    #[error("{mismatches} of {frames} pictures do not name their frame: the log says which")]
    Mismatch {
        /// Pictures that name another frame, or none.
        mismatches: u64,
        /// Pictures looked at.
        frames: u64,
    },
}

impl SinkError {
    /// Writing at this place failed.
    pub fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        |cause| Self::Write { path, cause }
    }
}

impl From<opencv::Error> for SinkError {
    fn from(cause: opencv::Error) -> Self {
        Self::Picture(cause.into())
    }
}

/// What sinks have in common.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// With a group, sinks keep their progress.
    pub group: Option<String>,
    /// What happens to output that is there already.
    pub existing: Existing,
    /// What the JPEG sink writes.
    pub stills: Stills,
    /// Frames a second of videos; None: as captured.
    pub fps: Option<f64>,
}

/// What stills show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stills {
    /// The picture as it is in the record.
    Original,
    /// With the results drawn in.
    Overlay,
}

/// A sink that is ready to be started.
pub struct OpenSink {
    /// As given on the command line.
    pub name: String,
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// What it has already, if it keeps that.
    pub progress: Option<Kept>,
    /// Which records it is given.
    pub takes: Takes,
    /// What becomes of records that it was given and had not done when the process died.
    pub loss: Loss,
}

/// What becomes of records that were under way in a sink when the process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its progress says which they are; or nobody misses them: a window, numbers of this run.
    Harmless,
    /// They must come again, and no progress says which they are: all that are not committed.
    Forbidden,
}

/// Which records a sink is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// It counts: all of them.
    All,
    /// It keeps or shows frames: those that `--when` lets through; without it, all.
    Passing,
}

/// A sink's progress and the file that keeps it.
#[derive(Debug)]
pub struct Kept {
    /// Rewritten at each checkpoint.
    pub file: ProgressFile,
    /// What the output holds.
    pub progress: Progress,
}

impl std::fmt::Debug for OpenSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenSink")
            .field("name", &self.name)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// The sink behind `--verify-picture`.
pub fn open_verify() -> OpenSink {
    OpenSink {
        name: "--verify-picture".to_owned(),
        sink: Box::new(verify::Verify::default()),
        progress: None,
        takes: Takes::All,
        loss: Loss::Harmless,
    }
}

/// What all sinks have that keep their progress: nobody needs these records again. Nothing, if there is one that must not
/// lose any and does not know what it has.
pub fn done(sinks: &[OpenSink]) -> Progress {
    if sinks.iter().any(|sink| sink.loss == Loss::Forbidden) {
        return Progress::default();
    }
    let kept = sinks.iter().filter_map(|sink| sink.progress.as_ref());
    Progress::common(kept.map(|kept| &kept.progress))
}

/// The sink behind `--report`.
pub fn open_report(spec: &ReportSpec, config: &Config) -> Result<OpenSink, OpenError> {
    Ok(OpenSink {
        name: spec.to_string(),
        sink: Box::new(report::Report::open(&spec.0, config)?),
        progress: None,
        takes: Takes::All,
        loss: Loss::Harmless,
    })
}

/// Prepares a sink: claims its output and goes on where that ends.
pub fn open(spec: &SinkSpec, options: &SinkOptions) -> Result<OpenSink, OpenError> {
    let (sink, progress): (Box<dyn Sink>, _) = match spec {
        SinkSpec::Window => (Box::new(window::Window::open()?), None),
        SinkSpec::Jpeg(folder) => {
            let (sink, kept) = jpeg::JpegFolder::open(folder, options)?;
            (Box::new(sink), kept)
        }
        SinkSpec::Video(file) => {
            let (sink, kept) = video::Video::open(file, options)?;
            (Box::new(sink), kept)
        }
        SinkSpec::Jsonl(file) => {
            let (sink, kept) = JsonLines::open(file, Shows::Records, options)?;
            (Box::new(sink), kept)
        }
        SinkSpec::JsonlStdout => (Box::new(JsonLines::stdout()), None),
        SinkSpec::Stats(file) => {
            let sink = stats::Stats::open(file.as_deref(), options.existing)?;
            (Box::new(sink), None)
        }
        SinkSpec::Null => (Box::new(null::Null), None),
    };
    Ok(OpenSink {
        name: spec.to_string(),
        sink,
        progress,
        takes: match spec {
            SinkSpec::Stats(_) => Takes::All,
            _ => Takes::Passing,
        },
        loss: Loss::Harmless,
    })
}
