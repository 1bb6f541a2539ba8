//! What a managed flow is told from outside while it runs, and what it tells: which topics it reads, how far, and how
//! their streams stand.

use crate::delivery::Delivery;
use crate::lanes::Lane;
use crate::span::{Span, What};
use hdrhistogram::Histogram;
use pipeline::envelope::Kind;
use pipeline::kafka::TopicPartition;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Notices on their way to the sinks. There is one for each source that closes; more wait with the sender.
const NOTICES: usize = 64;
/// Latencies are kept in microseconds with 2 digits; replays of old records count as this.
const MAX_LATENCY_US: u64 = 24 * 3_600 * 1_000_000;

/// A source has no picture to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whose.
    pub source: Arc<str>,
    /// Its topic.
    pub topic: Arc<str>,
    /// Why, for people.
    pub why: String,
}

/// What the flow has seen of what it reads, by topic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Topics with a partition that is read here.
    pub topics: BTreeMap<Arc<str>, TopicSeen>,
}

/// What the flow has seen of a topic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopicSeen {
    /// Partitions that are read here, and the sinks have all there is of them.
    pub is_read: bool,
    /// Records of it have been given to the sinks since it is read here.
    pub has_begun: bool,
    /// How its streams ended, if each one seen since it is read here has ended.
    pub ended: Option<String>,
    /// The partitions that are read here.
    pub lanes: Vec<LaneSeen>,
}

/// A partition that is read.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneSeen {
    /// Which one.
    pub tp: TopicPartition,
    /// Frames given to the sinks since the last second.
    pub fps: f64,
    /// Records that wait in Kafka, if that is known.
    pub lag: Option<i64>,
    /// From capture until they were read, of the frames of the last second; milliseconds.
    pub latency_p50_ms: f64,
    /// As above.
    pub latency_p99_ms: f64,
}

/// Outside the flow.
#[derive(Debug)]
pub struct Helm {
    /// The topics to read. A change disturbs none that stays.
    pub topics: watch::Sender<Vec<String>>,
    /// For sinks that show pictures.
    pub notices: mpsc::Sender<Notice>,
    /// What the flow sees; nothing before it has begun.
    pub seen: watch::Receiver<Seen>,
}

/// The flow's end of a [`Helm`].
#[derive(Debug)]
pub struct Steering {
    topics: watch::Receiver<Vec<String>>,
    notices: mpsc::Receiver<Notice>,
    seen: watch::Sender<Seen>,
    streams: HashMap<(Arc<str>, Arc<str>), Stream>,
    meters: HashMap<TopicPartition, Meter>,
    /// Something was seen that is not told yet.
    is_dirty: bool,
}

/// One source in one topic.
#[derive(Debug, Default)]
struct Stream {
    epoch: u64,
    /// How the epoch ended.
    ended: Option<String>,
}

#[derive(Debug)]
struct Meter {
    frames: u64,
    latency_us: Histogram<u64>,
    fps: f64,
    latency_ms: (f64, f64),
}

impl Meter {
    fn new() -> Self {
        let latency_us = Histogram::new_with_max(MAX_LATENCY_US, 2);
        Self {
            frames: 0,
            latency_us: latency_us.expect("the bound and the digits are valid"),
            fps: 0.0,
            latency_ms: (0.0, 0.0),
        }
    }

    fn take_second(&mut self, seconds: f64) {
        let at = |quantile| self.latency_us.value_at_quantile(quantile) as f64 / 1e3;
        self.latency_ms = (at(0.5), at(0.99));
        self.fps = self.frames as f64 / seconds.max(1e-3);
        self.frames = 0;
        self.latency_us.reset();
    }
}

/// What is told to the flow.
#[derive(Debug)]
pub enum Order {
    /// Other topics are to be read.
    Read(Vec<String>),
    /// A picture is to be shown in place of one.
    Show(Notice),
}

/// Both ends.
pub fn steering() -> (Helm, Steering) {
    let (topics, next_topics) = watch::channel(Vec::new());
    let (notices, next_notices) = mpsc::channel(NOTICES);
    let (seen, seen_outside) = watch::channel(Seen::default());
    let helm = Helm {
        topics,
        notices,
        seen: seen_outside,
    };
    let steering = Steering {
        topics: next_topics,
        notices: next_notices,
        seen,
        streams: HashMap::new(),
        meters: HashMap::new(),
        is_dirty: false,
    };
    (helm, steering)
}

impl Steering {
    /// Waits for the next order; for ever when nobody gives any. Cancel-safe.
    pub async fn order(&mut self) -> Order {
        let told = tokio::select! {
            changed = self.topics.changed() => {
                changed.ok().map(|()| Order::Read(self.topics.borrow_and_update().clone()))
            }
            notice = self.notices.recv() => notice.map(Order::Show),
        };
        match told {
            Some(order) => {
                self.forget_others(&order);
                order
            }
            None => std::future::pending().await,
        }
    }

    /// What is not read any more begins anew when it is read again.
    fn forget_others(&mut self, order: &Order) {
        if let Order::Read(topics) = order {
            let is_read = |topic: &Arc<str>| topics.iter().any(|read| **read == **topic);
            self.streams.retain(|(topic, _), _| is_read(topic));
            self.meters.retain(|tp, _| is_read(&tp.topic));
        }
    }

    /// A record goes to the sinks.
    pub fn observe(&mut self, delivery: &Delivery) {
        if let Some(frame) = delivery.frame() {
            let meter = self
                .meters
                .entry(delivery.tp.clone())
                .or_insert_with(Meter::new);
            meter.frames += 1;
            let latency_ns = delivery
                .received_unix_ns
                .saturating_sub(frame.capture_time_unix_ns);
            let latency_us = u64::try_from(latency_ns / 1_000).unwrap_or(0);
            meter.latency_us.saturating_record(latency_us);
        }
        if let Some(span) = &delivery.span {
            let how = match delivery.message() {
                Some(Kind::End(end)) if end.detail.is_empty() => end.reason().word().to_owned(),
                Some(Kind::End(end)) => format!("{}: {}", end.reason().word(), end.detail),
                _ => String::new(),
            };
            self.follow(&delivery.tp.topic, span, how);
        }
    }

    fn follow(&mut self, topic: &Arc<str>, span: &Span, how: String) {
        let key = (Arc::clone(topic), Arc::clone(&span.source));
        let stream = self.streams.entry(key).or_default();
        if span.epoch < stream.epoch {
            return; // its last records come late
        }
        let has_ended = span.what == What::End;
        self.is_dirty |= has_ended != stream.ended.is_some();
        stream.epoch = span.epoch;
        stream.ended = has_ended.then_some(how);
    }

    /// Partitions have come, gone, or been read to their ends.
    pub fn touch(&mut self) {
        self.is_dirty = true;
    }

    /// A second is over: rates are counted anew.
    pub fn take_second(&mut self, seconds: f64) {
        self.meters
            .values_mut()
            .for_each(|meter| meter.take_second(seconds));
        self.is_dirty = true;
    }

    /// Tells what has changed, if something has.
    pub fn tell<'a>(
        &mut self,
        lanes: impl Iterator<Item = &'a Lane>,
        lag: impl Fn(&TopicPartition) -> Option<i64>,
    ) {
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
        let mut topics: BTreeMap<Arc<str>, TopicSeen> = BTreeMap::new();
        for lane in lanes {
            let topic = topics
                .entry(Arc::clone(&lane.tp.topic))
                .or_insert_with(|| TopicSeen {
                    is_read: true,
                    ..TopicSeen::default()
                });
            topic.is_read &= lane.is_read();
            let meter = self.meters.get(&lane.tp);
            let (p50, p99) = meter.map_or((0.0, 0.0), |meter| meter.latency_ms);
            topic.lanes.push(LaneSeen {
                tp: lane.tp.clone(),
                fps: meter.map_or(0.0, |meter| meter.fps),
                lag: lag(&lane.tp),
                latency_p50_ms: p50,
                latency_p99_ms: p99,
            });
        }
        for (name, seen) in &mut topics {
            let own = self.streams.iter().filter(|((topic, _), _)| topic == name);
            seen.has_begun = own.clone().next().is_some();
            let ends: Option<Vec<&String>> = own.map(|(_, stream)| stream.ended.as_ref()).collect();
            seen.ended = ends.and_then(|ends| ends.first().map(|how| (*how).clone()));
        }
        let seen = Seen { topics };
        self.seen.send_if_modified(|told| {
            let is_new = *told != seen;
            *told = seen;
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn span(epoch: u64, what: What) -> Span {
        Span {
            source: "cam".into(),
            epoch,
            first: 0,
            count: 1,
            what,
        }
    }

    fn told(steering: &mut Steering, helm: &Helm, lane: &Lane) -> TopicSeen {
        steering.touch();
        steering.tell(std::iter::once(lane), |_| None);
        helm.seen.borrow().topics["t"].clone()
    }

    #[test]
    fn a_topic_has_ended_when_the_newest_epoch_has_and_is_read_when_the_sinks_have_all() {
        let (helm, mut steering) = steering();
        let topic: Arc<str> = "t".into();
        let mut lane = Lane::new(TopicPartition::new("t", 0), 0);
        assert_eq!(told(&mut steering, &helm, &lane).ended, None);
        let follow =
            |steering: &mut Steering, span| steering.follow(&topic, &span, "finished".to_owned());
        follow(&mut steering, span(1, What::Frame));
        lane.take(0);
        lane.reach_end(Instant::now());
        assert!(
            !told(&mut steering, &helm, &lane).is_read,
            "it is on its way to the sinks"
        );
        lane.hand_over(0);
        assert!(told(&mut steering, &helm, &lane).is_read);
        follow(&mut steering, span(1, What::End));
        let seen = told(&mut steering, &helm, &lane);
        assert_eq!(seen.ended.as_deref(), Some("finished"));
        follow(&mut steering, span(2, What::Frame));
        assert_eq!(told(&mut steering, &helm, &lane).ended, None);
        follow(&mut steering, span(1, What::End));
        let older = told(&mut steering, &helm, &lane);
        assert_eq!((older.has_begun, older.ended), (true, None));
        steering.forget_others(&Order::Read(vec!["t".to_owned()]));
        assert!(told(&mut steering, &helm, &lane).has_begun);
        steering.forget_others(&Order::Read(Vec::new()));
        assert!(!told(&mut steering, &helm, &lane).has_begun);
    }
}
