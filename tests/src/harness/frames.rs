//! Frames made and read without our own services: what the services are checked against.

use super::wait_for;
use bytes::Bytes;
use pipeline::kafka::{
    Admin, Feed, FeedEvent, Incoming, KafkaConfig, KafkaFault, LaneBounds, Outgoing, Position,
    StartPolicy, TopicPartition, Writer,
};
use pipeline::trace::TraceContext;
use pipeline::{v1, wire};
use processor_proto::envelope::Kind;
use std::collections::BTreeMap;
use std::ops::Range;

/// Writes frames of one source (epoch 1, gray RAW pictures whose bytes follow from the id) and waits until Kafka has
/// them.
pub fn publish(servers: &str, topic: &str, source: &str, sequences: Range<u64>) {
    let config = KafkaConfig::new(servers).expect("a usable address");
    let writer = Writer::new(&config).expect("a writer");
    let receipts: Vec<_> = sequences
        .map(|sequence| {
            writer
                .send(&frame(topic, source, sequence))
                .expect("room in the queue")
        })
        .collect();
    for receipt in receipts {
        receipt.wait().expect("delivered");
    }
}

fn frame(topic: &str, source: &str, sequence: u64) -> Outgoing {
    let (width, height) = (64, 32);
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

/// Everything that is committed in a topic now; nothing if it does not exist (yet).
pub fn read_committed(servers: &str, topic: &str) -> Vec<Seen> {
    let config = KafkaConfig::new(servers).expect("a usable address");
    let admin = Admin::connect(&config).expect("Kafka answers");
    let partitions: Vec<TopicPartition> = match admin.partitions(topic) {
        Err(KafkaFault::NoTopic(_)) => return Vec::new(),
        partitions => partitions.expect("Kafka answers"),
    };
    let bounds = LaneBounds {
        lane_records: usize::MAX,
        lane_bytes: usize::MAX,
        total_bytes: usize::MAX,
    };
    let bounds = LaneBounds {
        lane_records: 1 << 20,
        ..bounds
    };
    let mut feed = Feed::assign(
        &config,
        &partitions,
        StartPolicy::new(Position::Earliest),
        bounds,
    )
    .expect("a reader");
    let mut seen = Vec::new();
    let mut open = partitions.len();
    while open > 0 {
        match feed.next_blocking().expect("the feed is not closed") {
            FeedEvent::Record { record, .. } => {
                let message = wire::from_record(&record).expect("an Envelope");
                seen.push(Seen { record, message });
            }
            FeedEvent::ReachedEnd { .. } => open -= 1,
            FeedEvent::Failed(fault) => panic!("{fault}"),
            _ => {}
        }
    }
    feed.control().close();
    while let Some(event) = feed.next_blocking() {
        drop(event);
    }
    feed.join();
    seen
}

/// Reads again and again until there are at least `count` records; returns all there are then.
pub fn read_until(servers: &str, topic: &str, count: usize) -> Vec<Seen> {
    wait_for(&format!("{count} records in {topic}"), || {
        let seen = read_committed(servers, topic);
        (seen.len() >= count).then_some(seen)
    })
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
