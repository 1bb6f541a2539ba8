//! What the feed's threads and its handles share.

use super::feed::{FeedEvent, Lane};
use super::gate::Gate;
use super::member_id::member_id;
use super::rebalance::FeedContext;
use super::start::{Group, StartPolicy};
use super::{GroupStamp, KafkaFault, LaneBounds, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Locks are held for single steps only, and never two at once.
pub(super) struct Shared {
    /// None is the end of the stream: the sender itself lives as long as the last control handle.
    pub events: mpsc::Sender<Option<FeedEvent>>,
    pub gate: Gate,
    pub start: StartPolicy,
    pub group: Group,
    pub consumer: Mutex<Weak<BaseConsumer<FeedContext>>>,
    /// The member id that the lanes were assigned to.
    pub member: Mutex<Option<String>>,
    pub intakes: Mutex<HashMap<TopicPartition, (Lane, JoinHandle<()>)>>,
    /// Lanes whose position retention has overtaken, with that position.
    pub overtaken: Mutex<Vec<(Lane, i64)>>,
    next_lane: AtomicU64,
    closing: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(
        events: mpsc::Sender<Option<FeedEvent>>,
        bounds: LaneBounds,
        start: StartPolicy,
        group: Group,
    ) -> Self {
        Self {
            events,
            gate: Gate::new(bounds),
            start,
            group,
            consumer: Mutex::default(),
            member: Mutex::default(),
            intakes: Mutex::default(),
            overtaken: Mutex::default(),
            next_lane: AtomicU64::new(1),
            closing: AtomicBool::new(false),
        }
    }

    /// Hands an event to the service; false if nobody listens any more.
    pub(super) fn send(&self, event: FeedEvent) -> bool {
        self.events.blocking_send(Some(event)).is_ok()
    }

    /// An id that no other lane of this process has.
    pub(super) fn next_lane(&self) -> u64 {
        self.next_lane.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed) || self.events.is_closed()
    }

    /// The present consumer; an error while there is none.
    pub(super) fn consumer(&self) -> Result<Arc<BaseConsumer<FeedContext>>, KafkaFault> {
        let weak = lock(&self.consumer).clone();
        let none =
            || KafkaFault::Failed("not connected to the consumer group at present".to_owned());
        weak.upgrade().ok_or_else(none)
    }

    pub(super) fn group_stamp(&self) -> Option<GroupStamp> {
        let consumer = self.consumer().ok()?;
        if self.is_expelled(&consumer) {
            return None;
        }
        let stamp = consumer.group_metadata().map(GroupStamp)?;
        // If the id changed in between, the stamp may already be that of a new life.
        (!self.is_expelled(&consumer)).then_some(stamp)
    }

    /// True if the lanes were assigned to a member that no longer exists.
    pub(super) fn is_expelled(&self, consumer: &BaseConsumer<FeedContext>) -> bool {
        let assigned_to = lock(&self.member).clone();
        assigned_to.is_some() && assigned_to != member_id(consumer)
    }

    /// Retention has removed what the lane was to read next: the reader thread will mend it.
    pub(super) fn report_overtaken(&self, lane: Lane, position: i64) {
        lock(&self.overtaken).push((lane, position));
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every update is complete before its lock is released, so a panic elsewhere leaves it consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
