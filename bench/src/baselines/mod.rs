//! What the field would do without Framelane: small programs, each one process, none of which survives a fault or keeps
//! an order that its input does not give it for free.

pub mod aiohttp;
pub mod calls;
pub mod consume;
pub mod copy;
pub mod look;
pub mod naive;
pub mod resize;
pub mod settings;

use clap::Subcommand;

/// One baseline and its settings.
#[derive(Debug, Subcommand)]
pub enum Baseline {
    /// Read records and write them to another topic
    Copy(copy::Args),
    /// Read records and throw them away; prints how fast as JSON
    Consume(consume::Args),
    /// Read, call a processor for 32 frames at a time, write in order; commits by itself, survives nothing
    Naive(naive::Args),
    /// Call a processor with frames from memory, without Kafka; prints how fast as JSON
    Calls(calls::Args),
    /// Make JPEGs from memory smaller with OpenCV, on all cores; prints how fast as JSON
    ResizeLoop(resize::LoopArgs),
    /// Have the resize service make the same JPEGs smaller (no baseline: its counterpart)
    ResizeCalls(resize::CallsArgs),
    /// Serve a processor without delay that takes the pictures (no baseline: the counterpart of some)
    Look(look::Args),
    /// Be many viewers of a web edge; prints how old their frames were as JSON (no baseline: the load of some)
    Viewers(crate::viewers::Args),
    /// Write pictures to many connections and throw them away; prints how many as JSON (the sockets alone, without a server)
    Sockets(crate::viewers::sockets::Args),
}

impl Baseline {
    /// Runs it to its end; some end by a signal only.
    ///
    /// # Errors
    /// Anything that goes wrong: a baseline recovers from nothing.
    pub fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Copy(args) => copy::run(args),
            Self::Consume(args) => consume::run(args),
            Self::Naive(args) => naive::run(args),
            Self::Calls(args) => calls::run(args),
            Self::ResizeLoop(args) => resize::run_loop(args),
            Self::ResizeCalls(args) => resize::run_calls(args),
            Self::Look(args) => look::run(args),
            Self::Viewers(args) => crate::viewers::run(args),
            Self::Sockets(args) => crate::viewers::sockets::run(args),
        }
    }
}
