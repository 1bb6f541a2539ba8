//! A processor that misbehaves on purpose, the same way each time: for tests and benchmarks.
//!
//! What happens to a call is a pure function of the seed, the frame's id and the attempt; see [`Plan`].

mod delay;
mod ledger;
mod plan;

use std::future::pending;

use processor_proto::v1::{
    self, Codec, DescribeRequest, DescribeResponse, FrameId, Picture, PixelFormat, ProcessRequest,
    ProcessResponse, processor_server,
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

pub use {
    delay::Delay,
    ledger::Ledger,
    plan::{Outcome, Plan, PlanError, Rates},
};

/// An oversized reply: above every limit in the system, below the memory of a small machine.
pub const OVERSIZE_BYTES: usize = 16 * 1024 * 1024;

/// Answers the requests itself, because some of its answers are wrong.
pub struct Chaos {
    name: String,
    plan: Plan,
    admission: Semaphore,
    ledger: Option<Ledger>,
    max_in_flight: u32,
}

impl Chaos {
    /// Follows `plan`; refuses more than `admission` calls at once; writes every call that it admits to `ledger`.
    pub fn new(name: String, plan: Plan, admission: usize, ledger: Option<Ledger>) -> Self {
        Self {
            name,
            plan,
            admission: Semaphore::new(admission),
            ledger,
            max_in_flight: u32::try_from(admission).unwrap_or(u32::MAX),
        }
    }

    fn write_down(&self, id: &FrameId, attempt: u32, outcome: Outcome) -> Result<(), Status> {
        let Some(ledger) = &self.ledger else {
            return Ok(());
        };
        ledger
            .append(id, attempt, outcome)
            .map_err(|error| Status::internal(format!("the ledger cannot be written: {error}")))
    }

    fn answer(&self, id: FrameId, attempt: u32, picture: Option<Picture>) -> ProcessResponse {
        let result = v1::Result {
            processor: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            status: v1::Status::Ok.into(),
            attempts: attempt,
            ..v1::Result::default()
        };
        ProcessResponse {
            id: Some(id),
            result: Some(result),
            picture,
        }
    }
}

#[tonic::async_trait]
impl processor_server::Processor for Chaos {
    async fn process(
        &self,
        request: Request<ProcessRequest>,
    ) -> Result<Response<ProcessResponse>, Status> {
        let ProcessRequest { frame, attempt } = request.into_inner();
        let id = frame
            .and_then(|frame| frame.id)
            .ok_or_else(|| Status::invalid_argument("the request holds no frame with an id"))?;
        let _place = self.admission.try_acquire().map_err(|_| {
            Status::resource_exhausted("as many calls as admitted are running here")
        })?;
        let outcome = self.plan.outcome(&id, attempt);
        // Before the answer and before the delay: a call that is abandoned or crashes was a call too.
        self.write_down(&id, attempt, outcome)?;
        match outcome {
            // Not a panic: the process is gone, as after a broken pointer in a native library.
            Outcome::Crash => std::process::abort(),
            Outcome::Hang => return pending().await,
            _ => tokio::time::sleep(self.plan.delay(&id, attempt)).await,
        }
        match outcome {
            Outcome::Error => Err(Status::internal(format!(
                "{id}: an error was ordered for attempt {attempt}"
            ))),
            Outcome::WrongId => {
                let wrong = FrameId {
                    sequence: id.sequence.wrapping_add(1),
                    ..id
                };
                Ok(Response::new(self.answer(wrong, attempt, None)))
            }
            Outcome::Oversize => Ok(Response::new(self.answer(id, attempt, Some(huge())))),
            Outcome::Ok | Outcome::Crash | Outcome::Hang => {
                Ok(Response::new(self.answer(id, attempt, None)))
            }
        }
    }

    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            max_in_flight: self.max_in_flight,
            needs_pixels: false,
        }))
    }
}

fn huge() -> Picture {
    let side = 4096;
    Picture {
        codec: Codec::Raw.into(),
        pixel_format: PixelFormat::Gray8.into(),
        width: side,
        height: side,
        content: vec![0; OVERSIZE_BYTES].into(),
    }
}
