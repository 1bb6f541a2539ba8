//! Framelane's built-in processors: [`run`] serves one of them until it is told to stop.
//!
//! Each processor is a file of its own. What they share: [`picture`] (content to pixels, checked first).

pub mod blur;
mod boxes;
pub mod chaos;
pub mod cli;
pub mod config;
pub mod echo;
pub mod faces;
pub mod hardware;
mod instances;
mod jpeg;
pub mod kserve;
pub mod motion;
mod opencv_error;
pub mod people;
pub mod picture;
mod port_file;
pub mod resize;
mod status_line;

use std::{io, path::PathBuf};

use processor_proto::{BlockingProcessor, OnThreads, ServeError, Server, Threads};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::{
    blur::Blur,
    chaos::{Chaos, Ledger, OVERSIZE_BYTES},
    config::{Config, Kind},
    echo::Echo,
    faces::{CascadeError, Faces},
    hardware::Hardware,
    kserve::{
        ConnectError, Kserve,
        config::{Model, ModelError},
    },
    motion::Motion,
    people::People,
    resize::Resize,
};

/// Requests that are received, wait or run: room for those of several callers to be on their way while others wait.
const HELD_PER_PLACE: usize = 4;
/// With few places too, some dozens of callers are to be heard and told when to come back. In the worst case (each frame
/// as large as a frame may be) this is 512 MiB.
const LEAST_HELD: usize = 64;

/// Why a processor cannot be served (any more).
#[derive(Debug, Error)]
pub enum RunError {
    /// A setting, or something that should have been installed: the person who started it must act.
    #[error(transparent)]
    Cascade(#[from] CascadeError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("OpenCV: {0}")]
    OpenCv(#[from] opencv::Error),
    #[error("cannot start the threads: {0}; give fewer with --threads")]
    Threads(io::Error),
    #[error("cannot open the ledger {}: {source}; give a file in a folder that exists with --ledger", path.display())]
    Ledger { path: PathBuf, source: io::Error },
    #[error("cannot write the port file {}: {source}; give one in a folder that exists with --port-file", path.display())]
    PortFile { path: PathBuf, source: io::Error },
}

/// Serves the processor of `config` until `shutdown`, then drains for at most its grace time.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    tracing::info!(?config, "starting");
    // Parallel over calls, not within one: more throughput, and no threads beyond those asked for.
    opencv::core::set_num_threads(1)?;
    let Config {
        mut serve,
        threads,
        port_file,
        decoder,
        kind,
    } = config;
    let admission = threads.admission.get();
    // A call beyond the admission is to be refused, not to wait for a free stream.
    let streams = u32::try_from(admission.saturating_mul(2)).unwrap_or(u32::MAX);
    serve.max_streams = serve.max_streams.max(streams);
    if !matches!(kind, Kind::Echo { .. } | Kind::Chaos { .. }) {
        serve.max_held = Some(HELD_PER_PLACE.saturating_mul(admission).max(LEAST_HELD));
    }
    if matches!(kind, Kind::Chaos { .. }) {
        // The oversized answer must reach the caller's limit.
        serve.max_message_bytes = 2 * OVERSIZE_BYTES;
    }
    let name = serve.name.clone().unwrap_or_else(|| kind.name().to_owned());

    let building = Built::new(kind, &name, threads, decoder);
    let Some(processor) = shutdown.run_until_cancelled(building).await else {
        return Ok(());
    };
    let processor = processor?;
    let server = Server::bind(serve)?;
    let address = server.local_addr();
    if let Some(path) = port_file {
        port_file::write(&path, address).map_err(|source| RunError::PortFile { path, source })?;
    }
    tracing::info!(%address, processor = name, "listening");
    let counts = server.counts();
    let served = async {
        match processor {
            Built::Echo(echo) => server.run(echo, shutdown).await,
            Built::Motion(motion) => server.run(motion, shutdown).await,
            Built::Faces(faces) => server.run(faces, shutdown).await,
            Built::Blur(blur) => server.run(blur, shutdown).await,
            Built::People(people) => server.run(people, shutdown).await,
            Built::Resize(resize) => server.run(resize, shutdown).await,
            Built::Kserve(kserve) => server.run(*kserve, shutdown).await,
            Built::Chaos(chaos) => server.run_service(chaos, name.clone(), shutdown).await,
        }
    };
    tokio::select! {
        stopped = served => tracing::info!(ended_calls = stopped?.ended_calls, "stopped"),
        never = status_line::every_second(&name, &counts) => match never {},
    }
    Ok(())
}

/// A processor, ready to be served.
enum Built {
    Echo(Echo),
    Motion(OnThreads<Motion>),
    Faces(OnThreads<Faces>),
    Blur(OnThreads<Blur>),
    People(OnThreads<People>),
    Resize(OnThreads<Resize>),
    Kserve(Box<Kserve>),
    Chaos(Chaos),
}

impl Built {
    async fn new(
        kind: Kind,
        name: &str,
        threads: Threads,
        decoder: picture::Decoder,
    ) -> Result<Self, RunError> {
        let admission = threads.admission.get();
        Ok(match kind {
            Kind::Echo { delay } => Self::Echo(Echo::new(delay, admission)),
            Kind::Motion { work_width } => {
                Self::Motion(start(Motion::new(work_width, decoder), threads)?)
            }
            Kind::Faces {
                cascade,
                work_width,
            } => Self::Faces(start(Faces::new(cascade, work_width, decoder)?, threads)?),
            Kind::Blur {
                cascade,
                work_width,
                quality,
            } => {
                let faces = Faces::new(cascade, work_width, decoder)?;
                let blur = Blur {
                    faces,
                    quality,
                    decoder,
                };
                Self::Blur(start(blur, threads)?)
            }
            Kind::People { work_width } => {
                Self::People(start(People::new(work_width, decoder)?, threads)?)
            }
            Kind::Resize { target, quality } => {
                let hardware = Hardware::find()?;
                let cuda = hardware::cuda()?;
                tracing::info!(scaling = %hardware, %cuda, threads = threads.count, "hardware");
                let resize = Resize {
                    target,
                    quality,
                    decoder,
                    hardware,
                };
                Self::Resize(start(resize, threads)?)
            }
            Kind::Kserve { server, config } => {
                let model = Model::read(&config)?;
                let (threads, admission) = (threads.count, threads.admission);
                let kserve = Kserve::connect(server, model, decoder, threads, admission).await?;
                Self::Kserve(Box::new(kserve))
            }
            Kind::Chaos {
                plan,
                ledger,
                wants,
            } => {
                let ledger = ledger.map(open_ledger).transpose()?;
                Self::Chaos(Chaos::new(name.into(), plan, admission, ledger, wants))
            }
        })
    }
}

fn open_ledger(path: PathBuf) -> Result<Ledger, RunError> {
    Ledger::open(&path).map_err(|source| RunError::Ledger { path, source })
}

fn start<P: BlockingProcessor>(processor: P, threads: Threads) -> Result<OnThreads<P>, RunError> {
    OnThreads::start(processor, threads).map_err(RunError::Threads)
}
