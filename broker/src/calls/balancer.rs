//! Chooses a replica for each call: healthy, not an outlier, the one with the fewest calls in flight.
//!
//! Calls that find no room wait here. Retries go first, because finished frames wait behind them; the others are served
//! lane by lane in turn, so that a lane with a backlog does not delay a live one.

use super::batcher::BatchLimits;
use super::replica::{Replica, ReplicaId};
use crate::report::ReplicaReport;
use pipeline::ordering::LaneId;
use processor_proto::v1::processor_client::ProcessorClient;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tonic::transport::Channel;

type Ticket = u64;

/// Replicas and the calls that wait for one.
#[derive(Debug, Default)]
pub struct Balancer {
    state: Mutex<State>,
    /// The calls that all balancers of the process may have under way; None: as many as their replicas take.
    calls: Option<Arc<Semaphore>>,
}

#[derive(Debug, Default)]
struct State {
    replicas: BTreeMap<ReplicaId, Replica>,
    next_id: ReplicaId,
    next_ticket: Ticket,
    /// In the order of their tickets, which is that of their arrival.
    retries: BTreeMap<Ticket, Waiter>,
    lanes: BTreeMap<LaneId, BTreeMap<Ticket, Waiter>>,
    /// The lane that is served next.
    turn: LaneId,
}

#[derive(Debug)]
struct Waiter {
    /// Where the call before failed: another replica is wanted, if there is one.
    avoid: Option<ReplicaId>,
    permit: oneshot::Sender<Permit>,
}

/// The right to make one call to one replica; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    balancer: Arc<Balancer>,
    pub replica: ReplicaId,
    pub address: Arc<str>,
    pub client: ProcessorClient<Channel>,
    pub needs_pixels: bool,
    pub batch: BatchLimits,
    /// Its part of the process's bound.
    call: Option<OwnedSemaphorePermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        drop(self.call.take());
        self.balancer
            .change(self.replica, |replica| replica.in_flight -= 1);
    }
}

#[derive(Debug, Clone, Copy)]
enum Queue {
    Retries,
    Lane(LaneId),
}

/// Takes a call that gives up waiting (its lane has gone) out of its queue.
struct LeaveQueue<'a> {
    balancer: &'a Balancer,
    queue: Queue,
    ticket: Ticket,
}

impl Drop for LeaveQueue<'_> {
    fn drop(&mut self) {
        self.balancer.state().queue(self.queue).remove(&self.ticket);
    }
}

impl Balancer {
    /// With a bound on calls that others share.
    pub fn sharing(calls: Arc<Semaphore>) -> Self {
        Self {
            state: Mutex::default(),
            calls: Some(calls),
        }
    }

    /// Waits for a permit. `avoid` names the replica whose call for this frame failed just before.
    pub async fn permit(self: &Arc<Self>, lane: LaneId, avoid: Option<ReplicaId>) -> Permit {
        let (permit, wait) = oneshot::channel();
        let queue = avoid.map_or(Queue::Lane(lane), |_| Queue::Retries);
        let ticket = self.state().enqueue(queue, Waiter { avoid, permit });
        let _leave = LeaveQueue {
            balancer: self,
            queue,
            ticket,
        };
        self.serve();
        let mut permit = wait
            .await
            .expect("waiters are only removed to be served, and the balancer outlives its calls");
        if let Some(calls) = &self.calls {
            // After the replica has room: who waits for a replica must not keep others from theirs. Nobody closes it.
            permit.call = Arc::clone(calls).acquire_owned().await.ok();
            if let Some(now) = self.state().replicas.get(&permit.replica) {
                permit.needs_pixels = now.needs_pixels; // another may have come to this address meanwhile
                permit.batch = now.batch;
            }
        }
        permit
    }

    pub fn add(&self, replica: Replica) -> ReplicaId {
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        state.replicas.insert(id, replica);
        id
    }

    /// The address is gone. Calls to it that are under way may finish.
    pub fn remove(&self, id: ReplicaId) {
        self.state().replicas.remove(&id);
    }

    /// Changes what is known of a replica, then serves whom that allows.
    pub fn change(self: &Arc<Self>, id: ReplicaId, change: impl FnOnce(&mut Replica)) {
        if let Some(replica) = self.state().replicas.get_mut(&id) {
            change(replica);
        }
        self.serve();
    }

    /// Gives permits to waiting calls. Also to be called when time has passed: ejections end by themselves.
    pub fn serve(self: &Arc<Self>) {
        // A permit whose waiter has gone is dropped outside of the lock: dropping takes it.
        let mut unwanted = Vec::new();
        let mut state = self.state();
        while let Some((waiter, id)) = state.next_match(Instant::now()) {
            let Some(replica) = state.replicas.get_mut(&id) else {
                continue;
            };
            replica.in_flight += 1;
            let permit = Permit {
                balancer: Arc::clone(self),
                replica: id,
                address: Arc::clone(&replica.address),
                client: replica.client.clone(),
                needs_pixels: replica.needs_pixels,
                batch: replica.batch,
                call: None,
            };
            unwanted.extend(waiter.permit.send(permit).err());
        }
        drop(state);
        drop(unwanted);
    }

    /// The processor's own name, once a replica has said it.
    pub fn processor_name(&self) -> Arc<str> {
        let state = self.state();
        state
            .replicas
            .values()
            .next()
            .map_or_else(|| "processor".into(), |r| Arc::clone(&r.name))
    }

    /// False while every replica has said that it does not look at the pictures.
    pub fn needs_pixels(&self) -> bool {
        let state = self.state();
        state.replicas.is_empty() || state.replicas.values().any(|replica| replica.needs_pixels)
    }

    /// What all replicas that are up can take in one call; None while none is up.
    pub fn batching(&self) -> Option<BatchLimits> {
        let state = self.state();
        let up = state.replicas.values().filter(|replica| replica.is_up);
        up.map(|replica| replica.batch).reduce(|a, b| BatchLimits {
            frames: a.frames.min(b.frames),
            wait: a.wait.min(b.wait),
        })
    }

    /// Replicas that are up, replicas in all, calls in flight.
    pub fn summary(&self) -> (usize, usize, usize) {
        let state = self.state();
        let up = state
            .replicas
            .values()
            .filter(|replica| replica.is_up)
            .count();
        let in_flight = state
            .replicas
            .values()
            .map(|replica| replica.in_flight)
            .sum();
        (up, state.replicas.len(), in_flight)
    }

    /// Each address, as it is now.
    pub fn replicas(&self) -> Vec<ReplicaReport> {
        let state = self.state();
        let replicas = state.replicas.values().map(|replica| ReplicaReport {
            address: Arc::clone(&replica.address),
            declared: Arc::clone(&replica.declared),
            is_up: replica.is_up,
            in_flight: replica.in_flight,
        });
        replicas.collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queue(&mut self, queue: Queue) -> &mut BTreeMap<Ticket, Waiter> {
        match queue {
            Queue::Retries => &mut self.retries,
            Queue::Lane(lane) => self.lanes.entry(lane).or_default(),
        }
    }

    fn enqueue(&mut self, queue: Queue, waiter: Waiter) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.queue(queue).insert(ticket, waiter);
        ticket
    }

    /// The first waiter that a replica has room for, and the replica.
    fn next_match(&mut self, now: Instant) -> Option<(Waiter, ReplicaId)> {
        let retry = self
            .retries
            .iter()
            .find_map(|(ticket, waiter)| Some((*ticket, self.choose(waiter.avoid, now)?)));
        if let Some((ticket, id)) = retry {
            return self.retries.remove(&ticket).map(|waiter| (waiter, id));
        }
        self.lanes.retain(|_, waiters| !waiters.is_empty());
        let id = self.choose(None, now)?;
        let after = self.lanes.range(self.turn..).next();
        let lane = *after.or_else(|| self.lanes.iter().next())?.0;
        self.turn = lane + 1;
        let (_, waiter) = self.lanes.get_mut(&lane)?.pop_first()?;
        Some((waiter, id))
    }

    /// The best replica with room. Outliers and the avoided one count only if there is no other that is up.
    fn choose(&self, avoid: Option<ReplicaId>, now: Instant) -> Option<ReplicaId> {
        let up = || self.replicas.iter().filter(|(_, replica)| replica.is_up);
        let rank = |id: &ReplicaId, replica: &Replica| {
            u8::from(replica.is_ejected(now)) * 2 + u8::from(Some(*id) == avoid)
        };
        let best_rank = up().map(|(id, replica)| rank(id, replica)).min()?;
        up().filter(|(id, replica)| replica.has_room() && rank(id, replica) == best_rank)
            .min_by_key(|(_, replica)| replica.in_flight)
            .map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::transport::Endpoint;

    fn add(balancer: &Arc<Balancer>, limit: usize) -> ReplicaId {
        let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let id = balancer.add(Replica::new(
            channel,
            ([127, 0, 0, 1], 1).into(),
            Some(limit),
        ));
        balancer.change(id, |replica| replica.is_up = true);
        id
    }

    #[tokio::test]
    async fn calls_go_to_the_replica_with_the_fewest_in_flight() {
        let balancer = Arc::new(Balancer::default());
        let (a, b) = (add(&balancer, 2), add(&balancer, 2));
        let first = balancer.permit(1, None).await;
        let second = balancer.permit(1, None).await;
        assert_ne!(first.replica, second.replica);
        let freed = first.replica;
        drop(first);
        let third = balancer.permit(1, None).await;
        assert_eq!(third.replica, freed);
        assert!([a, b].contains(&freed));
    }

    #[tokio::test]
    async fn a_retry_goes_to_another_replica_unless_there_is_none() {
        let balancer = Arc::new(Balancer::default());
        let (a, b) = (add(&balancer, 9), add(&balancer, 9));
        assert_eq!(balancer.permit(1, Some(a)).await.replica, b);
        balancer.change(b, |replica| replica.is_up = false);
        assert_eq!(balancer.permit(1, Some(a)).await.replica, a);
    }

    #[tokio::test]
    async fn waiting_calls_are_served_lane_by_lane_and_retries_first() {
        let balancer = Arc::new(Balancer::default());
        let only = add(&balancer, 1);
        let held = balancer.permit(1, None).await;
        let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
        for (lane, avoid, name) in [
            (1, None, "a"),
            (1, None, "b"),
            (2, None, "c"),
            (1, Some(only), "r"),
        ] {
            let (balancer, served) = (Arc::clone(&balancer), served.clone());
            let permit = tokio::spawn(async move {
                let permit = balancer.permit(lane, avoid).await;
                served.send(name).unwrap();
                drop(permit);
            });
            tokio::task::yield_now().await; // lets it queue
            drop(permit);
        }
        drop((held, served));
        let mut names = String::new();
        while let Some(name) = order.recv().await {
            names.push_str(name);
        }
        assert_eq!(names, "rcab");
    }

    #[tokio::test]
    async fn a_call_that_gives_up_waiting_costs_no_permit() {
        let balancer = Arc::new(Balancer::default());
        add(&balancer, 1);
        let held = balancer.permit(1, None).await;
        let waiting = Box::pin(balancer.permit(1, None));
        assert!(futures_now(waiting).is_none());
        drop(held);
        drop(balancer.permit(1, None).await);
        assert_eq!(balancer.summary(), (1, 1, 0));
    }

    /// Polls once and drops the future.
    fn futures_now<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(&mut future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
