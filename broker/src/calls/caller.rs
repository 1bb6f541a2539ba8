//! All calls for one frame: deadline, retries with backoff on another replica, and the isolation of suspects.

use super::balancer::{Balancer, Permit};
use super::batcher::{Batcher, Part};
use super::failure::Failure;
use super::replica::ReplicaId;
use pipeline::ordering::LaneId;
use pipeline::trace::TraceContext;
use processor_proto::v1::frame::Content;
use processor_proto::v1::{Frame, Missing, ProcessRequest, ProcessResponse, Status, missing};
use rand::RngExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tonic::metadata::MetadataValue;

/// The pause after a replica said that it is busy.
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// No pause between two calls for a frame is longer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// Bounds on the calls for one frame.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// For one call.
    pub deadline: Duration,
    /// Calls that count.
    pub attempts: u32,
    /// Before the second call; doubles.
    pub backoff: Duration,
}

/// How the calls for a frame ended.
#[derive(Debug)]
pub enum Outcome {
    /// A valid reply.
    Done {
        /// The reply; its id is the frame's.
        response: Box<ProcessResponse>,
        /// Calls made, this one included.
        attempts: u32,
        /// The time of the successful call.
        call: Duration,
    },
    /// No call succeeded.
    Failed {
        /// ERROR, TIMEOUT or SKIPPED.
        status: Status,
        /// The last call's failure.
        error: String,
        /// Calls made.
        attempts: u32,
        /// The time of the last call.
        call: Duration,
    },
}

impl Outcome {
    /// No call is made for a frame without a picture: its slot says so.
    pub fn skipped(missing: &Missing) -> Self {
        let place = missing
            .last_known
            .as_ref()
            .map_or_else(String::new, |place| format!(" (was {place})"));
        Self::Failed {
            status: Status::Skipped,
            error: format!("the picture is missing: {}{place}", missing.reason().word()),
            attempts: 0,
            call: Duration::ZERO,
        }
    }
}

/// Where a frame's work stands: what the watchdog reports.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Phase>);

/// The stages of a frame's work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Phase {
    /// Its picture is being read from another topic.
    #[default]
    FetchingPicture,
    /// No replica has room or is up.
    WaitingForReplica,
    /// A call is under way.
    Calling {
        /// To whom.
        replica: Arc<str>,
        /// 1 for the first.
        attempt: u32,
    },
    /// Between two calls.
    BackingOff {
        /// Why the last one failed.
        error: String,
    },
}

impl Progress {
    pub fn set(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    pub fn get(&self) -> Phase {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Makes the calls.
#[derive(Debug)]
pub struct Caller {
    balancer: Arc<Balancer>,
    limits: CallLimits,
    batcher: Batcher,
    /// Held by a frame during whose call a replica died. One suspect at a time: a frame that kills processors must not
    /// use up the attempts of the innocent frames beside it.
    suspect: tokio::sync::Mutex<()>,
}

impl Caller {
    pub fn new(balancer: Arc<Balancer>, limits: CallLimits) -> Self {
        Self {
            batcher: Batcher::new(Arc::clone(&balancer), limits.deadline),
            balancer,
            limits,
            suspect: tokio::sync::Mutex::default(),
        }
    }

    /// Calls until a replica answers, the attempts are used up, or the frame is refused. Waits for as long as no replica
    /// is up. Dropping the future cancels the call under way.
    ///
    /// A replica that needs no picture gets none, unless it refuses the frame without. `picture` fetches that of a frame that still refers to it, for a replica
    /// that looks at it; without one there the frame is skipped.
    pub async fn call(
        &self,
        lane: LaneId,
        mut frame: Frame,
        picture: impl Future<Output = Content>,
        trace: TraceContext,
        progress: &Progress,
    ) -> Outcome {
        let mut attempts = 0;
        let mut failed_at: Option<ReplicaId> = None;
        let mut isolation = None;
        let mut busy_since: Option<Instant> = None;
        let mut allowed = self.limits.attempts;
        let mut insists = false; // the processor, on pictures
        let mut picture = std::pin::pin!(picture); // awaited once: what comes is no reference
        match self.in_a_batch(lane, &frame, progress).await {
            Ok(outcome) => return outcome,
            Err(None) => {}
            Err(Some(failure)) => {
                // Whose fault it was is not known: the frame keeps its calls, and has them alone.
                attempts = 1;
                allowed += 1;
                let (_, error) = self.describe(&failure);
                progress.set(Phase::BackingOff { error });
                pause(self.limits.backoff).await;
                if matches!(failure, Failure::Crashed(_)) {
                    isolation = Some(self.suspect.lock().await);
                }
            }
        }
        loop {
            progress.set(Phase::WaitingForReplica);
            let permit = self.balancer.permit(lane, failed_at).await;
            let mut request = frame.clone(); // the picture itself is shared, not copied
            let needs_pixels = permit.needs_pixels || insists;
            if needs_pixels {
                match &frame.content {
                    Some(Content::Missing(missing)) => return Outcome::skipped(missing),
                    Some(Content::Reference(_)) => {
                        drop(permit); // others need not wait for a picture
                        let was_alone = isolation.take().is_some();
                        busy_since = None;
                        progress.set(Phase::FetchingPicture);
                        frame.content = Some(picture.as_mut().await);
                        if was_alone {
                            isolation = Some(self.suspect.lock().await);
                        }
                        continue;
                    }
                    _ => {}
                }
            } else {
                leave_out_picture(&mut request);
            }
            let attempt = attempts + 1;
            progress.set(Phase::Calling {
                replica: Arc::clone(&permit.address),
                attempt,
            });
            let start = Instant::now();
            let result = self.call_once(&permit, request, attempt, trace).await;
            let call = start.elapsed();
            account(&self.balancer, &permit, &result, call);
            let failure = match result {
                Ok(response) => {
                    return Outcome::Done {
                        response: Box::new(response),
                        attempts: attempt,
                        call,
                    };
                }
                Err(failure) => failure,
            };
            failed_at = Some(permit.replica);
            drop(permit);
            match failure {
                Failure::NotSent(_) => {
                    pause(BUSY_PAUSE).await;
                    continue;
                }
                Failure::Busy(_) => {
                    let time = busy_since.get_or_insert(start).elapsed();
                    if time < self.limits.deadline {
                        pause(BUSY_PAUSE.max(time / 4)).await;
                        continue;
                    }
                }
                _ => {}
            }
            busy_since = None;
            attempts = attempt;
            let is_left_out = !needs_pixels && frame.inline().is_some();
            if is_left_out && matches!(failure, Failure::Refused(_)) {
                // Another may have come in the place of the one that said that it needs none.
                insists = true;
                allowed += 1;
                continue;
            }
            let (status, error) = self.describe(&failure);
            if attempts >= allowed || matches!(failure, Failure::Refused(_)) {
                return Outcome::Failed {
                    status,
                    error,
                    attempts,
                    call,
                };
            }
            tracing::debug!(id = %frame.id.clone().unwrap_or_default(), attempts, error, "call failed");
            progress.set(Phase::BackingOff { error });
            let doublings = (attempts - 1).min(16);
            pause((self.limits.backoff * (1 << doublings)).min(LONGEST_BACKOFF)).await;
            if matches!(failure, Failure::Crashed(_)) && isolation.is_none() {
                isolation = Some(self.suspect.lock().await);
            }
        }
    }

    /// The frame's first call, with others. An error: it is to be called alone, after this failure if there was one.
    async fn in_a_batch(
        &self,
        lane: LaneId,
        frame: &Frame,
        progress: &Progress,
    ) -> Result<Outcome, Option<Failure>> {
        match self.batcher.call(lane, frame, progress).await {
            Part::NotBatched => Err(None),
            Part::Done { response, call } => Ok(Outcome::Done {
                response,
                attempts: 1,
                call,
            }),
            Part::Failed(failure @ Failure::Refused(_)) => {
                let (status, error) = self.describe(&failure);
                Ok(Outcome::Failed {
                    status,
                    error,
                    attempts: 1,
                    call: Duration::ZERO,
                })
            }
            Part::Failed(failure) => Err(Some(failure)),
        }
    }

    async fn call_once(
        &self,
        permit: &Permit,
        frame: Frame,
        attempt: u32,
        trace: TraceContext,
    ) -> Result<ProcessResponse, Failure> {
        let id = frame.id.clone();
        let mut request = tonic::Request::new(ProcessRequest {
            frame: Some(frame),
            attempt,
        });
        request.set_timeout(self.limits.deadline);
        if let Ok(trace) = MetadataValue::try_from(trace.to_string()) {
            request.metadata_mut().insert(TraceContext::HEADER, trace);
        }
        let mut client = permit.client.clone();
        let response = tokio::time::timeout(self.limits.deadline, client.process(request))
            .await
            .map_err(|_| Failure::TimedOut)??
            .into_inner();
        if response.id != id {
            let found = response
                .id
                .map_or_else(|| "none".to_owned(), |id| id.to_string());
            return Err(Failure::Failed(format!("the reply is for frame {found}")));
        }
        Ok(response)
    }

    fn describe(&self, failure: &Failure) -> (Status, String) {
        match failure {
            Failure::TimedOut => {
                let deadline = humantime::format_duration(self.limits.deadline);
                (Status::Timeout, format!("no answer within {deadline}"))
            }
            other => (Status::Error, other.to_string()),
        }
    }
}

/// Takes the picture out of a frame for a replica that does not look at it: most of a request is its picture.
pub(super) fn leave_out_picture(frame: &mut Frame) {
    let last_known = match &frame.content {
        Some(Content::Inline(_)) => None,
        Some(Content::Reference(reference)) => Some(reference.clone()),
        Some(Content::Missing(_)) | None => return,
    };
    frame.content = Some(Content::Missing(Missing {
        reason: missing::Reason::Omitted.into(),
        last_known,
    }));
}

/// Notes how a call ended: for the metrics, and for what is known of the replica.
pub(super) fn account<T>(
    balancer: &Arc<Balancer>,
    permit: &Permit,
    result: &Result<T, Failure>,
    call: Duration,
) {
    let outcome = match result {
        Ok(_) => "ok",
        Err(Failure::Busy(_)) => "busy",
        Err(Failure::NotSent(_)) => "unreachable",
        Err(Failure::Refused(_)) => "refused",
        Err(Failure::Crashed(_)) => "crashed",
        Err(Failure::TimedOut) => "timeout",
        Err(Failure::Failed(_)) => "error",
    };
    let replica = permit.address.to_string();
    metrics::counter!("framelane_broker_calls_total", "replica" => replica, "outcome" => outcome)
        .increment(1);
    metrics::histogram!("framelane_broker_call_seconds").record(call.as_secs_f64());
    balancer.change(permit.replica, |replica| match result {
        // A refusal is an answer: the replica works.
        Ok(_) | Err(Failure::Refused(_)) => replica.succeeded(),
        Err(Failure::Busy(_)) => replica.is_busy(),
        Err(Failure::NotSent(_) | Failure::Crashed(_)) => replica.is_up = false,
        Err(why @ (Failure::TimedOut | Failure::Failed(_))) => {
            replica.failed(Instant::now(), why);
        }
    });
}

/// Half to one and a half times as long, so that many frames do not come back at the same moment.
pub(super) async fn pause(about: Duration) {
    let factor = rand::rng().random_range(0.5..1.5);
    tokio::time::sleep(about.mul_f64(factor)).await;
}
