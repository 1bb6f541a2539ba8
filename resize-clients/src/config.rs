//! What to do, checked.

use crate::targets::Target as Endpoint;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// The settings are wrong: changing them is the only way on. Everything else is a failure at run time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// One run.
#[derive(Debug)]
pub struct Config {
    pub instances: u32,
    /// Between the start of one instance and the next.
    pub stagger: Duration,
    pub video: PathBuf,
    /// None: what the service was started with.
    pub target: Option<Target>,
    pub service: Where,
    pub out: PathBuf,
    pub json: Option<PathBuf>,
    /// Calls at once of each instance.
    pub in_flight: NonZeroUsize,
    /// None: as fits where the services are.
    pub encoding: Option<Encoding>,
    /// Without an answer, until an instance gives up.
    pub patience: Duration,
}

/// Which service.
#[derive(Debug)]
pub enum Where {
    At(Vec<Endpoint>),
    /// One that is started for this run.
    Local,
}

/// How large the results are. Its text is what the service is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Pixels, whatever the video's aspect ratio.
    Size { width: u32, height: u32 },
    /// The video's size times this.
    Scale(f64),
}

impl Target {
    /// The result of a picture of this size, in pixels. A service rounds in the same way.
    pub fn of(self, (width, height): (u32, u32)) -> (u32, u32) {
        match self {
            Self::Size { width, height } => (width, height),
            Self::Scale(by) => {
                let side = |pixels: u32| (f64::from(pixels) * by).round().max(1.0) as u32;
                (side(width), side(height))
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { width, height } => write!(f, "{width}x{height}"),
            Self::Scale(by) => write!(f, "{by}"),
        }
    }
}

/// How frames travel to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Jpeg,
    Raw,
}
