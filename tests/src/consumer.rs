//! Video out: what a consumer shows is what the topic holds, from anywhere to anywhere, as often as asked.

use crate::harness::{
    Follower, Lines, Process, consume, frame, lines_so_far, name, pictures, processor, program,
    publish, publish_raw, publish_records, run, run_ok, scrape, shared, topic, wait_for,
};
use kafka_node::{Kafka, Options};
use pipeline::kafka::{Admin, KafkaConfig};
use pipeline::wire::now_unix_ns;
use std::path::Path;
use std::process::Command;

#[test]
fn pictures_that_several_topics_refer_to_are_read_in_step_by_each_of_them() {
    let base = pattern(400);
    let (_echo, url) = processor(&["echo"]);
    let outputs = [1, 2, 3].map(|number| format!("{base}.{number}"));
    for output in &outputs {
        let args = [
            "--input",
            &base,
            "--output",
            output,
            "--processor",
            &url,
            "--content",
            "reference",
        ];
        let broker = Process::start("broker", shared(), &args);
        Follower::new(shared(), output).wait_for(401);
        assert!(broker.stop().success());
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lines");
    let [port] = kafka_node::free_ports::<1>().unwrap();
    let (metrics, sink) = (
        format!("127.0.0.1:{port}"),
        format!("jsonl:{}", file.display()),
    );
    let mut args = vec!["--from", "earliest", "--verify-picture", "--sink", &sink];
    args.extend(["--metrics", &metrics]);
    args.extend(outputs.iter().flat_map(|output| ["--topic", output]));
    let consumer = Process::start("consumer", shared(), &args);
    wait_for("all frames", || {
        (lines_so_far(&file).kind("frame").0.len() == 1_200).then_some(())
    });
    let metrics = scrape(port).expect("it serves metrics");
    let jumps = metrics
        .lines()
        .find_map(|line| line.strip_prefix("framelane_reference_jumps_total "));
    let jumps: u64 = jumps.expect("pictures were fetched").parse().unwrap();
    // Each stream begins with one, and so may others where one runs ahead of the next.
    assert!(jumps <= 16, "{jumps} jumps for 3 streams of 400 frames");
    assert!(
        !metrics.contains("framelane_consumer_anomalies_total"),
        "the same frames in another topic are no duplicates: {metrics}"
    );
    assert!(consumer.stop().success());
}

#[test]
fn a_consumer_without_a_partition_says_what_it_waits_for() {
    let (topic, group) = (pattern(1), name());
    let args = ["--topic", &topic, "--group", &group, "--sink", "null"];
    let first = Process::start("consumer", shared(), &args);
    first.wait_for_log("reading partition");
    let second = Process::start("consumer", shared(), &args);
    second.wait_for_log("waiting for Kafka to give this consumer a partition");
    assert!(second.log().contains("lag ?"), "{}", second.log());
    assert!(second.stop().success() && first.stop().success());
}

/// Publishes frames of a test picture; returns the new topic, which is also the source.
fn pattern(count: u64) -> String {
    let (topic, count) = (name(), count.to_string());
    let args = [
        "--pattern",
        "160x120@100",
        "--pace",
        "max",
        "--topic",
        &topic,
        "--count",
        &count,
    ];
    run_ok("producer", shared(), &args);
    topic
}

/// The pictures of a folder, in the order of their numbers, which must run from 1 without a hole.
pub fn stills(folder: &Path) -> Vec<Vec<u8>> {
    let names = || {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
    };
    let count = names()
        .filter(|name| name.to_string_lossy().starts_with("Frame"))
        .count();
    let read = |n| std::fs::read(folder.join(format!("Frame{n:05}.jpg")));
    (1..=count)
        .map(|n| read(n).expect("numbered without a hole"))
        .collect()
}

#[test]
fn a_replay_gives_the_same_bytes_again() {
    let input = topic(shared(), 1);
    for round in 0..3 {
        publish(shared(), &input, "left", round * 20..(round + 1) * 20);
        publish(shared(), &input, "right", round * 20..(round + 1) * 20);
        publish_raw(shared(), &input, "right", b"\xffno envelope");
    }
    let dir = tempfile::tempdir().unwrap();
    let replay = |file: &str| {
        let path = dir.path().join(file);
        let sink = format!("jsonl:{}", path.display());
        run_ok(
            "consumer",
            shared(),
            &["--topic", &input, "--until", "end", "--sink", &sink],
        );
        std::fs::read(path).unwrap()
    };
    let first = replay("first");
    assert_eq!(first.iter().filter(|byte| **byte == b'\n').count(), 123);
    assert!(first == replay("second"), "the second replay differs");
}

#[test]
fn every_group_sees_everything_and_goes_on_where_it_stopped() {
    let topic = pattern(100);
    let (early, late) = (name(), name());
    let read = |group: &str, until: &str| {
        consume(shared(), &topic, &["--group", group, "--until", until]).sequences()
    };
    assert_eq!(read(&early, "count:30"), (0..30).collect::<Vec<_>>());
    assert_eq!(read(&early, "end"), (30..100).collect::<Vec<_>>());
    assert_eq!(read(&late, "end"), (0..100).collect::<Vec<_>>());
    run_ok(
        "producer",
        shared(),
        &[
            "--pattern",
            "160x120@100",
            "--topic",
            &topic,
            "--count",
            "5",
        ],
    );
    assert_eq!(
        read(&early, "end"),
        (0..5).collect::<Vec<_>>(),
        "of the next epoch"
    );
}

#[test]
fn reading_begins_and_ends_where_it_is_told_to() {
    let input = topic(shared(), 1);
    let begin_ms = now_unix_ns() / 1_000_000 - 100_000;
    publish_records(
        shared(),
        (0..100).map(|sequence| {
            let mut record = frame(&input, "a", sequence);
            record.timestamp_ms = begin_ms + sequence as i64 * 1_000;
            record
        }),
    );
    let time = |sequence: i64| {
        let time = jiff::Timestamp::from_millisecond(begin_ms + sequence * 1_000).unwrap();
        format!("time:{time}")
    };
    for (from, until, expected) in [
        ("earliest", "end", 0..100),
        ("offset:40", "end", 40..100),
        ("offset:40", "offset:60", 40..60),
        ("earliest", "count:7", 0..7),
        ("offset:95", "count:3", 95..98),
        (&time(40), "end", 40..100),
        ("earliest", &time(60), 0..60),
        (&time(40), &time(60), 40..60),
        ("latest", "end", 100..100),
    ] {
        let lines = consume(shared(), &input, &["--from", from, "--until", until]);
        assert_eq!(
            lines.sequences(),
            expected.collect::<Vec<_>>(),
            "--from {from} --until {until}"
        );
    }
}

#[test]
fn a_live_view_ends_when_its_sources_have_ended() {
    let topic = topic(shared(), 1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lines");
    let sink = format!("jsonl:{}", file.display());
    let args = [
        "--topic", &topic, "--from", "latest", "--until", "eos", "--sink", &sink,
    ];
    let view = Process::start("consumer", shared(), &args);
    view.wait_for_log("reading");
    run_ok(
        "producer",
        shared(),
        &[
            "--pattern",
            "160x120@100",
            "--topic",
            &topic,
            "--count",
            "50",
        ],
    );
    let (code, log) = view.outcome();
    assert_eq!(code, Some(0), "{log}");
    Lines::read(&file).assert_run(&topic, 1, 50, "finished");
}

#[test]
fn a_record_that_is_no_envelope_is_named_and_the_others_are_shown() {
    let input = topic(shared(), 1);
    publish(shared(), &input, "a", 0..5);
    publish_raw(shared(), &input, "a", b"\xff\xffnot an envelope");
    publish(shared(), &input, "a", 5..10);
    let dir = tempfile::tempdir().unwrap();
    let sink = format!("jpeg:{}", dir.path().display());
    let lines = consume(shared(), &input, &["--sink", &sink]);
    assert_eq!(lines.sequences(), (0..10).collect::<Vec<_>>());
    let broken = lines.kind("undecodable").0;
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0]["offset"], 5);
    assert!(!broken[0]["error"].as_str().unwrap().is_empty());
    assert_eq!(
        stills(dir.path()).len(),
        11,
        "a picture that says so is in its place"
    );
}

#[test]
fn pictures_behind_references_are_shown_as_if_they_were_there() {
    let input = pattern(60);
    let (middle, output) = (format!("{input}.echo"), format!("{input}.twice"));
    let (_echo, url) = processor(&["echo"]);
    let by_reference = |from: &str, to: &str| {
        let args = [
            "--input",
            from,
            "--output",
            to,
            "--processor",
            &url,
            "--content",
            "reference",
        ];
        Process::start("broker", shared(), &args)
    };
    let _first = by_reference(&input, &middle);
    Follower::new(shared(), &middle).wait_for(61);
    let _second = by_reference(&middle, &output);
    Follower::new(shared(), &output).wait_for(61);
    let dir = tempfile::tempdir().unwrap();
    let sink = format!("jpeg:{}", dir.path().display());
    let lines = consume(shared(), &output, &["--sink", &sink, "--verify-picture"]);
    lines.assert_run(&input, 1, 60, "finished");
    assert!(
        lines
            .kind("frame")
            .0
            .iter()
            .all(|line| line["content"] == "reference")
    );
    let originals: Vec<_> = pictures(shared(), &input)
        .into_iter()
        .map(|(_, jpeg)| jpeg)
        .collect();
    assert!(
        stills(dir.path()) == originals,
        "the pictures are not the original ones"
    );
}

#[test]
fn viewers_leave_no_trace_in_kafka() {
    let kafka = Kafka::start_jars(&Options::default()).expect("a Kafka that no group ever used");
    let servers = kafka.bootstrap_servers();
    let input = topic(servers, 2);
    publish(servers, &input, "a", 0..50);
    let config = KafkaConfig::new(servers).unwrap();
    // Groups and their commits are records there.
    let group_records = || -> i64 {
        let admin = Admin::connect(&config).unwrap();
        let lanes = admin.partitions("__consumer_offsets").unwrap_or_default();
        lanes.iter().map(|lane| admin.ends(lane).unwrap().1).sum()
    };
    for _ in 0..2 {
        assert_eq!(consume(servers, &input, &[]).sequences().len(), 50);
    }
    assert_eq!(group_records(), 0, "a view without --group left something");
    let by_group = consume(servers, &input, &["--group", "g"]);
    assert_eq!(by_group.sequences().len(), 50);
    assert!(group_records() > 0, "this test looks in the wrong place");
}

#[test]
fn without_a_display_the_window_names_the_other_sinks() {
    let topic = pattern(1);
    let mut command = Command::new(program("consumer"));
    command
        .args([
            "--topic",
            &topic,
            "--sink",
            "window",
            "--bootstrap-servers",
            shared(),
        ])
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY");
    let (code, log) = Process::spawn("consumer --sink window", command).outcome();
    assert_eq!(code, Some(1), "{log}");
    for sink in ["video:", "jpeg:", "jsonl:", "stats"] {
        assert!(log.contains(sink), "{log}");
    }
}

#[test]
fn nobodys_output_is_overwritten_and_no_two_consumers_write_one() {
    let topic = pattern(30);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lines");
    let sink = format!("jsonl:{}", file.display());
    std::fs::write(&file, "somebody's\n").unwrap();
    let args = ["--topic", &topic, "--until", "end", "--sink", &sink];
    let (code, log) = run("consumer", shared(), &args);
    assert!(
        code == Some(2) && log.contains("--overwrite"),
        "{code:?} {log}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's\n");

    let live = [
        "--topic",
        &topic,
        "--from",
        "earliest",
        "--overwrite",
        "--sink",
        &sink,
    ];
    let writing = Process::start("consumer", shared(), &live);
    let lines = || {
        std::fs::read_to_string(&file)
            .ok()
            .filter(|text| text.lines().count() == 31)
    };
    wait_for("the first consumer's lines", lines);
    let (code, log) = run(
        "consumer",
        shared(),
        &[&args[..], &["--overwrite"]].concat(),
    );
    assert!(
        code == Some(2) && log.contains("another consumer"),
        "{code:?} {log}"
    );
    assert!(writing.stop().success());
    assert_eq!(Lines::read(&file).sequences().len(), 30);
}
