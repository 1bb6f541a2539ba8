//! Records of a consumer group's share, or of fixed partitions, as one bounded stream of events.
//!
//! ```text
//! feed thread: rebalances, errors          --+
//! intake thread per partition (see intake) --+--> mpsc --> the service's one task
//! ```
//! A revocation is an event too: the feed thread waits for its `done`, so that the service can commit what it has
//! before the partition moves. Events of a lane carry its id, which is new at every assignment.

use super::access::Access;
use super::reader::{Reader, Subscription};
use super::shared::{Shared, lock};
use super::start::{Group, REQUEST_TIMEOUT, StartPolicy, committed_of};
use super::{
    GroupStamp, Incoming, KafkaConfig, KafkaFault, LaneBounds, SharedMemory, TopicPartition,
};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Events waiting for the service's task. Records in them are already counted by the gate; this only bounds the rest.
const EVENT_QUEUE: usize = 256;

/// One assignment of one partition.
#[derive(Debug, Clone)]
pub struct Lane {
    /// New at every assignment; never used twice in a process.
    pub id: u64,
    /// The partition.
    pub tp: TopicPartition,
    /// The first offset that may be read.
    pub start: i64,
    /// What was committed with that offset, see [`Bookmark`]; empty if nothing was, or if another offset was.
    pub note: String,
}

/// How far a group is in a partition, and what it wants to know when it goes on there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bookmark {
    /// The partition.
    pub tp: TopicPartition,
    /// The offset of the next record to read.
    pub next_offset: i64,
    /// Kept by Kafka with the offset, so both are always of the same moment. At most [`MAX_NOTE_BYTES`].
    pub note: String,
}

/// What Kafka keeps with an offset unless its node says otherwise (`offset.metadata.max.bytes`).
pub const MAX_NOTE_BYTES: usize = 4096;

/// What happened to the partitions read.
#[derive(Debug)]
pub enum FeedEvent {
    /// A partition is read from now on.
    Assigned(Lane),
    /// The next record of a lane.
    Record {
        /// The lane's id.
        lane: u64,
        /// The record; its bytes count against the bounds until released.
        record: Incoming,
    },
    /// Retention removed the records from `from` up to but excluding `to` before they were read. Counts as one record
    /// of no bytes.
    Expired {
        /// The lane's id.
        lane: u64,
        /// The first missing offset.
        from: i64,
        /// The next offset that exists.
        to: i64,
    },
    /// All committed records that there are now have been read.
    ReachedEnd {
        /// The lane's id.
        lane: u64,
    },
    /// The lanes go to another member (or the service closes). No more records of them come.
    Revoked {
        /// The lanes' ids.
        lanes: Vec<u64>,
        /// True if they are another's already: nothing of them may be committed any more.
        lost: bool,
        /// To be sent (or dropped) when the service is done with them; the group waits for it.
        done: oneshot::Sender<()>,
    },
    /// Reading cannot go on.
    Failed(KafkaFault),
}

/// How a group knows its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// By name: a member that restarts under the same name within the session timeout gets its partitions back at once.
    Static(String),
    /// By connection: a member that leaves is replaced at once, one that dies after the session timeout.
    Dynamic,
}

/// A place in a consumer group.
#[derive(Debug, Clone)]
pub struct GroupMember {
    /// The group's id.
    pub group: String,
    /// How the group knows this member.
    pub membership: Membership,
    /// After this much silence the group gives a member's partitions to others.
    pub session_timeout: Duration,
    /// For finishing what was begun when partitions move. Who takes a minute longer is expelled.
    pub finishing: Duration,
}

/// A stream of [`FeedEvent`]s. Dropping it without [`Feed::close`] abandons the partitions.
#[derive(Debug)]
pub struct Feed {
    events: mpsc::Receiver<Option<FeedEvent>>,
    /// The end is told once; the channel itself stays open.
    has_ended: bool,
    control: FeedControl,
    thread: Option<JoinHandle<()>>,
}

/// What the service tells the feed, from any thread.
#[derive(Debug, Clone)]
pub struct FeedControl {
    shared: Arc<Shared>,
}

impl Feed {
    /// Joins a group and reads this member's share of the topics. A name that begins with `^` is a regular expression.
    /// Without a topic it waits for [`FeedControl::redirect`].
    pub fn subscribe(
        config: &KafkaConfig,
        member: &GroupMember,
        topics: &[String],
        start: StartPolicy,
        bounds: LaneBounds,
    ) -> Result<Self, KafkaFault> {
        let memory = SharedMemory::default();
        Self::subscribe_sharing(config, member, topics, start, bounds, &memory)
    }

    /// As [`Feed::subscribe`], with memory that other feeds take their records from too.
    pub fn subscribe_sharing(
        config: &KafkaConfig,
        member: &GroupMember,
        topics: &[String],
        start: StartPolicy,
        bounds: LaneBounds,
        memory: &SharedMemory,
    ) -> Result<Self, KafkaFault> {
        let client = config.group_consumer(member);
        let subscription = Subscription::Topics(topics.to_vec());
        Self::open(client, subscription, start, bounds, memory)
    }

    /// Reads fixed partitions without a group: nothing is ever committed and nobody is disturbed.
    pub fn assign(
        config: &KafkaConfig,
        partitions: &[TopicPartition],
        start: StartPolicy,
        bounds: LaneBounds,
    ) -> Result<Self, KafkaFault> {
        Self::assign_sharing(config, partitions, start, bounds, &SharedMemory::default())
    }

    /// As [`Feed::assign`], with memory that other feeds take their records from too.
    pub fn assign_sharing(
        config: &KafkaConfig,
        partitions: &[TopicPartition],
        start: StartPolicy,
        bounds: LaneBounds,
        memory: &SharedMemory,
    ) -> Result<Self, KafkaFault> {
        let mut client = config.consumer();
        // The client insists on a name; without commits and subscriptions no group of that name comes to exist.
        client.set(
            "group.id",
            format!("framelane-reader-{:016x}", rand::random::<u64>()),
        );
        let subscription = Subscription::Partitions(partitions.to_vec());
        Self::open(client, subscription, start, bounds, memory)
    }

    fn open(
        client: ClientConfig,
        subscription: Subscription,
        start: StartPolicy,
        bounds: LaneBounds,
        memory: &SharedMemory,
    ) -> Result<Self, KafkaFault> {
        let (sender, events) = mpsc::channel(EVENT_QUEUE.max(2 * bounds.lane_records));
        let group = match subscription {
            Subscription::Topics(_) => {
                Group::Member(client.get("group.id").unwrap_or_default().to_owned())
            }
            Subscription::Partitions(_) => Group::None,
        };
        let shared = Arc::new(Shared::new(sender, bounds, memory, start, group));
        let thread = Reader::open(client, subscription, Arc::clone(&shared))?.spawn()?;
        Ok(Self {
            events,
            has_ended: false,
            control: FeedControl { shared },
            thread: Some(thread),
        })
    }

    /// The next event; None after [`FeedControl::close`], when everything has been handed over.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        let event = match self.has_ended {
            true => None,
            false => self.events.recv().await.flatten(),
        };
        self.has_ended = event.is_none();
        event
    }

    /// The next event for callers without a runtime; None as in [`Feed::next`].
    pub fn next_blocking(&mut self) -> Option<FeedEvent> {
        let event = match self.has_ended {
            true => None,
            false => self.events.blocking_recv().flatten(),
        };
        self.has_ended = event.is_none();
        event
    }

    /// A handle for other tasks and threads.
    pub fn control(&self) -> FeedControl {
        self.control.clone()
    }

    /// Gives all partitions back and waits for the feed's threads. What is still on its way is dropped, and with it the
    /// `done` of revocations.
    pub async fn close(mut self) {
        self.control.close();
        while self.next().await.is_some() {}
        // Joining blocks for a moment. The task cannot fail but by a panic, which the log has.
        let _ = tokio::task::spawn_blocking(move || self.close_blocking()).await;
    }

    /// As [`Feed::close`], on a thread without a runtime.
    pub fn close_blocking(mut self) {
        self.control.close();
        while self.next_blocking().is_some() {}
        if let Some(thread) = self.thread.take() {
            // A panic in the feed thread has closed the stream of events, which the service has already seen.
            let _ = thread.join();
        }
    }
}

impl FeedControl {
    /// Says that records of a lane are done with and their memory is free.
    pub fn release(&self, lane: u64, records: usize, bytes: usize) {
        self.shared.gate.release(lane, records, bytes);
    }

    /// Ends the feed: all lanes are revoked (with an event each service must answer), then the stream ends.
    pub fn close(&self) {
        self.shared.close();
    }

    /// More memory is held by a lane's records than when they were read.
    pub fn hold(&self, lane: u64, bytes: usize) {
        self.shared.gate.hold(lane, bytes);
    }

    /// Who this member is in the group's present generation. None if it is no member now, or no longer the one that the
    /// lanes were assigned to.
    pub fn group_stamp(&self) -> Option<GroupStamp> {
        self.shared.group_stamp()
    }

    /// Says that the group's progress in a lane is not what it can be if the lane is ours. The feed joins anew: every lane
    /// is lost and begins again where the group is. When that repeats, the feed fails with this text.
    pub fn doubt(&self, why: String) {
        *lock(&self.shared.doubt) = Some(why);
    }

    /// Reads these topics from now on, as a member of the same group. Partitions of topics that stay are not disturbed;
    /// those of the others are revoked in order, and topics that are new begin where the group is. With no topic the feed
    /// waits for the next call. For feeds of [`Feed::subscribe`].
    pub fn redirect(&self, topics: Vec<String>) {
        *lock(&self.shared.redirection) = Some(topics);
    }

    /// Commits the offsets of the next records to read. Blocks until Kafka has answered.
    ///
    /// The stamp is of the moment when the offsets were known. Kafka itself only asks whether a member commits, not whose
    /// partitions: so nothing is committed if one of them was lost, or came back, after the stamp.
    pub fn commit(
        &self,
        offsets: &[(TopicPartition, i64)],
        stamp: Option<&GroupStamp>,
    ) -> Result<(), KafkaFault> {
        self.commit_list(&offset_list(offsets), stamp)
    }

    /// As [`FeedControl::commit`], with what is to be known there.
    pub fn commit_bookmarks(
        &self,
        bookmarks: &[Bookmark],
        stamp: Option<&GroupStamp>,
    ) -> Result<(), KafkaFault> {
        self.commit_list(&bookmark_list(bookmarks), stamp)
    }

    fn commit_list(
        &self,
        offsets: &TopicPartitionList,
        stamp: Option<&GroupStamp>,
    ) -> Result<(), KafkaFault> {
        let consumer = self.shared.consumer()?;
        // Held until Kafka has answered: meanwhile no partition moves.
        let committing = self.shared.committable(&consumer, offsets, stamp)?;
        let result = consumer
            .commit(offsets, CommitMode::Sync)
            .map_err(KafkaFault::request_with(
                &[Access::to_group(self.shared.group.id())],
                "committing offsets",
            ));
        drop(committing);
        result
    }

    /// What the group has committed for these partitions. Blocks; waits for open transactions to be decided.
    pub fn committed(&self, lanes: &[TopicPartition]) -> Result<Vec<Option<i64>>, KafkaFault> {
        if lanes.is_empty() {
            return Ok(Vec::new()); // the lanes have moved meanwhile
        }
        let mut list = TopicPartitionList::new();
        for lane in lanes {
            list.add_partition(&lane.topic, lane.partition);
        }
        let committed = self
            .shared
            .consumer()?
            .committed_offsets(list, REQUEST_TIMEOUT)
            .map_err(KafkaFault::request_with(
                &[Access::to_group(self.shared.group.id())],
                "reading committed offsets",
            ))?;
        lanes
            .iter()
            .map(|lane| committed_of(&committed, lane))
            .collect()
    }

    /// The offset after the newest record: for lag displays. Asks Kafka, so it blocks; None if there is no answer.
    pub fn end_offset(&self, lane: &TopicPartition) -> Option<i64> {
        let consumer = self.shared.consumer().ok()?;
        consumer
            .fetch_watermarks(&lane.topic, lane.partition, REQUEST_TIMEOUT)
            .ok()
            .map(|(_, high)| high)
    }
}

pub(super) fn offset_list(offsets: &[(TopicPartition, i64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (lane, offset) in offsets {
        list.add_partition_offset(&lane.topic, lane.partition, Offset::Offset(*offset))
            .expect("the list has this partition only once");
    }
    list
}

pub(super) fn bookmark_list(bookmarks: &[Bookmark]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(bookmarks.len());
    for bookmark in bookmarks {
        let tp = &bookmark.tp;
        let mut element = list.add_partition(&tp.topic, tp.partition);
        element
            .set_offset(Offset::Offset(bookmark.next_offset))
            .expect("it is a plain offset");
        if !bookmark.note.is_empty() {
            element.set_metadata(&bookmark.note);
        }
    }
    list
}
