//! Which producer of a host is at work: Kafka gives the one partition of the registry's topic to one member of a
//! consumer group, and all that counts is who has it. Its records are read by others.

use super::sources::STOP_GRACE;
use pipeline::kafka::{
    Feed, FeedEvent, GroupMember, KafkaConfig, KafkaFault, LaneBounds, Membership, Position,
    StartPolicy,
};
use std::time::Duration;
use tokio::sync::oneshot;

/// A producer that was killed is replaced after this time. Kafka takes no shorter one.
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// Records are dropped as they come; this only bounds what comes between two looks.
const BOUNDS: LaneBounds = LaneBounds {
    lane_records: 16,
    lane_bytes: 1 << 20,
    total_bytes: 1 << 20,
};

/// A place in the group of a host's producers.
#[derive(Debug)]
pub struct Turn {
    feed: Feed,
}

/// What changed.
#[derive(Debug)]
pub enum TurnEvent {
    /// It is ours.
    Ours,
    /// It goes to another, who waits until this is sent or dropped.
    Leaves(oneshot::Sender<()>),
    /// Nobody knows: Kafka was not heard for too long. Another may be at work by now, or nobody.
    InDoubt,
    /// There is no turn any more.
    Failed(KafkaFault),
}

impl Turn {
    /// Joins the group of this host's producers, `REGISTRY/host.HOST`.
    pub async fn join(kafka: &KafkaConfig, registry: &str, host: &str) -> Result<Self, KafkaFault> {
        let (kafka, topic) = (kafka.clone(), registry.to_owned());
        let member = GroupMember {
            group: format!("{registry}/host.{host}"),
            membership: Membership::Dynamic,
            session_timeout: SESSION_TIMEOUT,
            finishing: STOP_GRACE,
        };
        let joining = tokio::task::spawn_blocking(move || {
            let start = StartPolicy::new(Position::Latest);
            Feed::subscribe(&kafka, &member, &[topic], start, BOUNDS)
        });
        let feed = joining
            .await
            .map_err(|cause| KafkaFault::Failed(format!("joining the host's group: {cause}")))??;
        Ok(Self { feed })
    }

    /// Waits for the next change. Cancel-safe.
    pub async fn next(&mut self) -> TurnEvent {
        loop {
            match self.feed.next().await {
                Some(FeedEvent::Assigned(_)) => return TurnEvent::Ours,
                Some(FeedEvent::Revoked { lost: true, .. }) => return TurnEvent::InDoubt,
                Some(FeedEvent::Revoked { done, .. }) => return TurnEvent::Leaves(done),
                Some(FeedEvent::Record { lane, record }) => {
                    let control = self.feed.control();
                    control.release(lane, 1, record.memory_bytes());
                }
                Some(FeedEvent::Expired { lane, .. }) => self.feed.control().release(lane, 1, 0),
                Some(FeedEvent::ReachedEnd { .. }) => {}
                Some(FeedEvent::Failed(fault)) => return TurnEvent::Failed(fault),
                None => {
                    let why = "the feed of the host's group has ended".to_owned();
                    return TurnEvent::Failed(KafkaFault::Failed(why));
                }
            }
        }
    }

    /// Leaves the group: another takes its turn at once.
    pub async fn close(self) {
        self.feed.close().await;
    }
}
