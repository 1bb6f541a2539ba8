//! Monitors raise the same alerts at the same frames in every run, wherever they were stopped, killed or moved.

mod actions;
mod report;
mod scene;

use crate::harness::{
    Lines, Process, Receiver, name, read_committed, run, run_ok, shared, wait_for,
};
use pipeline::envelope::Kind;
use pipeline::v1::frame::Content;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use scene::{
    ALERTS, FRAMES, SOMEBODY, action, ids, ids_in, is_there, keys, monitor, one_source,
    two_sources, watch,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

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
