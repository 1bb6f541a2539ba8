//! Monitors raise the same alerts at the same frames in every run, and lose none: killed, replayed, refused by receivers.

use crate::harness::{
    Lines, Process, Receiver, Request, name, publish_records, read_committed, run, run_ok, shared,
    topic, wait_for,
};
use bytes::Bytes;
use nix::sys::signal::Signal;
use pipeline::envelope::Kind;
use pipeline::kafka::Outgoing;
use pipeline::trace::TraceContext;
use pipeline::v1::{self, EndOfStream, FrameId, Gap, frame::Content};
use pipeline::wire;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Ten frames a second.
const FRAME_NS: i64 = 100_000_000;
const FRAMES: u64 = 420;
const SOMEBODY: &str =
    r#"results.exists(r, r.detections.exists(d, d.label == "person" && d.confidence > 0.6))"#;
/// With `--for 1s --cooldown 5s`: where somebody was there for a second, and every five seconds after.
const ALERTS: [u64; 5] = [60, 210, 260, 310, 360];

/// True if somebody is in the picture. For half a second at 120: too short. A frame is missing in the middle.
fn is_there(sequence: u64) -> bool {
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

fn one_source() -> String {
    let input = topic(shared(), 1);
    publish_records(shared(), scene(&input, ("a", 0)));
    input
}

fn two_sources() -> String {
    let input = topic(shared(), 2);
    for source in [("a", 0), ("b", 1)] {
        publish_records(shared(), scene(&input, source));
    }
    input
}

fn monitor<'a>(input: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["--topic", input, "--when", SOMEBODY];
    let held = ["--for", "1s", "--cooldown", "5s"];
    [&args[..], &held, more].concat()
}

/// Runs to the end of what is there; returns what it printed.
fn watch(input: &str, more: &[&str]) -> String {
    let args = [&monitor(input, more)[..], &["--until", "end"]].concat();
    let (code, log) = run("consumer", shared(), &args);
    assert_eq!(code, Some(0), "{log}");
    log
}

fn ids(source: &str, sequences: &[u64]) -> Vec<String> {
    let id = |sequence| format!("{source}/1/{sequence}");
    sequences.iter().map(id).collect()
}

fn ids_in(lines: &Lines) -> Vec<String> {
    let id = |line: &Value| line["id"].as_str().expect("an alert has an id").to_owned();
    lines.0.iter().map(id).collect()
}

fn keys(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|one| one.key.clone()).collect()
}

fn action(kind: &str, path: &Path) -> String {
    format!("{kind}:{}", path.display())
}

#[test]
fn every_replay_raises_the_same_alerts_at_the_same_frames() {
    let input = one_source();
    let folder = tempfile::tempdir().unwrap();
    let (first, group) = (folder.path().join("first"), name());
    watch(
        &input,
        &["--group", &group, "--do", &action("jsonl", &first)],
    );
    let alerts = Lines::read(&first);
    assert_eq!(ids_in(&alerts), ids("a", &ALERTS));
    let line = &alerts.0[0];
    assert_eq!(line["condition"], SOMEBODY);
    assert_eq!(line["held_ms"], 1_000);
    assert_eq!(line["frame"]["sequence"], 60);
    assert_eq!(
        line["frame"]["results"][0]["detections"][2]["label"],
        "person"
    );

    let again = folder.path().join("again");
    let other = name();
    let more = ["--group", &other, "--rate", "20x"];
    watch(
        &input,
        &[&more[..], &["--do", &action("jsonl", &again)]].concat(),
    );
    let alone = folder.path().join("alone");
    watch(&input, &["--do", &action("jsonl", &alone)]);
    for copy in [again, alone] {
        assert_eq!(
            std::fs::read(&copy).unwrap(),
            std::fs::read(&first).unwrap()
        );
    }
}

#[test]
fn a_monitor_that_was_stopped_anywhere_goes_on_as_if_it_had_not_been() {
    let input = one_source();
    let folder = tempfile::tempdir().unwrap();
    let (file, group, output) = (folder.path().join("alerts"), name(), name());
    let (jsonl, topic) = (action("jsonl", &file), format!("topic:{output}"));
    // Before anything, in the second that it has to hold, in a cooldown, where it does not hold, in another second.
    for end in [10, 55, 65, 100, 203, 206, 220] {
        let until = format!("offset:{end}");
        let more = ["--group", &group, "--do", &jsonl, "--until", &until];
        run_ok("consumer", shared(), &monitor(&input, &more));
    }
    let log = watch(&input, &["--group", &group, "--do", &jsonl]);
    assert!(log.contains("the monitor goes on"), "{log}");
    assert_eq!(ids_in(&Lines::read(&file)), ids("a", &ALERTS));

    // The same with the alerts in a topic, and with tracks: by transactions.
    let group = name();
    for end in ["offset:55", "offset:65", "offset:203", "end"] {
        let more = ["--group", &group, "--track", "--do", &topic, "--until", end];
        run_ok("consumer", shared(), &monitor(&input, &more));
    }
    let frames = read_committed(shared(), &output);
    let sequences: Vec<u64> = frames
        .iter()
        .map(|one| one.message.id().unwrap().sequence)
        .collect();
    assert_eq!(sequences, ALERTS);
    let Kind::Frame(frame) = &frames[0].message else {
        panic!("an alert is a frame");
    };
    let processors: Vec<&str> = frame
        .results
        .iter()
        .map(|one| one.processor.as_str())
        .collect();
    assert_eq!(processors, ["people", "tracker", "monitor"]);
    assert!(matches!(frame.content, Some(Content::Reference(_))));
}

/// Waits a random time, or until the receiver has one request more, and kills.
fn kill_at_random(consumer: Process, receiver: &Receiver, random: &mut StdRng) {
    let had = receiver.requests().len();
    if random.random_bool(0.5) && had < 2 * ALERTS.len() {
        wait_for("one more alert", || {
            (receiver.requests().len() > had).then_some(())
        });
    } else {
        std::thread::sleep(Duration::from_millis(random.random_range(0..1_200))); // the fault, not a wait
    }
    consumer.kill9();
}

#[test]
fn killed_again_and_again_no_alert_is_lost_and_each_is_known_again() {
    let input = two_sources();
    let folder = tempfile::tempdir().unwrap();
    let (file, group, output) = (folder.path().join("alerts"), name(), name());
    let receiver = Receiver::start(|_| 204);
    let (jsonl, topic) = (action("jsonl", &file), format!("topic:{output}"));
    let webhook = format!("webhook:{}", receiver.url());
    let mut args = monitor(&input, &["--group", &group, "--instance", "one"]);
    args.extend(["--do", &jsonl, "--do", &webhook, "--do", &topic]);
    let mut random = StdRng::seed_from_u64(11);
    for _ in 0..10 {
        let slowly = [&args[..], &["--rate", "8x"]].concat();
        kill_at_random(
            Process::start("consumer", shared(), &slowly),
            &receiver,
            &mut random,
        );
    }
    run_ok(
        "consumer",
        shared(),
        &[&args[..], &["--until", "end"]].concat(),
    );

    let expected: BTreeSet<String> = [ids("a", &ALERTS), ids("b", &ALERTS)]
        .concat()
        .into_iter()
        .collect();
    let once = |found: Vec<String>| {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    };
    once(ids_in(&Lines::read(&file)));
    let frames = read_committed(shared(), &output);
    once(
        frames
            .iter()
            .map(|one| one.message.id().unwrap().to_string())
            .collect(),
    );
    let mut requests = receiver.requests();
    let sent = requests.len();
    let in_order = |source: &str| -> Vec<String> {
        let mut seen = BTreeSet::new();
        let own = keys(&requests)
            .into_iter()
            .filter(|key| key.starts_with(source));
        own.filter(|key| seen.insert(key.clone())).collect()
    };
    assert_eq!(in_order("a"), ids("a", &ALERTS));
    assert_eq!(in_order("b"), ids("b", &ALERTS));
    requests.sort_by(|a, b| a.key.cmp(&b.key));
    requests.dedup();
    println!("{sent} requests for {} alerts", expected.len());
    once(keys(&requests)); // one that came twice was the same to the byte
}

#[test]
fn partitions_that_move_take_what_is_known_of_their_sources_with_them() {
    let input = two_sources();
    let (group, output) = (name(), name());
    let topic = format!("topic:{output}");
    let more = ["--group", &group, "--do", &topic, "--rate", "8x"];
    let args = monitor(&input, &more);
    let first = Process::start("consumer", shared(), &args);
    wait_for("the first alert", || {
        let exists = first.log().contains("the monitor begins here");
        (exists && !read_committed_if_any(&output).is_empty()).then_some(())
    });
    let second = Process::start("consumer", shared(), &args);
    second.wait_for_log("the monitor goes on");
    assert!(first.stop().success());
    wait_for("all alerts", || {
        (read_committed_if_any(&output).len() >= 2 * ALERTS.len()).then_some(())
    });
    assert!(second.stop().success());
    let mut found = read_committed_if_any(&output);
    found.sort();
    let mut expected = [ids("a", &ALERTS), ids("b", &ALERTS)].concat();
    expected.sort();
    assert_eq!(found, expected);
}

/// Ids in a topic that is made by the consumer when it starts.
fn read_committed_if_any(topic: &str) -> Vec<String> {
    let config = pipeline::kafka::KafkaConfig::new(shared()).unwrap();
    let admin = pipeline::kafka::Admin::connect(&config).expect("Kafka answers");
    match admin.topic(topic) {
        Ok(Some(_)) => {
            let seen = read_committed(shared(), topic);
            seen.iter()
                .map(|one| one.message.id().unwrap().to_string())
                .collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn a_webhook_is_asked_again_until_it_takes_the_alert() {
    let input = one_source();
    let receiver = Receiver::start(|number| [503, 429, 200].get(number).copied().unwrap_or(202));
    let webhook = format!("webhook:{}", receiver.url());
    let log = watch(&input, &["--do", &webhook]);
    assert!(
        !log.contains("secret"),
        "the log shows a URL's token\n{log}"
    );
    let requests = receiver.requests();
    let again = [ALERTS[0], ALERTS[0]];
    assert_eq!(keys(&requests), ids("a", &[&again[..], &ALERTS].concat()));
    assert!(requests[..3].iter().all(|one| one.body == requests[0].body));
    let body: Value = serde_json::from_str(&requests[0].body).unwrap();
    assert_eq!(body["id"], "a/1/60");
    assert_eq!(body["frame"]["source"], "a");
}

#[test]
fn an_alert_that_nobody_takes_ends_the_consumer_and_is_the_first_when_it_is_started_again() {
    let input = one_source();
    let group = name();
    let receiver = Receiver::start(|number| if number == 1 { 404 } else { 200 });
    let webhook = format!("webhook:{}", receiver.url());
    let args = monitor(
        &input,
        &["--group", &group, "--do", &webhook, "--until", "end"],
    );
    let (code, log) = run("consumer", shared(), &args);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("did not take alert a/1/210"), "{log}");
    assert!(log.contains("404"), "{log}");
    run_ok("consumer", shared(), &args);
    let requests = receiver.requests();
    let took: Vec<_> = requests
        .iter()
        .filter(|one| one.answer == 200)
        .cloned()
        .collect();
    let first = &requests[..2];
    assert_eq!(keys(first), ids("a", &ALERTS[..2]));
    // The one before may have been committed, or comes again.
    let mut seen = BTreeSet::new();
    let once: Vec<String> = keys(&took)
        .into_iter()
        .filter(|key| seen.insert(key.clone()))
        .collect();
    assert_eq!(once, ids("a", &ALERTS));
}

#[test]
fn a_consumer_that_is_stopped_while_nobody_takes_an_alert_ends_at_once_and_loses_nothing() {
    let input = one_source();
    let group = name();
    let receiver = Receiver::start(|_| 503);
    let webhook = format!("webhook:{}", receiver.url());
    let args = monitor(&input, &["--group", &group, "--do", &webhook]);
    let mut consumer = Process::start("consumer", shared(), &args);
    consumer.wait_for_log("trying again");
    consumer.signal(Signal::SIGTERM);
    assert_eq!(consumer.wait().code(), Some(1));
    let log = consumer.log();
    assert!(log.contains("stopped before it could try again"), "{log}");

    let receiver = Receiver::start(|_| 200);
    let webhook = format!("webhook:{}", receiver.url());
    watch(&input, &["--group", &group, "--do", &webhook]);
    assert_eq!(keys(&receiver.requests()), ids("a", &ALERTS));
}

#[test]
fn a_command_is_given_the_alert_and_the_picture_and_run_again_if_it_fails() {
    let input = one_source();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let command = format!(
        "exec:mkdir {} && exit 3; cat >> {}; cat \"$FRAMELANE_PICTURE\" >> {}; echo \"$FRAMELANE_ALERT_ID $FRAMELANE_PICTURE\" >> {}",
        at("failed"),
        at("alerts"),
        at("pictures"),
        at("ids")
    );
    let log = watch(&input, &["--do", &command]);
    assert!(log.contains("trying again"), "{log}");
    assert_eq!(
        ids_in(&Lines::read(&folder.path().join("alerts"))),
        ids("a", &ALERTS)
    );
    let pictures = std::fs::read(at("pictures")).unwrap();
    let begins = pictures
        .windows(3)
        .filter(|bytes| *bytes == b"\xff\xd8\xff");
    assert_eq!(begins.count(), ALERTS.len());
    let told = std::fs::read_to_string(at("ids")).unwrap();
    let told: Vec<(&str, &str)> = told
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let told_ids: Vec<&str> = told.iter().map(|(id, _)| *id).collect();
    assert_eq!(told_ids, ids("a", &ALERTS));
    assert!(
        told.iter().all(|(_, picture)| !Path::new(picture).exists()),
        "pictures are left behind"
    );

    let (code, log) = run(
        "consumer",
        shared(),
        &monitor(
            &input,
            &["--until", "end", "--do", "exec:framelane-no-such-command"],
        ),
    );
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("exec framelane-no-such-command did not take alert a/1/60"),
        "{log}"
    );
}

#[test]
fn sinks_show_only_what_passes_and_numbers_are_of_everything() {
    let input = one_source();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let sinks = [
        action("jsonl", &at("lines")),
        action("jpeg", &at("stills")),
        action("stats", &at("stats")),
    ];
    let mut args = vec!["--topic", &input, "--when", SOMEBODY, "--until", "end"];
    sinks.iter().for_each(|sink| args.extend(["--sink", sink]));
    run_ok("consumer", shared(), &args);
    let expected: Vec<u64> = (0..FRAMES)
        .filter(|at| is_there(*at) && *at != 205)
        .collect();
    let lines = Lines::read(&at("lines"));
    assert_eq!(lines.sequences(), expected);
    assert_eq!(lines.0.len(), expected.len(), "gaps and ends pass nothing");
    assert_eq!(
        std::fs::read_dir(at("stills")).unwrap().count(),
        expected.len()
    );
    let stats: Value = serde_json::from_slice(&std::fs::read(at("stats")).unwrap()).unwrap();
    assert_eq!(stats["frames"], FRAMES - 1);
    assert_eq!(stats["gap_frames"], 1);
    assert_eq!(stats["lost"], 0);
}

#[test]
fn what_is_wrong_with_a_condition_is_shown_before_anything_is_read() {
    for (condition, place, why) in [
        (
            "results.exists(r, r.status == 'ok'",
            "line 1, column 35",
            "missing ')'",
        ),
        (
            "results.exists(r, r.detection.size() > 0)",
            "line 1, column 21",
            "a result has no \"detection\"",
        ),
        (
            "resultss.size() > 0",
            "line 1, column 1",
            "there is no \"resultss\"",
        ),
        (
            "results.size()",
            "line 1, column",
            "a condition is true or false",
        ),
    ] {
        let (code, log) = run(
            "consumer",
            "127.0.0.1:1",
            &["--topic", "t", "--when", condition],
        );
        assert_eq!(code, Some(2), "{log}");
        assert!(
            log.contains(place) && log.contains(why) && log.contains(condition),
            "{log}"
        );
        assert!(log.trim_end().ends_with('^'), "{log}");
    }
    let (code, log) = run(
        "consumer",
        "127.0.0.1:1",
        &["--topic", "t", "--do", "exec:true"],
    );
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("--when"), "{log}");
}

#[test]
fn what_cannot_be_told_of_a_frame_is_not_true_and_said() {
    let input = one_source();
    let file = tempfile::tempdir().unwrap();
    let jsonl = action("jsonl", &file.path().join("alerts"));
    let when = "labels.site == 'north' || sequence == 7";
    let args = [
        "--topic", &input, "--until", "end", "--when", when, "--do", &jsonl,
    ];
    let (code, log) = run("consumer", shared(), &args);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("--when cannot be told for a frame"), "{log}");
    assert_eq!(
        ids_in(&Lines::read(&file.path().join("alerts"))),
        ids("a", &[7])
    );
}
