//! Tracks are the same however often the consumer dies: killed, joined by another, started anew, read by another group.

use crate::harness::{
    Lines, Process, Seen, name, publish_raw, publish_records, read_committed, run, run_ok, shared,
    topic, wait_for,
};
use bytes::Bytes;
use pipeline::envelope::Kind;
use pipeline::kafka::{Admin, KafkaConfig, Outgoing, TopicPartition};
use pipeline::trace::TraceContext;
use pipeline::v1::{self, EndOfStream, FrameId, Gap, frame::Content};
use pipeline::wire;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// When the scenes begin. Kafka would soon remove older records.
fn begin_ns() -> i64 {
    static BEGIN: OnceLock<i64> = OnceLock::new();
    *BEGIN.get_or_init(wire::now_unix_ns)
}

/// A hundred frames a second.
const FRAME_NS: i64 = 10_000_000;

/// Records of one source in two epochs, for a partition: people who walk to and fro and cross, missed now and then, with false alarms,
/// detectors that fail, and gaps.
fn scene(topic: &str, (source, partition): (&str, i32), frames: u64) -> Vec<Outgoing> {
    let mut random = StdRng::seed_from_u64(partition as u64);
    let mut records = Vec::new();
    let topic = topic.into();
    let mut push = |message: &Kind, at: u64| {
        let time_ms = (begin_ns() + at as i64 * FRAME_NS) / 1_000_000;
        let record = wire::to_record(&topic, message, time_ms, &TraceContext::root());
        records.push(Outgoing {
            partition: Some(partition),
            ..record.expect("a small frame")
        });
    };
    for at in 0..frames {
        let (epoch, sequence) = match at.checked_sub(frames / 2) {
            None => (1, at),
            Some(sequence) => (2, sequence),
        };
        if epoch == 2 && sequence == 0 {
            push(
                &Kind::End(EndOfStream {
                    last: Some(FrameId::new(source, 1, at - 1)),
                    ..EndOfStream::default()
                }),
                at,
            );
        }
        let id = FrameId::new(source, epoch, sequence);
        let message = match at % 151 {
            150 => Kind::Gap(Gap {
                first: Some(id),
                count: 1,
                reason: v1::gap::Reason::Overload.into(),
                ..Gap::default()
            }),
            _ => Kind::Frame(frame(id, at, &mut random)),
        };
        push(&message, at);
    }
    records
}

fn frame(id: FrameId, at: u64, random: &mut StdRng) -> v1::Frame {
    let mut detections = Vec::new();
    for person in 0..6_u32 {
        let turn = (at as f32 * (1.0 + person as f32) + 100.0 * person as f32) % 1200.0;
        let x = if turn < 600.0 { turn } else { 1200.0 - turn };
        if random.random_bool(0.1) {
            continue; // missed
        }
        let shake = random.random_range(-2.0..2.0_f32);
        let y = 40.0 * person as f32 + shake;
        detections.push(person_at(x + shake, y, random.random_range(0.3..1.0)));
    }
    if random.random_bool(0.3) {
        let (x, y) = (
            random.random_range(0.0..600.0),
            random.random_range(0.0..400.0),
        );
        detections.push(person_at(x, y, 0.6)); // a false alarm
    }
    let status = match at % 97 {
        96 => v1::Status::Timeout,
        _ => v1::Status::Ok,
    };
    let pixels = Bytes::from(vec![(at % 251) as u8; 16]);
    let mut frame = v1::Frame {
        id: Some(id),
        capture_time_unix_ns: begin_ns() + at as i64 * FRAME_NS,
        width: 4,
        height: 4,
        keyframe: true,
        content: Some(Content::Inline(pixels)),
        results: vec![v1::Result {
            processor: "people".to_owned(),
            status: status.into(),
            detections,
            ..v1::Result::default()
        }],
        ..v1::Frame::default()
    };
    frame.set_codec(v1::Codec::Raw);
    frame.set_pixel_format(v1::PixelFormat::Gray8);
    frame
}

fn person_at(x: f32, y: f32, confidence: f32) -> v1::Detection {
    let bounds = v1::Box {
        x,
        y,
        width: 40.0,
        height: 80.0,
    };
    v1::Detection {
        r#box: Some(bounds),
        label: "person".to_owned(),
        confidence,
        ..v1::Detection::default()
    }
}

/// Two sources in two partitions.
fn two_sources(frames: u64) -> String {
    let input = topic(shared(), 2);
    for source in [("a", 0), ("b", 1)] {
        publish_records(shared(), scene(&input, source, frames));
    }
    input
}

/// Everything that a record is but its offset, by partition, in the order of the partition.
fn bytes_of(topic: &str) -> Vec<Vec<String>> {
    let mut partitions = BTreeMap::<i32, Vec<String>>::new();
    for Seen { record, .. } in read_committed(shared(), topic) {
        let said = format!(
            "{:?} {} {:?} {:?}",
            record.key, record.timestamp_ms, record.headers, record.payload
        );
        partitions
            .entry(record.lane.partition)
            .or_default()
            .push(said);
    }
    partitions.into_values().collect()
}

/// Asserts that both topics hold the same records, byte by byte, as many as the input.
fn assert_same(input: &str, output: &str, reference: &str) {
    let (found, expected) = (bytes_of(output), bytes_of(reference));
    let inputs: usize = bytes_of(input).iter().map(Vec::len).sum();
    assert_eq!(expected.iter().map(Vec::len).sum::<usize>(), inputs);
    assert_eq!(found.len(), expected.len());
    for (partition, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let wrong = found.iter().zip(expected).position(|(a, b)| a != b);
        assert_eq!(
            (wrong, found.len()),
            (None, expected.len()),
            "partition {partition}: {:?} instead of {:?}",
            wrong.map(|at| &found[at]),
            wrong.map(|at| &expected[at])
        );
    }
}

fn arguments<'a>(input: &'a str, group: &'a str, output: &'a str) -> Vec<&'a str> {
    let args = ["--topic", input, "--group", group, "--track"];
    [&args[..], &["--output", output]].concat()
}

/// Tracks all there is, in one go.
fn track(input: &str, group: &str, output: &str) -> String {
    let args = [&arguments(input, group, output)[..], &["--until", "end"]].concat();
    let (code, log) = run("consumer", shared(), &args);
    assert_eq!(code, Some(0), "{log}");
    log
}

/// How many offsets a topic with two partitions has used; 0 while it does not exist.
fn offsets_used(admin: &Admin, topic: &str) -> i64 {
    let of = |partition| admin.ends(&TopicPartition::new(topic, partition)).ok();
    match admin.topic(topic) {
        Ok(Some(_)) => (0..2).filter_map(of).map(|(low, high)| high - low).sum(),
        _ => 0,
    }
}

/// Kills a consumer after a random time, or after it has written a random number of records.
fn kill_at_random(consumer: Process, admin: &Admin, output: &str, random: &mut StdRng) {
    if random.random_bool(0.5) {
        std::thread::sleep(Duration::from_millis(random.random_range(0..900))); // the fault, not a wait
    } else {
        let goal = offsets_used(admin, output) + random.random_range(1..100_i64);
        wait_for("more tracks", || {
            (offsets_used(admin, output) >= goal).then_some(())
        });
    }
    consumer.kill9();
}

fn admin() -> Admin {
    Admin::connect(&KafkaConfig::new(shared()).unwrap()).expect("Kafka answers")
}

#[test]
fn tracks_are_the_same_byte_by_byte_after_fifty_kills_and_two_rebalances() {
    const FRAMES: u64 = 8_000;
    let (input, group, output) = (two_sources(FRAMES), name(), name());
    let args = arguments(&input, &group, &output);
    let admin = admin();
    let mut random = StdRng::seed_from_u64(50);
    let mut other = None;
    let began = Instant::now();
    for kill in 0..50 {
        let slowly = ["--instance", "first", "--rate", "1.5x"];
        let consumer = Process::start("consumer", shared(), &[&args[..], &slowly].concat());
        if kill == 20 {
            consumer.wait_for_log("reading");
            let other = other.insert(Process::start(
                "consumer",
                shared(),
                &[&args[..], &["--rate", "1.5x"]].concat(),
            ));
            other.wait_for_log("reading");
        }
        if kill == 30 {
            let other: Process = other.take().expect("started before");
            assert!(other.stop().success());
        }
        kill_at_random(consumer, &admin, &output, &mut random);
    }
    println!("50 kills in {:?}", began.elapsed());
    let used = offsets_used(&admin, &output);
    assert!(
        used < 2 * FRAMES as i64,
        "all was done before the last kill"
    );
    assert!(used > 500, "next to nothing was done between the kills");
    track(&input, &group, &output);

    let (replay, reference) = (name(), name());
    track(&input, &replay, &reference);
    assert_same(&input, &output, &reference);
}

#[test]
fn sinks_beside_the_topic_see_every_tracked_frame_once_though_their_consumer_is_killed() {
    let (input, group, output) = (two_sources(1_500), name(), name());
    let folder = tempfile::tempdir().unwrap();
    let lines = |name: &str| folder.path().join(name);
    let sink = format!("jsonl:{}", lines("killed").display());
    let args = [&arguments(&input, &group, &output)[..], &["--sink", &sink]].concat();
    let admin = admin();
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..8 {
        let slowly = ["--instance", "first", "--rate", "2x"];
        let consumer = Process::start("consumer", shared(), &[&args[..], &slowly].concat());
        kill_at_random(consumer, &admin, &output, &mut random);
    }
    let (code, log) = run(
        "consumer",
        shared(),
        &[&args[..], &["--instance", "first", "--until", "end"]].concat(),
    );
    assert_eq!(code, Some(0), "{log}");

    let (replay, reference) = (name(), name());
    let sink = format!("jsonl:{}", lines("straight").display());
    let args = arguments(&input, &replay, &reference);
    run_ok(
        "consumer",
        shared(),
        &[&args[..], &["--until", "end", "--sink", &sink]].concat(),
    );
    assert_same(&input, &output, &reference);
    let (killed, straight) = (
        Lines::read(&lines("killed")),
        Lines::read(&lines("straight")),
    );
    for (source, epoch) in [("a", 1), ("a", 2), ("b", 1), ("b", 2)] {
        let expected = straight.of(source, epoch);
        assert!(expected.0.len() > 700, "{source}/{epoch}");
        assert_eq!(killed.of(source, epoch), expected, "{source}/{epoch}");
    }
    assert_eq!(killed.0.len(), straight.0.len());
}

/// A number that a log line names.
fn number(line: &str, field: &str) -> u64 {
    let (_, rest) = line.split_once(&format!(" {field}=")).expect(line);
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect(line)
}

#[test]
fn going_on_reads_no_more_after_a_long_history_than_after_a_short_one() {
    let (group, output) = (name(), name());
    let input = topic(shared(), 1);
    let all = scene(&input, ("a", 0), 12_000);
    for end in [300, 3_000, 12_000] {
        let done = read_committed(shared(), &input).len();
        publish_records(shared(), all[done..end - 1].to_vec());
        track(&input, &group, &output);
        // Something to go on with: whoever has nothing to read ends without asking what was before.
        publish_records(shared(), all[end - 1..end].to_vec());
        let log = track(&input, &group, &output);
        let line = log.lines().find(|line| line.contains("tracking goes on"));
        let line = line.unwrap_or_else(|| panic!("nothing was found again\n{log}"));
        assert!(number(line, "snapshots_read") <= 8, "{line}");
        assert!(number(line, "replayed") < 256, "{line}");
    }
}

#[test]
fn every_record_has_one_output_and_ids_are_unique_in_an_epoch() {
    let (group, output) = (name(), name());
    let input = topic(shared(), 1);
    let mut records = scene(&input, ("a", 0), 400);
    let rest = records.split_off(100);
    publish_records(shared(), records);
    publish_raw(shared(), &input, "a", b"no envelope");
    publish_records(shared(), rest);
    track(&input, &group, &output);

    let outputs = read_committed(shared(), &output);
    assert_eq!(outputs.len(), 402); // with an end in the middle
    let mut ids = BTreeMap::<u64, BTreeSet<u64>>::new();
    for (output, offset) in outputs.iter().zip(0..) {
        let Kind::Frame(frame) = &output.message else {
            continue;
        };
        let reference = wire::reference_to(&TopicPartition::new(input.as_str(), 0), offset);
        assert_eq!(frame.content, Some(Content::Reference(reference)));
        assert_eq!(frame.results[1].processor, "tracker");
        assert!(frame.stamps.is_empty(), "stamps would differ in every run");
        let epoch = frame.id.as_ref().unwrap().epoch;
        let tracked = frame.results[0].detections.iter().map(|one| one.track_id);
        let tracked: Vec<u64> = tracked.filter(|id| *id > 0).collect();
        let unique: BTreeSet<u64> = tracked.iter().copied().collect();
        assert_eq!(unique.len(), tracked.len(), "one id, two places");
        ids.entry(epoch).or_default().extend(unique);
    }
    for (epoch, ids) in &ids {
        assert!((6..30).contains(&ids.len()), "epoch {epoch}: {ids:?}");
        assert_eq!(ids.first(), Some(&1), "each epoch counts from 1");
    }
    assert_eq!(ids.len(), 2);
    let Kind::Gap(gap) = &outputs[100].message else {
        panic!("what is no envelope leaves a gap");
    };
    assert_eq!(gap.reason(), v1::gap::Reason::Undecodable);
}

#[test]
fn in_the_middle_of_a_stream_tracking_begins_with_nothing_and_says_so() {
    let (group, output) = (name(), name());
    let input = topic(shared(), 1);
    publish_records(shared(), scene(&input, ("a", 0), 300));
    let args = arguments(&input, &group, &output);
    let args = [&args[..], &["--from", "offset:120", "--until", "end"]].concat();
    let (code, log) = run("consumer", shared(), &args);
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("tracking begins here, with nothing known of before"),
        "{log}"
    );
    let outputs = read_committed(shared(), &output);
    assert_eq!(outputs.len(), 301 - 120);
    // Without a group there is nothing to go on from, and nothing is written.
    let alone = ["--topic", &input, "--track", "--until", "end"];
    run_ok("consumer", shared(), &alone);
}
