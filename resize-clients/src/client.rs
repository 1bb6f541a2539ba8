//! One instance's calls: the service with the fewest of them, and again elsewhere or later until there is an answer.
//!
//! ```text
//! frame -> place (not resting, fewest calls) -> call -> picture
//!            ▲                                   │ busy: rests as long as it asked for, and gets fewer calls at once
//!            └───────────────────────────────────┴ away: rests, longer each time; told once
//! ```
//! Each instance has connections of its own, as independent clients have: a service that is fair between its callers is
//! fair between instances.

use crate::config::Target;
use crate::directory::Directory;
use crate::failure::Failure;
use crate::outages::Outages;
use crate::replica::Replica;
use processor_proto::check_whole;
use processor_proto::v1::processor_client::ProcessorClient;
use processor_proto::v1::{self, Codec, ProcessRequest, ProcessResponse};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tonic::Request;
use tonic::transport::Channel;

/// A frame may wait its turn in a busy service; after this the service counts as stuck.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// Calls for one frame that the service answered with a failure, or not at all.
const MAX_FAILURES: u32 = 5;
/// Calls for one frame during which the service went away. More than failures: it dies under all its frames at once,
/// and the innocent ones must survive the guilty one.
const MAX_LOST: u32 = 10;
/// A busy one that does not say when to come back.
const BUSY_REST: Duration = Duration::from_millis(20);
/// A hint beyond this is not believed.
const LONGEST_HINT: Duration = Duration::from_secs(5);

/// A frame that will have no answer. The text says why and what to do.
#[derive(Debug, thiserror::Error)]
#[error("frame {number}: {why}")]
pub struct NoAnswer {
    pub number: u64,
    pub why: String,
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    directory: Arc<Directory>,
    outages: Arc<Outages>,
    target: Option<Target>,
    patience: Duration,
    in_flight: usize,
    state: Mutex<State>,
    /// A place is free again.
    freed: Notify,
    /// Calls that were answered with "busy".
    pub refusals: AtomicU64,
    /// Calls that failed or got lost.
    pub failures: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    replicas: BTreeMap<SocketAddr, Replica>,
    /// The first of the failures since the last answer.
    silent_since: Option<Instant>,
}

/// A call's place at a replica; given back when dropped.
struct Place<'a> {
    client: &'a Client,
    address: SocketAddr,
    service: ProcessorClient<Channel>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(replica) = self.client.state().replicas.get_mut(&self.address) {
            replica.in_flight -= 1;
        }
        self.client.freed.notify_waiters();
    }
}

/// Calls for one frame.
#[derive(Debug, Default)]
struct Tries {
    all: u32,
    failed: u32,
    lost: u32,
}

impl Tries {
    /// Counts one more; the error is why there is to be no other.
    fn count(&mut self, address: SocketAddr, failure: &Failure) -> Result<(), String> {
        match failure {
            Failure::Busy(..) | Failure::Away(_) => {}
            Failure::Refused(why) => return Err(format!("{address}: {why}")),
            Failure::Lost(_) => self.lost += 1,
            Failure::Failed(_) => self.failed += 1,
        }
        let why = failure.why();
        if self.failed >= MAX_FAILURES {
            let failed = self.failed;
            return Err(format!(
                "{failed} calls failed, the last at {address}: {why}"
            ));
        }
        if self.lost >= MAX_LOST {
            return Err(format!(
                "the service went away during {} calls for it, the last at {address}: {why}. Its own output says more",
                self.lost
            ));
        }
        Ok(())
    }
}

/// What a frame that wants a place finds.
enum Found<'a> {
    Place(Place<'a>),
    /// All rest or have as many calls as they may; the first has rested then, if one rests.
    Nothing(Option<Instant>),
}

impl Client {
    pub fn new(
        directory: Arc<Directory>,
        outages: Arc<Outages>,
        target: Option<Target>,
        patience: Duration,
        in_flight: usize,
    ) -> Self {
        Self {
            directory,
            outages,
            target,
            patience,
            in_flight,
            state: Mutex::default(),
            freed: Notify::new(),
            refusals: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// The resized picture of a frame. `number` is for messages.
    pub async fn resize(&self, number: u64, frame: v1::Frame) -> Result<v1::Picture, NoAnswer> {
        let give_up = |why| NoAnswer { number, why };
        let mut tries = Tries::default();
        let mut avoid = None;
        loop {
            let place = self.place(avoid).await.map_err(give_up)?;
            let address = place.address;
            tries.all += 1;
            let began = Instant::now();
            let failure = match self.call(place.service.clone(), &frame, tries.all).await {
                Ok(picture) => {
                    self.has_answered(address, began);
                    return Ok(picture);
                }
                Err(failure) => failure,
            };
            drop(place);
            avoid = Some(address);
            self.note(address, &failure);
            tries.count(address, &failure).map_err(give_up)?;
            if self.has_been_silent_for_too_long() {
                return Err(give_up(format!(
                    "no service has answered for {}, the last was {address}: {}. Start it again, or give it more time \
                     with --patience",
                    humantime::format_duration(self.patience),
                    failure.why()
                )));
            }
        }
    }

    /// What a failure says of the service.
    fn note(&self, address: SocketAddr, failure: &Failure) {
        match failure {
            Failure::Refused(_) => {} // an answer: the service works
            Failure::Busy(hint, _) => {
                self.refusals.fetch_add(1, Relaxed);
                let rest = hint.unwrap_or(BUSY_REST).min(LONGEST_HINT);
                self.without_answer(address, |replica| replica.is_busy(rest));
            }
            Failure::Away(why) | Failure::Lost(why) => {
                self.outages.is_away(address, why);
                self.without_answer(address, Replica::has_failed);
            }
            Failure::Failed(_) => self.without_answer(address, Replica::has_failed),
        }
        if let Failure::Lost(_) | Failure::Failed(_) = failure {
            self.failures.fetch_add(1, Relaxed);
        }
    }

    async fn call(
        &self,
        mut service: ProcessorClient<Channel>,
        frame: &v1::Frame,
        attempt: u32,
    ) -> Result<v1::Picture, Failure> {
        let mut request = Request::new(ProcessRequest {
            frame: Some(frame.clone()), // the picture itself is shared, not copied
            attempt,
        });
        request.set_timeout(CALL_DEADLINE);
        let answer = tokio::time::timeout(CALL_DEADLINE, service.process(request))
            .await
            .map_err(|_| {
                let deadline = humantime::format_duration(CALL_DEADLINE);
                Failure::Failed(format!("no answer within {deadline}"))
            })??;
        self.check(frame, answer.into_inner())
    }

    /// The picture, if it is what was asked for.
    fn check(&self, frame: &v1::Frame, answer: ProcessResponse) -> Result<v1::Picture, Failure> {
        if answer.id != frame.id {
            return Err(Failure::Failed(
                "the answer is for another frame".to_owned(),
            ));
        }
        let Some(picture) = answer.picture else {
            let name = answer.result.unwrap_or_default().processor;
            return Err(Failure::Refused(format!(
                "the service ({name:?}) gives no picture: is it `processor resize`?"
            )));
        };
        if picture.codec() != Codec::Jpeg {
            return Err(Failure::Refused(
                "the service gives pictures that are no JPEG".to_owned(),
            ));
        }
        check_whole(Codec::Jpeg, &picture.content)
            .map_err(|why| Failure::Failed(format!("the answer is damaged: {why}")))?;
        let found = (picture.width, picture.height);
        let wanted = self
            .target
            .map(|target| target.of((frame.width, frame.height)));
        match wanted {
            Some((width, height)) if found != (width, height) => {
                let (other_width, other_height) = found;
                Err(Failure::Refused(format!(
                    "the service makes {other_width}x{other_height} where {width}x{height} was asked for: it takes no \
                     wishes. Start it with --size {width}x{height}, or ask for no size"
                )))
            }
            _ => Ok(picture),
        }
    }

    /// Waits for a replica that is not resting and has room; takes a place at the one with the fewest calls.
    async fn place(&self, avoid: Option<SocketAddr>) -> Result<Place<'_>, String> {
        loop {
            let freed = self.freed.notified(); // from here on none is missed
            let rested = match self.find(avoid)? {
                Found::Place(place) => return Ok(place),
                Found::Nothing(rested) => rested,
            };
            match rested {
                Some(rested) => tokio::select! {
                    () = tokio::time::sleep_until(rested.into()) => {}
                    () = freed => {}
                },
                None => freed.await,
            }
        }
    }

    fn find(&self, avoid: Option<SocketAddr>) -> Result<Found<'_>, String> {
        let addresses = self.directory.addresses();
        let mut state = self.state();
        state
            .replicas
            .retain(|address, replica| addresses.contains_key(address) || replica.in_flight > 0);
        for (address, target) in addresses.iter() {
            if !state.replicas.contains_key(address) {
                let replica = Replica::new(target, *address, self.in_flight)?;
                state.replicas.insert(*address, replica);
            }
        }
        let now = Instant::now();
        let known = state.replicas.iter_mut();
        let known = known.filter(|(address, _)| addresses.contains_key(address));
        let (resting, awake): (Vec<_>, Vec<_>) = known.partition(|(_, r)| r.is_resting(now));
        let best = awake
            .into_iter()
            .filter(|(_, replica)| replica.has_room())
            .min_by_key(|(address, replica)| (Some(**address) == avoid, replica.in_flight));
        Ok(match best {
            Some((address, replica)) => {
                replica.in_flight += 1;
                Found::Place(Place {
                    client: self,
                    address: *address,
                    service: replica.client.clone(),
                })
            }
            None => Found::Nothing(resting.iter().filter_map(|(_, r)| r.rests_until).min()),
        })
    }

    fn has_answered(&self, address: SocketAddr, call_began: Instant) {
        let mut state = self.state();
        state.silent_since = None;
        if let Some(replica) = state.replicas.get_mut(&address) {
            replica.has_answered(self.in_flight);
        }
        drop(state);
        self.outages.has_answered(address, call_began);
    }

    /// Sends it nothing for as long as `rest` says.
    fn without_answer(&self, address: SocketAddr, rest: impl FnOnce(&mut Replica) -> Duration) {
        let now = Instant::now();
        let mut state = self.state();
        state.silent_since.get_or_insert(now);
        // Not there: its name stands for other addresses now. Resting: the first of many calls that noticed has said it.
        let replica = state.replicas.get_mut(&address);
        if let Some(replica) = replica.filter(|replica| !replica.is_resting(now)) {
            replica.rests_until = Some(now + rest(replica));
        }
    }

    fn has_been_silent_for_too_long(&self) -> bool {
        let since = self.state().silent_since;
        since.is_some_and(|since| since.elapsed() > self.patience)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
