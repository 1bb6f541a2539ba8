//! A processor that misbehaves on purpose, the same way each time: for tests and benchmarks.
//!
//! What happens to a call is a pure function of the seed, the frame's id and the attempt; see [`Plan`].

mod delay;
mod ledger;
mod plan;

use std::{collections::BTreeSet, future::pending, time::Duration};

use futures::future::try_join_all;
use processor_proto::v1::{
    self, BatchedOutcome, Codec, DescribeRequest, DescribeResponse, FrameId, Picture, PixelFormat,
    ProcessBatchRequest, ProcessBatchResponse, ProcessRequest, ProcessResponse, batched_outcome,
    processor_server,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Request, Response, Status};

pub use {
    delay::Delay,
    ledger::Ledger,
    plan::{Outcome, Plan, PlanError, Rates},
};

/// An oversized reply: above every limit in the system, below the memory of a small machine.
pub const OVERSIZE_BYTES: usize = 16 * 1024 * 1024;

/// What it says that a call is to hold.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// Pictures, which it does not look at.
    pub pixels: bool,
    /// Frames; 1: single frames only.
    pub batch: u32,
    /// How long the first may wait for the others.
    pub batch_wait: Duration,
}

/// Answers the requests itself, because some of its answers are wrong.
pub struct Chaos {
    name: String,
    plan: Plan,
    admission: Semaphore,
    ledger: Option<Ledger>,
    max_in_flight: u32,
    wants: Wants,
}

impl Chaos {
    /// Follows `plan`; refuses more than `admission` calls at once; writes every call that it admits to `ledger`.
    pub fn new(
        name: String,
        plan: Plan,
        admission: usize,
        ledger: Option<Ledger>,
        wants: Wants,
    ) -> Self {
        Self {
            name,
            plan,
            admission: Semaphore::new(admission),
            ledger,
            max_in_flight: u32::try_from(admission).unwrap_or(u32::MAX),
            wants,
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
        let _place = self.place()?;
        Ok(Response::new(self.call(request.into_inner()).await?))
    }

    /// What befalls one frame befalls the batch, as with a model that takes all of them in one go. Each result says how
    /// many frames and sources were in it.
    async fn process_batch(
        &self,
        request: Request<ProcessBatchRequest>,
    ) -> Result<Response<ProcessBatchResponse>, Status> {
        let _place = self.place()?;
        let requests = request.into_inner().requests;
        let ids = requests
            .iter()
            .filter_map(|one| one.frame.as_ref()?.id.as_ref());
        let sources: BTreeSet<_> = ids.map(|id| id.source_id.clone()).collect();
        let numbers = [("frames", requests.len()), ("sources", sources.len())];
        let attributes = numbers.map(|(name, number)| {
            let kind = prost_types::value::Kind::NumberValue(number as f64);
            (name.to_owned(), prost_types::Value { kind: Some(kind) })
        });
        let calls = requests.into_iter().map(|request| self.call(request));
        let responses = try_join_all(calls).await?;
        let outcomes = responses.into_iter().map(|mut response| {
            if let Some(result) = &mut response.result {
                result.attributes = Some(prost_types::Struct {
                    fields: attributes.clone().into(),
                });
            }
            BatchedOutcome {
                outcome: Some(batched_outcome::Outcome::Response(response)),
            }
        });
        Ok(Response::new(ProcessBatchResponse {
            outcomes: outcomes.collect(),
        }))
    }

    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            max_in_flight: self.max_in_flight,
            needs_pixels: self.wants.pixels,
            max_batch: self.wants.batch,
            max_batch_wait_us: u32::try_from(self.wants.batch_wait.as_micros()).unwrap_or(u32::MAX),
        }))
    }
}

impl Chaos {
    fn place(&self) -> Result<SemaphorePermit<'_>, Status> {
        let busy = |_| Status::resource_exhausted("as many calls as admitted are running here");
        self.admission.try_acquire().map_err(busy)
    }

    async fn call(&self, request: ProcessRequest) -> Result<ProcessResponse, Status> {
        let ProcessRequest { frame, attempt } = request;
        let id = frame
            .and_then(|frame| frame.id)
            .ok_or_else(|| Status::invalid_argument("the request holds no frame with an id"))?;
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
                Ok(self.answer(wrong, attempt, None))
            }
            Outcome::Oversize => Ok(self.answer(id, attempt, Some(huge()))),
            Outcome::Ok | Outcome::Crash | Outcome::Hang => Ok(self.answer(id, attempt, None)),
        }
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
