//! A scene in which somebody comes and goes, and what a monitor of it is started with.

use crate::harness::{Lines, Request, publish_records, run, shared, topic};
use bytes::Bytes;
use pipeline::envelope::Kind;
use pipeline::kafka::Outgoing;
use pipeline::trace::TraceContext;
use pipeline::v1::{self, EndOfStream, FrameId, Gap, frame::Content};
use pipeline::wire;
use serde_json::Value;
use std::path::Path;

/// Ten frames a second.
const FRAME_NS: i64 = 100_000_000;
pub const FRAMES: u64 = 420;
pub const SOMEBODY: &str =
    r#"results.exists(r, r.detections.exists(d, d.label == "person" && d.confidence > 0.6))"#;
/// With `--for 1s --cooldown 5s`: where somebody was there for a second, and every five seconds after.
pub const ALERTS: [u64; 5] = [60, 210, 260, 310, 360];

/// True if somebody is in the picture. For half a second at 120: too short. A frame is missing in the middle.
pub fn is_there(sequence: u64) -> bool {
    matches!(sequence, 50..90 | 120..125 | 200..400)
}

/// Records of one source for a partition.
fn scene(topic: &str, (source, partition): (&str, i32)) -> Vec<Outgoing> {
    let begin_ns = wire::now_unix_ns();
    let topic = topic.into();
    let record = |message: Kind, at: u64| {
        let time_ms = (begin_ns + at as i64 * FRAME_NS) / 1_000_000;
        let record = wire::to_record(&topic, &message, time_ms, &TraceContext::root());
        Outgoing {
            partition: Some(partition),
            ..record.expect("a small frame")
        }
    };
    let message = |at: u64| {
        let id = FrameId::new(source, 1, at);
        match at {
            205 => Kind::Gap(Gap {
                first: Some(id),
                count: 1,
                reason: v1::gap::Reason::Overload.into(),
                ..Gap::default()
            }),
            _ => Kind::Frame(frame(id, begin_ns + at as i64 * FRAME_NS)),
        }
    };
    let end = Kind::End(EndOfStream {
        last: Some(FrameId::new(source, 1, FRAMES - 1)),
        ..EndOfStream::default()
    });
    let frames = (0..FRAMES).map(|at| record(message(at), at));
    frames.chain([record(end, FRAMES)]).collect()
}

fn frame(id: FrameId, time_ns: i64) -> v1::Frame {
    let sequence = id.sequence;
    let detection = |label: &str, confidence| v1::Detection {
        r#box: Some(v1::Box {
            x: 1.0 + (sequence % 7) as f32,
            y: 2.0,
            width: 20.0,
            height: 40.0,
        }),
        label: label.to_owned(),
        confidence,
        ..v1::Detection::default()
    };
    let mut detections = vec![detection("cat", 0.9), detection("person", 0.6)];
    if is_there(sequence) {
        detections.push(detection("person", 0.7));
    }
    let mut frame = v1::Frame {
        id: Some(id),
        capture_time_unix_ns: time_ns,
        width: 4,
        height: 4,
        content: Some(Content::Inline(Bytes::from(vec![sequence as u8; 16]))),
        results: vec![v1::Result {
            processor: "people".to_owned(),
            status: v1::Status::Ok.into(),
            detections,
            ..v1::Result::default()
        }],
        ..v1::Frame::default()
    };
    frame.set_codec(v1::Codec::Raw);
    frame.set_pixel_format(v1::PixelFormat::Gray8);
    frame
}

/// A record of a frame of source `a` in which there is one thing.
pub fn frame_with(topic: &str, sequence: u64, label: &str) -> Outgoing {
    let time_ns = wire::now_unix_ns() + sequence as i64 * FRAME_NS;
    let mut frame = frame(FrameId::new("a", 1, sequence), time_ns);
    frame.results[0].detections.truncate(1);
    frame.results[0].detections[0].label = label.to_owned();
    let message = Kind::Frame(frame);
    let record = wire::to_record(
        &topic.into(),
        &message,
        time_ns / 1_000_000,
        &TraceContext::root(),
    );
    record.expect("a small frame")
}

pub fn one_source() -> String {
    let input = topic(shared(), 1);
    publish_records(shared(), scene(&input, ("a", 0)));
    input
}

pub fn two_sources() -> String {
    let input = topic(shared(), 2);
    for source in [("a", 0), ("b", 1)] {
        publish_records(shared(), scene(&input, source));
    }
    input
}

pub fn monitor<'a>(input: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["--topic", input, "--when", SOMEBODY];
    let held = ["--for", "1s", "--cooldown", "5s"];
    [&args[..], &held, more].concat()
}

/// Runs to the end of what is there; returns what it printed.
pub fn watch(input: &str, more: &[&str]) -> String {
    let args = [&monitor(input, more)[..], &["--until", "end"]].concat();
    let (code, log) = run("consumer", shared(), &args);
    assert_eq!(code, Some(0), "{log}");
    log
}

pub fn ids(source: &str, sequences: &[u64]) -> Vec<String> {
    let id = |sequence| format!("{source}/1/{sequence}");
    sequences.iter().map(id).collect()
}

pub fn ids_in(lines: &Lines) -> Vec<String> {
    let id = |line: &Value| line["id"].as_str().expect("an alert has an id").to_owned();
    lines.0.iter().map(id).collect()
}

pub fn keys(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|one| one.key.clone()).collect()
}

pub fn action(kind: &str, path: &Path) -> String {
    format!("{kind}:{}", path.display())
}
