//! Frames of any lanes in one call, for processors that ask for it.
//!
//! ```text
//! frame -> open batch -> full, or its first frame has waited long enough -> permit -> ProcessBatch -> each frame's answer
//! ```
//! A batch belongs to the frames in it: all of them drive its call, one that goes (its lane was taken away) leaves the rest
//! as it was, and when the last one goes the call ends. Who fails in a batch is called again alone, by [`Caller`].
//!
//! [`Caller`]: super::Caller

use super::balancer::Balancer;
use super::caller::{BUSY_PAUSE, Phase, Progress, account, leave_out_picture, pause};
use super::failure::Failure;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use pipeline::ordering::LaneId;
use processor_proto::v1::batched_outcome::Outcome;
use processor_proto::v1::{
    Frame, FrameId, ProcessBatchRequest, ProcessBatchResponse, ProcessRequest, ProcessResponse,
    Refusal,
};
use processor_proto::{MAX_MESSAGE_BYTES, MAX_RECORD_BYTES};
use prost::Message;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tonic::{Code, Status};

/// What is in front of each request in a batch.
const REQUEST_OVERHEAD_BYTES: usize = 16;
const _: () = assert!(
    MAX_RECORD_BYTES < MAX_MESSAGE_BYTES,
    "a frame alone always fits"
);

/// What a replica wants in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// 1: calls for single frames only.
    pub frames: usize,
    /// How long a batch's first frame may wait for others.
    pub wait: Duration,
}

impl BatchLimits {
    /// More frames than this in a call make one failure too dear.
    const MOST_FRAMES: usize = 256;

    /// For those who ask for no batches.
    pub const SINGLE: Self = Self {
        frames: 1,
        wait: Duration::ZERO,
    };

    /// As a replica describes itself.
    pub fn described(max_batch: u32, max_wait_us: u32) -> Self {
        Self {
            frames: (max_batch as usize).clamp(1, Self::MOST_FRAMES),
            wait: Duration::from_micros(max_wait_us.into()),
        }
    }
}

/// What came of a frame's part in a batch.
#[derive(Debug)]
pub enum Part {
    /// A valid reply.
    Done {
        response: Box<ProcessResponse>,
        /// The time of the call.
        call: Duration,
    },
    /// The batch, or this frame in it, failed: the frame is to be called alone.
    Failed(Failure),
    /// It was in no batch: the replicas take single frames, or it lacks the picture that they need.
    NotBatched,
}

/// A frame in a batch, or a place without one once its owner has gone.
type Member = Weak<ProcessRequest>;
/// One for each member, in their order; each takes its own.
type Answers = Arc<Mutex<Vec<Option<Part>>>>;
type SharedCall = Shared<BoxFuture<'static, Answers>>;

/// Puts frames together.
#[derive(Debug)]
pub struct Batcher {
    balancer: Arc<Balancer>,
    /// For one call.
    deadline: Duration,
    open: Mutex<Option<Open>>,
}

/// The batch that frames can still join; it does not keep its call alive.
#[derive(Debug)]
struct Open {
    batch: Arc<Batch>,
    call: WeakShared<BoxFuture<'static, Answers>>,
}

#[derive(Debug)]
struct Batch {
    limits: BatchLimits,
    /// Of the first member: in whose turn the batch waits for a replica.
    lane: LaneId,
    state: Mutex<State>,
    full: Notify,
}

#[derive(Debug, Default)]
struct State {
    members: Vec<Member>,
    bytes: usize,
    closed: bool,
}

impl Batcher {
    pub fn new(balancer: Arc<Balancer>, deadline: Duration) -> Self {
        Self {
            balancer,
            deadline,
            open: Mutex::default(),
        }
    }

    /// The first call for a frame, together with others. Dropping the future takes the frame out of what is not sent yet.
    pub async fn call(&self, lane: LaneId, frame: &Frame, progress: &Progress) -> Part {
        let mut wanted = self.balancer.batching();
        while wanted.is_none() {
            progress.set(Phase::WaitingForReplica);
            // A permit is given once a replica is up, and with that known.
            drop(self.balancer.permit(lane, None).await);
            wanted = self.balancer.batching();
        }
        let limits = wanted.unwrap_or(BatchLimits::SINGLE);
        if limits.frames < 2 {
            return Part::NotBatched;
        }
        let limits = BatchLimits {
            // What a processor says of itself is not to hold frames up for longer than its call may take.
            wait: limits.wait.min(self.deadline),
            ..limits
        };
        let request = Arc::new(ProcessRequest {
            frame: Some(frame.clone()), // the picture itself is shared, not copied
            attempt: 1,
        });
        let (place, call) = self.join(lane, limits, &request);
        progress.set(Phase::Calling {
            replica: "a replica, with other frames".into(),
            attempt: 1,
        });
        let answers = call.await;
        let part = lock(&answers).get_mut(place).and_then(Option::take);
        part.unwrap_or(Part::NotBatched)
    }

    fn join(
        &self,
        lane: LaneId,
        limits: BatchLimits,
        request: &Arc<ProcessRequest>,
    ) -> (usize, SharedCall) {
        let bytes = request.encoded_len() + REQUEST_OVERHEAD_BYTES;
        let mut open = lock(&self.open);
        let joined = open.as_ref().and_then(|open| {
            let call = open.call.upgrade()?;
            Some((open.batch.join(request, bytes)?, call))
        });
        if let Some(joined) = joined {
            return joined;
        }
        let batch = Arc::new(Batch {
            limits,
            lane,
            state: Mutex::default(),
            full: Notify::new(),
        });
        let place = batch.join(request, bytes);
        let (balancer, deadline) = (Arc::clone(&self.balancer), self.deadline);
        let call = Arc::clone(&batch).run(balancer, deadline).boxed().shared();
        *open = call.downgrade().map(|call| Open { batch, call });
        (place.expect("an empty batch takes any frame"), call)
    }
}

impl Batch {
    /// The frame's place, unless the batch is on its way or the frame does not fit: then it is full.
    fn join(&self, request: &Arc<ProcessRequest>, bytes: usize) -> Option<usize> {
        let mut state = lock(&self.state);
        let fits = state.members.is_empty() || state.bytes + bytes <= MAX_RECORD_BYTES;
        if state.closed || !fits || state.members.len() >= self.limits.frames {
            self.full.notify_one();
            return None;
        }
        state.members.push(Arc::downgrade(request));
        state.bytes += bytes;
        if state.members.len() >= self.limits.frames {
            self.full.notify_one();
        }
        Some(state.members.len() - 1)
    }

    async fn run(self: Arc<Self>, balancer: Arc<Balancer>, deadline: Duration) -> Answers {
        // Whether it is full or has waited makes no difference.
        let _ = tokio::time::timeout(self.limits.wait, self.full.notified()).await;
        let mut busy_since: Option<Instant> = None;
        loop {
            let permit = balancer.permit(self.lane, None).await;
            // Only now: who came while all replicas were busy goes along.
            let needs_pixels = permit.needs_pixels;
            let (requests, places) = self.close(needs_pixels);
            if permit.batch.frames < 2 || requests.is_empty() {
                return answers(&places, |_| Part::NotBatched);
            }
            let start = Instant::now();
            let ids: Vec<_> = requests.iter().map(id_of).collect();
            let mut request = tonic::Request::new(ProcessBatchRequest { requests });
            request.set_timeout(deadline);
            let mut client = permit.client.clone();
            let result = tokio::time::timeout(deadline, client.process_batch(request)).await;
            let result = match result {
                Ok(Ok(reply)) => complete(reply.into_inner(), ids.len()),
                Ok(Err(status)) => Err(Failure::from(status)),
                Err(_) => Err(Failure::TimedOut),
            };
            let call = start.elapsed();
            account(&balancer, &permit, &result, call);
            drop(permit);
            let failure = match result {
                Ok(outcomes) => {
                    metrics::histogram!("framelane_broker_batch_frames").record(ids.len() as f64);
                    let parts = outcomes.into_iter().zip(ids);
                    let mut parts = parts.map(|(outcome, id)| {
                        match part(outcome, id.as_ref(), call) {
                            // It may be refused because its picture was left out: the call for it alone tells.
                            Part::Failed(Failure::Refused(why)) if !needs_pixels => {
                                Part::Failed(Failure::Failed(why))
                            }
                            part => part,
                        }
                    });
                    return answers(&places, |_| parts.next().unwrap_or(Part::NotBatched));
                }
                Err(failure) => failure,
            };
            let is_over = match failure {
                Failure::NotSent(_) => false, // nobody saw it; a permit comes when a replica is up
                Failure::Busy(_) => busy_since.get_or_insert(start).elapsed() >= deadline,
                _ => true,
            };
            if is_over {
                return answers(&places, |_| Part::Failed(of_all(&failure)));
            }
            pause(BUSY_PAUSE).await;
        }
    }

    /// Takes no more frames. Those that are still wanted, with or without their pictures, and for every member its place
    /// among them. A frame that lacks a picture that is needed is not among them.
    fn close(&self, needs_pixels: bool) -> (Vec<ProcessRequest>, Vec<Option<usize>>) {
        let mut state = lock(&self.state);
        state.closed = true;
        let mut requests = Vec::with_capacity(state.members.len());
        let places = state.members.iter().map(|member| {
            let mut request = ProcessRequest::clone(&*member.upgrade()?);
            let frame = request.frame.as_mut()?;
            if !needs_pixels {
                leave_out_picture(frame);
            } else if frame.inline().is_none() {
                return None;
            }
            requests.push(request);
            Some(requests.len() - 1)
        });
        let places = places.collect();
        (requests, places)
    }
}

/// An answer for each member that is in the call, in the order of the members.
fn answers(places: &[Option<usize>], mut answer: impl FnMut(usize) -> Part) -> Answers {
    let parts = places.iter().map(|place| place.map(&mut answer));
    Arc::new(Mutex::new(parts.collect()))
}

/// What failed for all frames of a batch says of none that it can never be processed.
fn of_all(failure: &Failure) -> Failure {
    match failure {
        Failure::Refused(why) => Failure::Failed(why.clone()),
        other => other.clone(),
    }
}

/// A reply says something of every frame, or it says nothing.
fn complete(reply: ProcessBatchResponse, frames: usize) -> Result<Vec<Option<Outcome>>, Failure> {
    if reply.outcomes.len() != frames {
        return Err(Failure::Failed(format!(
            "the reply to a batch of {frames} frames has {} outcomes",
            reply.outcomes.len()
        )));
    }
    Ok(reply.outcomes.into_iter().map(|one| one.outcome).collect())
}

fn part(outcome: Option<Outcome>, id: Option<&FrameId>, call: Duration) -> Part {
    match outcome {
        Some(Outcome::Response(response)) if response.id.as_ref() == id => Part::Done {
            response: Box::new(response),
            call,
        },
        Some(Outcome::Response(response)) => {
            let found = response
                .id
                .map_or_else(|| "none".to_owned(), |id| id.to_string());
            Part::Failed(Failure::Failed(format!("the reply is for frame {found}")))
        }
        Some(Outcome::Refusal(Refusal { code, message })) => {
            Part::Failed(Status::new(Code::from_i32(code), message).into())
        }
        None => Part::Failed(Failure::Failed(
            "the reply says nothing of the frame".to_owned(),
        )),
    }
}

fn id_of(request: &ProcessRequest) -> Option<FrameId> {
    request.frame.as_ref().and_then(|frame| frame.id.clone())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics between two operations on what they hold.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
