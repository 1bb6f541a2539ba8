//! The processor under the broker: says the same of the same frame each time, and misbehaves as planned.

use crate::behaviour::Answer;
use crate::expect;
use crate::ledger::{Ledger, SeenLine};
use crate::plan::Plan;
use anyhow::{Context, Result};
use processor_proto::v1::{
    Codec, DescribeRequest, DescribeResponse, Frame, FrameId, Picture, PixelFormat, ProcessRequest,
    ProcessResponse, processor_server,
};
use processor_proto::{ServeConfig, Server, shutdown_on_signals};
use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::{Request, Response, Status};

/// The time a broker gives a call: an answer that is to come late comes after it.
pub const DEADLINE: Duration = Duration::from_millis(1_500);
/// A reply above every limit in the system.
const OVERSIZE_BYTES: usize = 10 << 20;
/// Calls at once: above what all brokers of a run send together, so that a broker's own bound is what holds.
const MAX_IN_FLIGHT: u32 = 1_000;

/// One replica of a stage's processor.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The run's plan
    #[arg(long)]
    pub plan: PathBuf,
    /// The stage it works for, from 0
    #[arg(long)]
    pub stage: usize,
    /// Its number among the stage's, from 0
    #[arg(long)]
    pub replica: usize,
    /// Where to listen
    #[arg(long)]
    pub listen: SocketAddr,
    /// Where every call is written down
    #[arg(long)]
    pub ledger: PathBuf,
}

/// Serves until it is told to stop, or is ordered to crash.
pub fn run(args: &Args) -> Result<()> {
    let plan = Plan::read(&args.plan)?;
    let stage = plan
        .stages
        .get(args.stage)
        .context("--stage is not in the plan")?;
    let service = Service {
        name: stage.processor.clone(),
        replica: format!("{}/{}", args.stage, args.replica),
        behaviour: stage.behaviour.clone(),
        ledger: Ledger::open(&args.ledger)?,
        in_flight: AtomicU64::new(0),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let config = ServeConfig {
            listen: args.listen,
            ..ServeConfig::default()
        };
        let server = Server::bind(config)?;
        let name = stage.processor.clone();
        server
            .run_service(service, name, shutdown_on_signals()?)
            .await?;
        Ok(())
    })
}

struct Service {
    name: String,
    replica: String,
    behaviour: crate::behaviour::Behaviour,
    ledger: Ledger<SeenLine>,
    in_flight: AtomicU64,
}

/// A call that runs; over when dropped, which also happens to a call that its caller gave up.
struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service {
    fn write_down(&self, id: &FrameId, attempt: u32, answer: Answer, in_flight: u64) -> Result<()> {
        self.ledger.write(&SeenLine {
            processor: self.name.clone(),
            replica: self.replica.clone(),
            source: id.source_id.clone(),
            epoch: id.epoch,
            sequence: id.sequence,
            attempt,
            answer,
            in_flight,
        })
    }

    fn reply(&self, frame: &Frame, id: &FrameId, attempt: u32) -> ProcessResponse {
        let picture = frame.inline().cloned().unwrap_or_default();
        let result = expect::result(&self.name, id, &picture, frame.results.len(), attempt);
        ProcessResponse {
            id: Some(id.clone()),
            result: Some(result),
            picture: None,
        }
    }
}

#[tonic::async_trait]
impl processor_server::Processor for Service {
    async fn process(
        &self,
        request: Request<ProcessRequest>,
    ) -> Result<Response<ProcessResponse>, Status> {
        let ProcessRequest { frame, attempt } = request.into_inner();
        let frame = frame.ok_or_else(|| Status::invalid_argument("the request holds no frame"))?;
        let id = frame.id.clone().unwrap_or_default();
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        let _running = Running(&self.in_flight);
        let sound = frame
            .inline()
            .is_none_or(|picture| expect::is_decodable(frame.codec(), picture));
        let answer = match self.behaviour.answer(&id, attempt) {
            Answer::Crash => Answer::Crash,
            _ if !sound => Answer::Refuse,
            answer => answer,
        };
        self.write_down(&id, attempt, answer, in_flight)
            .map_err(|error| Status::internal(format!("{error:#}")))?;
        let mut reply = self.reply(&frame, &id, attempt);
        match answer {
            // Not a panic: the process is gone, as after a broken pointer in a native library.
            Answer::Crash => std::process::abort(),
            Answer::Refuse => {
                return Err(Status::invalid_argument(
                    "a picture that must not be decoded",
                ));
            }
            Answer::Hang => return pending().await,
            Answer::Late => tokio::time::sleep(DEADLINE + Duration::from_millis(300)).await,
            Answer::Slow => {
                tokio::time::sleep(Duration::from_millis(self.behaviour.slow_ms)).await;
            }
            _ => tokio::time::sleep(self.behaviour.delay(&id, attempt)).await,
        }
        match answer {
            Answer::Error => {
                return Err(Status::internal(format!("{id}: an error was planned")));
            }
            Answer::WrongId => {
                let wrong = id.sequence.wrapping_add(1);
                reply.id = Some(FrameId::new(id.source_id, id.epoch, wrong));
            }
            Answer::Oversize => reply.picture = Some(picture(vec![0; OVERSIZE_BYTES])),
            Answer::Unusable => reply.picture = Some(picture(Vec::new())),
            _ => {}
        }
        Ok(Response::new(reply))
    }

    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse {
            name: self.name.clone(),
            version: expect::VERSION.to_owned(),
            max_in_flight: MAX_IN_FLIGHT,
            needs_pixels: true,
            ..DescribeResponse::default()
        }))
    }
}

fn picture(content: Vec<u8>) -> Picture {
    Picture {
        codec: Codec::Raw.into(),
        pixel_format: PixelFormat::Gray8.into(),
        width: 64,
        height: 64,
        content: content.into(),
    }
}
