//! Reading the other branches of a lane: the same partition of the other topics, without a group.

use crate::args::StageConfig;
use crate::note::Note;
use crate::run::bounds;
use pipeline::kafka::{
    Feed, FeedEvent, KafkaConfig, KafkaFault, Lane, LaneBounds, Position, SharedMemory,
    StartPolicy, TopicPartition,
};
use pipeline::ordering::LaneId;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What happened in a branch, by the id of the first branch's lane.
#[derive(Debug)]
pub struct BranchEvent {
    pub lane: LaneId,
    pub event: FeedEvent,
}

/// Opens branches.
#[derive(Debug)]
pub struct Opener {
    kafka: KafkaConfig,
    /// All of the join.
    pub topics: Arc<[Arc<str>]>,
    from: Position,
    pub bounds: LaneBounds,
    memory: SharedMemory,
}

impl Opener {
    pub fn new(config: &StageConfig, topics: Arc<[Arc<str>]>, memory: SharedMemory) -> Self {
        Self {
            kafka: config.kafka.clone(),
            topics,
            from: config.args.from,
            bounds: bounds(config),
            memory,
        }
    }

    /// Begins to read the other topics where the note says.
    pub fn open(&self, lane: &Lane, note: &Note) -> Result<Feed, KafkaFault> {
        let others = self.topics.iter().skip(1);
        let others: Vec<_> = others
            .map(|topic| TopicPartition::new(Arc::clone(topic), lane.tp.partition))
            .collect();
        let mut start = StartPolicy::new(self.from);
        for tp in &others {
            if let Some(position) = note.branches.get(&*tp.topic) {
                start.resume.insert(tp.clone(), position.next_offset);
            }
        }
        Feed::assign_sharing(&self.kafka, &others, start, self.bounds, &self.memory)
    }
}

/// Hands a lane's events on until it is stopped.
pub async fn forward(
    lane: LaneId,
    mut feed: Feed,
    events: mpsc::Sender<BranchEvent>,
    stop: CancellationToken,
) {
    let handing_on = async {
        while let Some(event) = feed.next().await {
            if events.send(BranchEvent { lane, event }).await.is_err() {
                break; // the engine has ended
            }
        }
    };
    stop.run_until_cancelled(handing_on).await;
    feed.close().await;
}
