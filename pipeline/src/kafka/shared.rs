//! What the feed's threads and its handles share.

use super::feed::{FeedEvent, Lane};
use super::gate::{Gate, SharedMemory};
use super::member_id::member_id;
use super::rebalance::FeedContext;
use super::start::{Group, StartPolicy};
use super::{GroupStamp, KafkaFault, LaneBounds, TopicPartition};
use crate::ordering::Assignee;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Of all feeds together: they may share memory, and whoever serves several of them knows a lane by its id alone.
static NEXT_LANE: AtomicU64 = AtomicU64::new(1);

/// Locks are held for single steps only, and never two at once; but for the one of commits, which comes first.
pub(super) struct Shared {
    /// None is the end of the stream: the sender itself lives as long as the last control handle.
    pub events: mpsc::Sender<Option<FeedEvent>>,
    pub gate: Gate,
    pub start: StartPolicy,
    /// The partitions that were assigned at least once.
    pub begun: Mutex<HashSet<TopicPartition>>,
    pub group: Group,
    pub consumer: Mutex<Weak<BaseConsumer<FeedContext>>>,
    /// The member that the lanes were assigned to.
    pub assignee: Mutex<Assignee>,
    /// Why the service thinks that they are another's by now.
    pub doubt: Mutex<Option<String>>,
    /// The topics to read instead, until the feed's thread has taken them up.
    pub redirection: Mutex<Option<Vec<String>>>,
    /// The lanes that may be committed, by id: from their assignment until they have moved.
    committable: Mutex<HashMap<TopicPartition, u64>>,
    /// Held by a commit that is on its way.
    committing: Mutex<()>,
    pub intakes: Mutex<HashMap<TopicPartition, (Lane, JoinHandle<()>)>>,
    /// Lanes whose position retention has overtaken, with that position.
    pub overtaken: Mutex<Vec<(Lane, i64)>>,
    /// Counts what the client brings.
    heard: AtomicU64,
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
        memory: &SharedMemory,
        start: StartPolicy,
        group: Group,
    ) -> Self {
        Self {
            events,
            gate: Gate::new(bounds, memory),
            start,
            begun: Mutex::default(),
            group,
            consumer: Mutex::default(),
            assignee: Mutex::new(Assignee::nobody()),
            doubt: Mutex::default(),
            redirection: Mutex::default(),
            committable: Mutex::default(),
            committing: Mutex::default(),
            intakes: Mutex::default(),
            overtaken: Mutex::default(),
            heard: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        }
    }

    /// Hands an event to the service; false if nobody listens any more.
    pub(super) fn send(&self, event: FeedEvent) -> bool {
        self.events.blocking_send(Some(event)).is_ok()
    }

    /// An id that no other lane of this process has.
    pub(super) fn next_lane(&self) -> u64 {
        NEXT_LANE.fetch_add(1, Ordering::Relaxed)
    }

    /// The client has brought a record or the end of a partition.
    pub(super) fn hear(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
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
        let may_speak = || lock(&self.assignee).may_speak(member_id(&consumer).as_ref());
        if !may_speak() {
            return None;
        }
        let next_lane = NEXT_LANE.load(Ordering::Relaxed);
        let stamp = GroupStamp {
            native: Arc::new(consumer.group_metadata()?),
            group: self.group.id().to_owned(),
            next_lane,
        };
        // If the id changed in between, the stamp may already be that of a new life.
        may_speak().then_some(stamp)
    }

    /// The right to commit: given if all these partitions are still what they were at the time of the stamp.
    pub(super) fn committable(
        &self,
        consumer: &BaseConsumer<FeedContext>,
        offsets: &TopicPartitionList,
        stamp: Option<&GroupStamp>,
    ) -> Result<MutexGuard<'_, ()>, KafkaFault> {
        let refuse = |what: String| KafkaFault::Failed(format!("nothing is committed: {what}"));
        let stamp = stamp.ok_or_else(|| refuse("no member of the group at present".to_owned()))?;
        let committing = lock(&self.committing);
        if !lock(&self.assignee).may_speak(member_id(consumer).as_ref()) {
            return Err(refuse("expelled from the group".to_owned()));
        }
        let lanes = lock(&self.committable);
        for element in offsets.elements() {
            let tp = TopicPartition::new(element.topic(), element.partition());
            if lanes.get(&tp).is_none_or(|lane| *lane >= stamp.next_lane) {
                return Err(refuse(format!("{tp} has been another member's since")));
            }
        }
        Ok(committing)
    }

    /// Does not wait for a commit of other lanes, which may wait for what this thread has to do.
    pub(super) fn may_commit(&self, lane: &Lane) {
        lock(&self.committable).insert(lane.tp.clone(), lane.id);
    }

    /// The lanes move as soon as this returns. Waits for a commit that is on its way: sent later, it would be taken for
    /// one of the member's next generation. A member that leaves has none. `wait` is called again and again meanwhile: the
    /// answer to a commit may wait for something that this thread has to do.
    pub(super) fn must_not_commit<'a>(
        &self,
        lanes: impl Iterator<Item = &'a Lane>,
        mut wait: impl FnMut(),
    ) {
        let _committing = loop {
            match self.committing.try_lock() {
                Ok(committing) => break committing,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if self.is_closing() => return,
                Err(TryLockError::WouldBlock) => wait(),
            }
        };
        let mut committable = lock(&self.committable);
        for lane in lanes {
            committable.remove(&lane.tp);
        }
    }

    /// True if the lanes were assigned to a member that no longer exists.
    pub(super) fn is_expelled(&self, consumer: &BaseConsumer<FeedContext>) -> bool {
        consumer.context().adrift().is_some()
            || lock(&self.assignee).is_expelled(member_id(consumer).as_ref())
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
