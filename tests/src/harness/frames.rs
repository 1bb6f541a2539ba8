//! Frames made and read without our own services: what the services are checked against.

use super::wait_for;
use bytes::Bytes;
use pipeline::kafka::{
    Admin, Feed, FeedEvent, Incoming, KafkaConfig, LaneBounds, Outgoing, Position, StartPolicy,
    TopicPartition, Writer,
};
use pipeline::trace::TraceContext;
use pipeline::{v1, wire};
use processor_proto::envelope::Kind;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// The clip of people walking that is shipped: 220 frames in 22 s.
pub fn clip() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/people.mp4");
    path.to_str().expect("a readable path").to_owned()
}

/// Writes frames of one source (epoch 1, gray RAW pictures whose bytes follow from the id) and waits until Kafka has
/// them.
pub fn publish(servers: &str, topic: &str, source: &str, sequences: Range<u64>) {
    publish_records(
        servers,
        sequences.map(|sequence| frame(topic, source, sequence)),
    );
}

/// Writes records and waits until Kafka has them.
pub fn publish_records(servers: &str, records: impl IntoIterator<Item = Outgoing>) {
    let config = KafkaConfig::new(servers).expect("a usable address");
    let writer = Writer::new(&config).expect("a writer");
    write_all(&writer, records);
}

fn write_all(writer: &Writer, records: impl IntoIterator<Item = Outgoing>) {
    let receipts: Vec<_> = records
        .into_iter()
        .map(|record| writer.send(&record).expect("room in the queue"))
        .collect();
    for receipt in receipts {
        receipt.wait().expect("delivered");
    }
}

/// Publishes to each source, ten frames in 100 ms, for as long as `during` runs: there is always something under way.
/// Returns how many frames each source has, and the result.
pub fn publish_while<T>(
    servers: &str,
    topic: &str,
    sources: &[&str],
    during: impl FnOnce() -> T,
) -> (u64, T) {
    const AT_ONCE: u64 = 2;
    const PAUSE: Duration = Duration::from_millis(20);
    let (running, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let publisher = scope.spawn(move || {
            let config = KafkaConfig::new(servers).expect("a usable address");
            let writer = Writer::new(&config).expect("a writer");
            let mut count = 0;
            while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                let sequences = count..count + AT_ONCE;
                let frames = sources
                    .iter()
                    .flat_map(|source| sequences.clone().map(|at| frame(topic, source, at)));
                write_all(&writer, frames);
                count += AT_ONCE;
            }
            count
        });
        let result = {
            let _running = running; // dropped by a panic too: the scope waits for the publisher
            during()
        };
        (publisher.join().expect("published"), result)
    })
}

/// Writes a record that is no Envelope.
pub fn publish_raw(servers: &str, topic: &str, key: &str, payload: &'static [u8]) {
    let record = Outgoing {
        topic: topic.into(),
        partition: None,
        key: key.to_owned().into(),
        timestamp_ms: wire::now_unix_ns() / 1_000_000,
        headers: Vec::new(),
        payload: Bytes::from_static(payload),
    };
    publish_records(servers, [record]);
}

pub fn frame(topic: &str, source: &str, sequence: u64) -> Outgoing {
    frame_of(topic, source, sequence, (64, 32))
}

/// A frame of 100 KB.
pub fn large_frame(topic: &str, source: &str, sequence: u64) -> Outgoing {
    frame_of(topic, source, sequence, (400, 256))
}

fn frame_of(topic: &str, source: &str, sequence: u64, (width, height): (u32, u32)) -> Outgoing {
    let captured = wire::now_unix_ns();
    let mut frame = v1::Frame {
        id: Some(v1::FrameId::new(source, 1, sequence)),
        capture_time_unix_ns: captured,
        time_base: Some(v1::TimeBase { num: 1, den: 30 }),
        pts: sequence as i64,
        width,
        height,
        keyframe: true,
        content: Some(v1::frame::Content::Inline(picture(
            sequence,
            width * height,
        ))),
        ..Default::default()
    };
    frame.set_codec(v1::Codec::Raw);
    frame.set_pixel_format(v1::PixelFormat::Gray8);
    let trace = TraceContext::root();
    wire::to_record(
        &topic.into(),
        &Kind::Frame(frame),
        captured / 1_000_000,
        &trace,
    )
    .expect("a small frame")
}

/// The bytes that the frame of this sequence must have, wherever it is met.
fn picture(sequence: u64, bytes: u32) -> Bytes {
    (0..bytes)
        .map(|at| (sequence as u32).wrapping_mul(31).wrapping_add(at) as u8)
        .collect()
}

/// One record of a topic.
#[derive(Debug, Clone)]
pub struct Seen {
    pub record: Incoming,
    pub message: Kind,
}

impl Seen {
    /// The last result's status, or the kind of record if it is no frame.
    pub fn status(&self) -> &'static str {
        match &self.message {
            Kind::Frame(frame) => frame
                .results
                .last()
                .map_or("none", |result| result.status().word()),
            other => other.word(),
        }
    }
}

/// Everything that is committed in a topic now. It must not grow all the time: an end that is never at rest is never reached.
pub fn read_committed(servers: &str, topic: &str) -> Vec<Seen> {
    let mut follower = Follower::new(servers, topic);
    follower.read_to_end();
    std::mem::take(&mut follower.seen)
}

/// How many offsets a topic's first partition has used, for aborted records and transaction markers too.
pub fn offsets_used(servers: &str, topic: &str) -> usize {
    let config = KafkaConfig::new(servers).expect("a usable address");
    let admin = Admin::connect(&config).expect("Kafka answers");
    let (low, high) = admin
        .ends(&TopicPartition::new(topic, 0))
        .expect("the topic exists");
    usize::try_from(high - low).expect("ends are in order")
}

/// Reads a topic as it grows.
pub struct Follower {
    feed: Option<Feed>,
    partitions: usize,
    topic: String,
    pub seen: Vec<Seen>,
}

impl Follower {
    /// Waits for the topic, then reads it from its beginning.
    pub fn new(servers: &str, topic: &str) -> Self {
        let config = KafkaConfig::new(servers).expect("a usable address");
        let admin = Admin::connect(&config).expect("Kafka answers");
        let partitions = wait_for(&format!("topic {topic}"), || admin.partitions(topic).ok());
        let bounds = LaneBounds {
            lane_records: 10_000,
            lane_bytes: usize::MAX,
            total_bytes: usize::MAX,
        };
        let start = StartPolicy::new(Position::Earliest);
        let feed = Feed::assign(&config, &partitions, start, bounds).expect("a reader");
        Self {
            feed: Some(feed),
            partitions: partitions.len(),
            topic: topic.to_owned(),
            seen: Vec::new(),
        }
    }

    /// Reads on until there are `count` records in all; panics after a minute without one.
    pub fn wait_for(&mut self, count: usize) {
        while self.seen.len() < count {
            self.next(count);
        }
    }

    /// Reads on until there is a frame of this epoch; panics after a minute without a record.
    pub fn wait_for_epoch(&mut self, epoch: u64) {
        let is_there = |one: &Seen| one.message.id().is_some_and(|id| id.epoch == epoch);
        while !self.seen.last().is_some_and(is_there) {
            self.next(self.seen.len() + 1);
        }
    }

    fn read_to_end(&mut self) {
        let mut open = self.partitions;
        while open > 0 {
            open -= usize::from(self.next(0));
        }
    }

    /// Takes the next event in; true if it is the end of a partition.
    fn next(&mut self, wanted: usize) -> bool {
        let feed = self.feed.as_mut().expect("open until dropped");
        let event = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime")
            .block_on(async { tokio::time::timeout(Duration::from_secs(60), feed.next()).await });
        match event {
            Err(_) => panic!(
                "{}: {} of {wanted} records, no more for a minute",
                self.topic,
                self.seen.len()
            ),
            Ok(None) => panic!("the feed has ended"),
            Ok(Some(FeedEvent::Record { record, lane })) => {
                feed.control().release(lane, 1, record.memory_bytes());
                let message = wire::from_record(&record).expect("an Envelope");
                self.seen.push(Seen { record, message });
                false
            }
            Ok(Some(FeedEvent::Failed(fault))) => panic!("{fault}"),
            Ok(Some(event)) => matches!(event, FeedEvent::ReachedEnd { .. }),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(feed) = self.feed.take() {
            feed.close_blocking();
        }
    }
}

/// Sequences by source, in the order of the records; every frame's picture is checked on the way.
pub type Ids = BTreeMap<String, Vec<u64>>;

/// See [`Ids`]. Gap and end records count as the frame they stand for.
pub fn ids_of(seen: &[Seen]) -> Ids {
    let mut ids = Ids::new();
    for one in seen {
        let id = one.message.id().expect("records of ours have ids");
        assert_eq!(
            wire::id_of(&one.record).as_ref(),
            Some(id),
            "headers and payload disagree"
        );
        if let Kind::Frame(frame) = &one.message
            && let Some(content) = frame.inline()
        {
            assert_eq!(
                *content,
                picture(id.sequence, frame.width * frame.height),
                "pixels of {id}"
            );
        }
        ids.entry(id.source_id.clone())
            .or_default()
            .push(id.sequence);
    }
    ids
}

/// Asserts that each source's frames 0..count are there, once and in order.
pub fn assert_complete(seen: &[Seen], sources: &[&str], count: u64) {
    let ids = ids_of(seen);
    let expected: Vec<u64> = (0..count).collect();
    let found: Vec<&str> = ids.keys().map(String::as_str).collect();
    assert_eq!(found, sources);
    for (source, sequences) in &ids {
        let first_wrong = sequences
            .iter()
            .zip(&expected)
            .position(|(found, expected)| found != expected);
        assert_eq!(
            (first_wrong, sequences.len()),
            (None, expected.len()),
            "source {source}: {sequences:?}"
        );
    }
}
