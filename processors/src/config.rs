//! What to serve, checked.

use std::{path::PathBuf, time::Duration};

use processor_proto::{ServeConfig, Threads};

use crate::{
    chaos::{Plan, Wants},
    kserve::Server,
    picture::Decoder,
    resize::Target,
};

/// One processor and how to serve it.
#[derive(Clone, Debug)]
pub struct Config {
    pub serve: ServeConfig,
    pub threads: Threads,
    /// Gets the listening address once calls are taken.
    pub port_file: Option<PathBuf>,
    pub decoder: Decoder,
    pub kind: Kind,
}

/// The built-in processors, each with its own settings.
#[derive(Clone, Debug)]
pub enum Kind {
    Echo {
        delay: Duration,
    },
    Motion {
        work_width: u32,
    },
    Faces {
        cascade: Option<PathBuf>,
        work_width: u32,
    },
    Blur {
        cascade: Option<PathBuf>,
        work_width: u32,
        quality: u8,
    },
    People {
        work_width: u32,
    },
    Resize {
        target: Target,
        quality: u8,
    },
    Kserve {
        server: Server,
        /// What the model takes and gives.
        config: PathBuf,
    },
    Chaos {
        plan: Plan,
        ledger: Option<PathBuf>,
        wants: Wants,
    },
}

impl Kind {
    /// The word on the command line (of a model: its name), and the name in results unless another was given.
    pub fn name(&self) -> &str {
        match self {
            Self::Echo { .. } => "echo",
            Self::Motion { .. } => "motion",
            Self::Faces { .. } => "faces",
            Self::Blur { .. } => "blur",
            Self::People { .. } => "people",
            Self::Resize { .. } => "resize",
            Self::Kserve { server, .. } => &server.model,
            Self::Chaos { .. } => "chaos",
        }
    }
}
