//! Around a service: counts its calls, keeps panics inside a call, and can end all calls when the grace time is over.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use futures::FutureExt;
use metrics::{Counter, Gauge, Histogram};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use crate::v1::{
    DescribeRequest, DescribeResponse, ProcessBatchRequest, ProcessBatchResponse, ProcessRequest,
    ProcessResponse, processor_server,
};

/// What a server did so far. Numbers only grow, except `in_flight`.
#[derive(Debug, Default)]
pub struct Counts {
    ok: AtomicU64,
    not_ok: AtomicU64,
    in_flight: AtomicU64,
}

impl Counts {
    /// Calls answered with OK.
    pub fn ok(&self) -> u64 {
        self.ok.load(Relaxed)
    }

    /// Calls answered with another status, and calls that the caller gave up.
    pub fn not_ok(&self) -> u64 {
        self.not_ok.load(Relaxed)
    }

    /// Calls running now.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }
}

/// The service `S`, counted.
pub(crate) struct Counted<S> {
    service: S,
    meters: Meters,
    /// When cancelled, every running call is answered with UNAVAILABLE.
    end_calls: CancellationToken,
}

struct Meters {
    name: String,
    counts: Arc<Counts>,
    in_flight: Gauge,
    seconds: Histogram,
}

impl<S> Counted<S> {
    pub fn new(
        service: S,
        name: String,
        counts: Arc<Counts>,
        end_calls: CancellationToken,
    ) -> Self {
        let meters = Meters {
            in_flight: metrics::gauge!("framelane_processor_in_flight", "processor" => name.clone()),
            seconds: metrics::histogram!("framelane_processor_call_seconds", "processor" => name.clone()),
            name,
            counts,
        };
        Self {
            service,
            meters,
            end_calls,
        }
    }
}

impl<S> Counted<S> {
    async fn counted<T>(
        &self,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let call = Call::start(&self.meters);
        // An unwinding call would take the whole connection with it, and every call on it.
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let answer = tokio::select! {
            biased;
            answer = answer => answer.unwrap_or_else(|panic| Err(panicked(&*panic))),
            () = self.end_calls.cancelled() => Err(Status::unavailable(
                "this replica stops and its grace time is over: call another one",
            )),
        };
        call.end(&answer);
        answer
    }
}

#[tonic::async_trait]
impl<S: processor_server::Processor> processor_server::Processor for Counted<S> {
    async fn process(
        &self,
        request: Request<ProcessRequest>,
    ) -> Result<Response<ProcessResponse>, Status> {
        self.counted(self.service.process(request)).await
    }

    /// A batch counts as one call.
    async fn process_batch(
        &self,
        request: Request<ProcessBatchRequest>,
    ) -> Result<Response<ProcessBatchResponse>, Status> {
        self.counted(self.service.process_batch(request)).await
    }

    async fn describe(
        &self,
        request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        self.service.describe(request).await
    }
}

/// The INTERNAL status that a panic becomes; the panic hook has already written where it was.
fn panicked(panic: &(dyn Any + Send)) -> Status {
    Status::internal(format!("the processor panicked: {}", panic_text(panic)))
}

/// What `panic!` was given, if it was text.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

/// One running call. Dropped without an end, it counts as abandoned by the caller.
struct Call<'a> {
    meters: &'a Meters,
    started: Instant,
    outcome: &'static str,
}

impl<'a> Call<'a> {
    fn start(meters: &'a Meters) -> Self {
        meters.counts.in_flight.fetch_add(1, Relaxed);
        meters.in_flight.increment(1);
        Self {
            meters,
            started: Instant::now(),
            outcome: "abandoned",
        }
    }

    fn end<T>(mut self, answer: &Result<T, Status>) {
        self.outcome = match answer {
            Ok(_) => "ok",
            Err(status) => word(status.code()),
        };
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Meters {
            name,
            counts,
            in_flight,
            seconds,
        } = self.meters;
        let outcomes = if self.outcome == "ok" {
            &counts.ok
        } else {
            &counts.not_ok
        };
        outcomes.fetch_add(1, Relaxed);
        counts.in_flight.fetch_sub(1, Relaxed);
        in_flight.decrement(1);
        seconds.record(self.started.elapsed());
        calls(name, self.outcome).increment(1);
    }
}

fn calls(name: &str, outcome: &'static str) -> Counter {
    metrics::counter!("framelane_processor_calls_total", "processor" => name.to_owned(), "outcome" => outcome)
}

/// The `outcome` label: one word for each status that `processor.proto` gives a meaning.
fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::InvalidArgument => "invalid",
        Code::ResourceExhausted => "busy",
        Code::Unavailable => "unavailable",
        _ => "failed",
    }
}
