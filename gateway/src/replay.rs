//! What was, for one viewer: from an offset or a time on, with pause, jumps and speed. Reads on its own, and only as far
//! ahead as it shows.

use crate::address::Address;
use crate::json::Content;
use crate::live::{Decoded, Tools, decode, resolve};
use crate::pace::Pace;
use crate::pictures::Variant;
use crate::shot::Shot;
use pipeline::envelope::Kind;
use pipeline::kafka::{
    Feed, FeedControl, FeedEvent, Incoming, KafkaFault, LaneBounds, Position, StartPolicy,
    TopicPartition,
};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;

/// What a replay has of Kafka's records at most, beside what the client reads ahead.
const BOUNDS: LaneBounds = LaneBounds {
    lane_records: 16,
    lane_bytes: 8 << 20,
    total_bytes: 8 << 20,
};

/// See the module.
#[derive(Debug)]
pub struct Replay {
    tools: Tools,
    address: Address,
    lane: TopicPartition,
    variant: Variant,
    pace: Pace,
    reading: Reading,
    /// Read, and not yet decoded.
    record: Option<Incoming>,
    /// Decoded, and not yet due.
    shot: Option<Arc<Shot>>,
}

/// A feed that is closed when it is no longer of use, without anybody waiting for it.
#[derive(Debug)]
struct Reading {
    feed: Option<Feed>,
    control: FeedControl,
    /// Known here, because nothing is when the runtime ends.
    runtime: Handle,
}

impl Reading {
    async fn open(
        tools: &Tools,
        lane: &TopicPartition,
        from: Position,
    ) -> Result<Self, KafkaFault> {
        let (config, lane) = (tools.kafka.config().clone(), lane.clone());
        let open = move |admin: &pipeline::kafka::Admin| {
            let from = match from {
                // Retention may have removed it; then the oldest there is.
                Position::Offset(offset) => {
                    let (low, end) = admin.ends(&lane)?;
                    Position::Offset(offset.clamp(low, end))
                }
                other => other,
            };
            Feed::assign(&config, &[lane], StartPolicy::new(from), BOUNDS)
        };
        let feed = tools.kafka.ask(open).await?;
        Ok(Self {
            control: feed.control(),
            feed: Some(feed),
            runtime: Handle::current(),
        })
    }

    async fn next(&mut self) -> Option<FeedEvent> {
        self.feed.as_mut()?.next().await
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(feed) = self.feed.take() {
            self.control.close();
            // Bounded by the number of replays; the runtime's end does not wait for it.
            self.runtime.spawn_blocking(move || feed.close_blocking());
        }
    }
}

impl Replay {
    /// Begins to read a source, which must lie in this one partition.
    ///
    /// # Errors
    /// Kafka cannot be read.
    pub async fn open(
        tools: Tools,
        address: Address,
        lane: TopicPartition,
        variant: Variant,
        (from, pace): (Position, Pace),
    ) -> Result<Self, KafkaFault> {
        let reading = Reading::open(&tools, &lane, from).await?;
        Ok(Self {
            tools,
            address,
            lane,
            variant,
            pace,
            reading,
            record: None,
            shot: None,
        })
    }

    /// The next record, when it is due. Cancelled, it has taken nothing.
    ///
    /// # Errors
    /// Kafka can no longer be read.
    pub async fn next(&mut self) -> Result<Arc<Shot>, KafkaFault> {
        loop {
            if let Some(shot) = &self.shot {
                let captured_ns = shot.frame().map(|frame| frame.capture_time_unix_ns);
                match captured_ns.map(|ns| self.pace.due(ns, Instant::now())) {
                    Some(Some(due)) => tokio::time::sleep_until(due.into()).await,
                    // Not shown before it is resumed, which cancels this.
                    Some(None) => std::future::pending().await,
                    None => {} // what is no frame has no time of its own
                }
                if let Some(shot) = self.shot.take() {
                    if let Some(ns) = captured_ns {
                        self.pace.shown(ns, Instant::now());
                    }
                    return Ok(shot);
                }
            }
            match &self.record {
                None => self.read().await?,
                Some(record) => {
                    let Decoded {
                        source,
                        mut content,
                    } = decode(record);
                    if *source == *self.address.source {
                        resolve(&self.tools.resolver, &mut content).await;
                        let shot = Arc::new(Shot::new(&self.lane, record.offset, content));
                        self.shot = Some(self.tools.painter.one(shot, self.variant).await);
                    }
                    self.record = None;
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), KafkaFault> {
        match self.reading.next().await {
            None => Err(KafkaFault::Failed("the reader has ended".to_owned())),
            Some(FeedEvent::Failed(fault)) => Err(fault),
            Some(FeedEvent::Record { lane, record }) => {
                // No more than the one record is held from here on.
                self.reading.control.release(lane, 1, record.memory_bytes());
                self.record = Some(record);
                Ok(())
            }
            Some(FeedEvent::Expired { lane, .. }) => {
                self.reading.control.release(lane, 1, 0);
                Ok(())
            }
            Some(
                FeedEvent::Assigned(_) | FeedEvent::ReachedEnd { .. } | FeedEvent::Revoked { .. },
            ) => Ok(()),
        }
    }

    /// Goes on somewhere else.
    ///
    /// # Errors
    /// Kafka cannot be read; then it goes on where it was.
    pub async fn seek(&mut self, to: Position) -> Result<(), KafkaFault> {
        self.reading = Reading::open(&self.tools, &self.lane, to).await?;
        (self.record, self.shot) = (None, None);
        self.pace.jump();
        Ok(())
    }

    /// From the next frame on.
    pub fn show_as(&mut self, variant: Variant) {
        self.variant = variant;
    }

    pub fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }

    /// True for what ends a source: nothing may follow it.
    pub fn is_end(shot: &Shot) -> bool {
        matches!(shot.content(), Content::Message(Kind::End(_)))
    }
}
