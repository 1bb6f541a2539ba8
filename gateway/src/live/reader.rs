//! Reads one partition for those who watch sources in it. Goes on by itself whatever happens to Kafka.

use super::Tools;
use super::hub::{Age, Hub};
use crate::json::Content;
use crate::shot::Shot;
use pipeline::envelope::Kind;
use pipeline::kafka::{
    Feed, FeedEvent, Incoming, KafkaFault, LaneBounds, Position, StartPolicy, TopicPartition,
};
use pipeline::resolve::Resolver;
use pipeline::v1::{Missing, frame};
use pipeline::wire;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Records between Kafka's client and the viewers. They pass at once: this only bounds a moment of delay.
const BOUNDS: LaneBounds = LaneBounds {
    lane_records: 64,
    lane_bytes: 16 << 20,
    total_bytes: 16 << 20,
};
/// Reading begins so many offsets before the end: the first viewer sees a picture at once, also of a source that rests.
/// Behind each of a broker's transactions there is a marker, which takes an offset too.
const LOOK_BACK_OFFSETS: i64 = 16;
/// Between two tries to read on.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A picture that lies in another record is waited for so long; then the frame is shown without it.
const FETCH_PATIENCE: Duration = Duration::from_secs(5);

/// Who is given the records of a partition, by source.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscribers(Arc<Mutex<HashMap<Arc<str>, Arc<Hub>>>>);

impl Subscribers {
    pub(super) fn add(&self, hub: &Arc<Hub>) {
        self.lock()
            .insert(Arc::clone(&hub.address.source), Arc::clone(hub));
    }

    pub(super) fn remove(&self, hub: &Hub) {
        self.lock().remove(&hub.address.source);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn of(&self, source: &str) -> Option<Arc<Hub>> {
        self.lock().get(source).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Hub>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Reader {
    lane: TopicPartition,
    tools: Tools,
    subscribers: Subscribers,
    closing: CancellationToken,
    /// The offset to go on at; None: near the end.
    next: Option<i64>,
    /// Records since the last failure.
    records: u64,
}

impl Reader {
    pub(super) fn new(
        lane: TopicPartition,
        tools: Tools,
        subscribers: Subscribers,
        closing: CancellationToken,
    ) -> Self {
        Self {
            lane,
            tools,
            subscribers,
            closing,
            next: None,
            records: 0,
        }
    }

    /// Ends when it is told to.
    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        tracing::debug!(lane = %self.lane, "reading");
        while let Err(fault) = self.read().await {
            tracing::warn!(%fault, lane = %self.lane, "reading was interrupted; trying again");
            if std::mem::take(&mut self.records) > 0 {
                pause = FIRST_PAUSE;
            } else if matches!(fault, KafkaFault::Read { .. }) {
                self.next = None; // what comes next cannot be read; it may be given up
            }
            let paused = tokio::time::sleep(pause);
            if self.closing.run_until_cancelled(paused).await.is_none() {
                break;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        tracing::debug!(lane = %self.lane, "no longer read");
    }

    /// Reads until told to end, or until something is in the way.
    async fn read(&mut self) -> Result<(), KafkaFault> {
        let opening = self.open();
        let Some(opened) = self.closing.clone().run_until_cancelled(opening).await else {
            return Ok(());
        };
        let (mut feed, end) = opened?;
        let result = self.follow(&mut feed, end).await;
        feed.close().await;
        result
    }

    /// The feed, and the offset behind what was there at this moment.
    async fn open(&self) -> Result<(Feed, i64), KafkaFault> {
        let (lane, next) = (self.lane.clone(), self.next);
        let config = self.tools.kafka.config().clone();
        let open = move |admin: &pipeline::kafka::Admin| {
            let (low, end) = admin.ends(&lane)?;
            let begin = begin(next, low, end);
            let start = StartPolicy::new(Position::Offset(begin));
            let feed = Feed::assign(&config, &[lane], start, BOUNDS)?;
            Ok((feed, end))
        };
        self.tools.kafka.ask(open).await
    }

    async fn follow(&mut self, feed: &mut Feed, end: i64) -> Result<(), KafkaFault> {
        let control = feed.control();
        let closing = self.closing.clone();
        loop {
            let Some(event) = closing.run_until_cancelled(feed.next()).await else {
                return Ok(());
            };
            match event {
                None => return Err(KafkaFault::Failed("the reader has ended".to_owned())),
                Some(FeedEvent::Failed(fault)) => return Err(fault),
                Some(FeedEvent::Record { lane, record }) => {
                    let bytes = record.memory_bytes();
                    self.next = Some(record.offset + 1);
                    self.records += 1;
                    let age = match record.offset < end {
                        true => Age::Before,
                        false => Age::Now,
                    };
                    self.take(&record, age).await;
                    control.release(lane, 1, bytes);
                }
                Some(FeedEvent::Expired { lane, .. }) => control.release(lane, 1, 0),
                Some(
                    FeedEvent::Assigned(_)
                    | FeedEvent::ReachedEnd { .. }
                    | FeedEvent::Revoked { .. },
                ) => {}
            }
        }
    }

    async fn take(&self, record: &Incoming, age: Age) {
        metrics::counter!("framelane_gateway_records_read_total").increment(1);
        // The headers say whose record it is: those of sources that nobody watches are not decoded.
        if let Some(id) = wire::id_of(record)
            && self.subscribers.of(&id.source_id).is_none()
        {
            return;
        }
        let Decoded {
            source,
            mut content,
        } = decode(record);
        let Some(hub) = self.subscribers.of(&source) else {
            return;
        };
        resolve(&self.tools.resolver, &mut content).await;
        let shot = Arc::new(Shot::new(&record.lane, record.offset, content));
        hub.publish(&shot, age, &self.tools.painter);
    }
}

/// Where to begin in a partition that holds the offsets from `low` to before `end`. However often reading failed: what was
/// passed over would be shown as missing.
fn begin(next: Option<i64>, low: i64, end: i64) -> i64 {
    let next = next.filter(|next| *next <= end); // else the topic was made anew
    next.unwrap_or(end - LOOK_BACK_OFFSETS).max(low)
}

/// A record, and the source that it is of (empty if it does not say).
#[derive(Debug)]
pub struct Decoded {
    pub source: String,
    pub content: Content,
}

/// What a record says; a record that is no Envelope says why.
pub fn decode(record: &Incoming) -> Decoded {
    let by_header = || {
        wire::id_of(record)
            .map(|id| id.source_id)
            .unwrap_or_default()
    };
    match wire::from_record(record) {
        Ok(kind) => Decoded {
            source: kind.id().map_or_else(by_header, |id| id.source_id.clone()),
            content: Content::Message(kind),
        },
        Err(error) => {
            let source = by_header();
            Decoded {
                content: Content::Undecodable {
                    source: source.clone(),
                    error: error.to_string(),
                },
                source,
            }
        }
    }
}

/// Replaces a reference by the picture, or by the reason why there is none.
pub async fn resolve(resolver: &Resolver, content: &mut Content) {
    let Content::Message(Kind::Frame(frame)) = content else {
        return;
    };
    let Some(resolving) = resolver.resolve(frame) else {
        return;
    };
    let last_known = match &frame.content {
        Some(frame::Content::Reference(reference)) => Some(reference.clone()),
        _ => None,
    };
    let fetched = tokio::time::timeout(FETCH_PATIENCE, resolving.content()).await;
    frame.content = Some(match fetched {
        Ok(Ok(content)) => content,
        Ok(Err(fault)) => {
            tracing::warn!(%fault, "a picture could not be fetched; its frame is shown without it");
            frame::Content::Missing(Missing {
                reason: 0,
                last_known,
            })
        }
        Err(_) => {
            tracing::warn!("a picture did not come in time; its frame is shown without it");
            frame::Content::Missing(Missing {
                reason: 0,
                last_known,
            })
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_where_it_was_interrupted_if_that_is_still_there() {
        assert_eq!(begin(None, 0, 100), 84, "near the end");
        assert_eq!(begin(None, 0, 3), 0);
        assert_eq!(begin(Some(40), 0, 100), 40);
        assert_eq!(begin(Some(100), 0, 100), 100, "nothing new");
        assert_eq!(begin(Some(40), 60, 100), 60, "removed meanwhile");
        assert_eq!(begin(Some(400), 0, 100), 84, "another topic of this name");
    }
}
