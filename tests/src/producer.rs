//! Video in: every picture that is captured is in Kafka once and in order, or announced as missing.

use crate::harness::{
    Follower, Process, clip, consume, name, pictures, publish_records, read_committed, run, run_ok,
    shared, topic,
};
use pipeline::trace::TraceContext;
use pipeline::{envelope::Kind, wire};
use serde_json::Value;

/// Publishes `count` frames of a test picture as fast as possible; returns the new topic, which is also the source.
fn pattern(count: u64, more: &[&str]) -> String {
    let topic = name();
    let count = count.to_string();
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
    run_ok("producer", shared(), &[&args[..], more].concat());
    topic
}

#[test]
fn frames_are_numbered_from_0_and_their_pixels_say_the_same() {
    let topic = pattern(120, &[]);
    let lines = consume(shared(), &topic, &["--verify-picture"]);
    lines.assert_run(&topic, 1, 120, "finished");
    let times = lines.numbers("frame", "capture_time_unix_ns");
    assert!(times.is_sorted(), "captured in the order of the sequence");
}

#[test]
fn a_picture_under_another_frames_id_is_found_out() {
    let (source, mixed_up) = (pattern(10, &[]), topic(shared(), 1));
    let swapped = read_committed(shared(), &source).into_iter().map(|one| {
        let Kind::Frame(mut frame) = one.message else {
            return wire::to_record(
                &mixed_up.as_str().into(),
                &one.message,
                0,
                &TraceContext::root(),
            );
        };
        if let Some(id) = &mut frame.id {
            id.sequence ^= 1;
        }
        let captured_ms = frame.capture_time_unix_ns / 1_000_000;
        wire::to_record(
            &mixed_up.as_str().into(),
            &Kind::Frame(frame),
            captured_ms,
            &TraceContext::root(),
        )
    });
    publish_records(shared(), swapped.map(|record| record.unwrap()));
    let (code, log) = run(
        "consumer",
        shared(),
        &["--topic", &mixed_up, "--until", "end", "--verify-picture"],
    );
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("10 of 10"), "{log}");
}

#[test]
fn a_source_that_is_stopped_says_so_on_the_wire() {
    let topic = name();
    let args = ["--pattern", "160x120@50", "--topic", &topic];
    let producer = Process::start("producer", shared(), &args);
    Follower::new(shared(), &topic).wait_for(20);
    assert!(producer.stop().success());
    let lines = consume(shared(), &topic, &[]);
    let count = lines.sequences().len() as u64;
    assert!(count >= 20);
    lines.assert_run(&topic, 1, count, "stopped");
}

#[test]
fn pictures_of_a_folder_are_sent_as_they_are_in_the_order_people_expect() {
    let topic = pattern(12, &[]);
    let originals: Vec<_> = pictures(shared(), &topic)
        .into_iter()
        .map(|(_, jpeg)| jpeg)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    for (n, jpeg) in originals.iter().enumerate() {
        // shot2 comes before shot10.
        std::fs::write(folder.path().join(format!("shot{n}.jpg")), jpeg).unwrap();
    }
    std::fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
    let imported = name();
    let images = folder.path().to_str().unwrap();
    run_ok(
        "producer",
        shared(),
        &["--images", images, "--topic", &imported, "--pace", "max"],
    );
    consume(shared(), &imported, &[]).assert_run(&imported, 1, 12, "finished");
    let sent: Vec<_> = pictures(shared(), &imported)
        .into_iter()
        .map(|(_, jpeg)| jpeg)
        .collect();
    assert_eq!(sent, originals);
}

#[test]
fn a_damaged_source_ends_as_failed_and_disturbs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let whole_clip = std::fs::read(clip()).unwrap();
    let cut = dir.path().join("cut.mp4");
    std::fs::write(&cut, &whole_clip[..whole_clip.len() / 2]).unwrap();
    let donor = pattern(3, &[]);
    let folder = dir.path().join("stills");
    std::fs::create_dir(&folder).unwrap();
    for (n, (_, jpeg)) in pictures(shared(), &donor).iter().enumerate() {
        let bytes = if n == 2 {
            &jpeg[..jpeg.len() / 2]
        } else {
            &jpeg[..]
        };
        std::fs::write(folder.join(format!("{n}.jpg")), bytes).unwrap();
    }
    let topic = name();
    let config = dir.path().join("sources.yaml");
    let text = format!(
        "sources:\n\
         - {{file: {}, topic: {topic}, source-id: cut, pace: max}}\n\
         - {{images: {}, topic: {topic}, source-id: torn, pace: max}}\n\
         - {{pattern: 160x120@50, topic: {topic}, source-id: whole, count: 150}}\n",
        cut.display(),
        folder.display()
    );
    std::fs::write(&config, text).unwrap();
    let (code, log) = run(
        "producer",
        shared(),
        &["--config", config.to_str().unwrap()],
    );
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("2 of 3 sources failed") && log.contains("cut.mp4 ends early"),
        "{log}"
    );

    let lines = consume(shared(), &topic, &[]);
    lines.assert_run("whole", 1, 150, "finished");
    lines.assert_run("torn", 1, 2, "failed");
    let cut_after = lines.of("cut", 1).sequences().len() as u64;
    assert!((1..220).contains(&cut_after), "{cut_after} frames");
    lines.assert_run("cut", 1, cut_after, "failed");
    let detail = lines.of("torn", 1).kind("end").0[0]["detail"].to_string();
    assert!(detail.contains("2.jpg"), "{detail}");
}

#[test]
fn what_an_overload_drops_is_announced_in_its_place() {
    let (topic, dir) = (name(), tempfile::tempdir().unwrap());
    // PNGs of this size take longer to encode than the pictures are apart, by far.
    let args = [
        "--pattern",
        "1920x1080@500",
        "--codec",
        "png",
        "--count",
        "120",
    ];
    let more = ["--overload", "drop-oldest", "--topic", &topic];
    run_ok("producer", shared(), &[&args[..], &more].concat());
    let file = dir.path().join("stats.json");
    let stats = format!("stats:{}", file.display());
    let lines = consume(shared(), &topic, &["--sink", &stats, "--verify-picture"]);
    let (mut next, mut dropped) = (0, 0);
    for line in &lines.0[..lines.0.len() - 1] {
        assert_eq!(line["sequence"], next, "a silent hole: {line}");
        if line["kind"] == "gap" {
            assert_eq!(line["reason"], "overload");
            dropped += line["count"].as_u64().unwrap();
        }
        next += line["count"].as_u64().unwrap_or(1);
    }
    assert_eq!(next, 120);
    assert!(
        dropped > 0,
        "nothing was dropped: this test needs a slower encoder"
    );
    let end = lines.0.last().unwrap();
    assert_eq!(
        (&end["kind"], &end["sequence"]),
        (&"end".into(), &119.into())
    );
    let stats: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(
        (&stats["lost"], &stats["gap_frames"]),
        (&0.into(), &dropped.into())
    );
}

#[test]
fn a_source_spread_over_partitions_comes_back_in_order() {
    let topic = pattern(400, &["--spread"]);
    let read = consume(shared(), &topic, &[]);
    for partition in 0..4 {
        let here = read
            .0
            .iter()
            .filter(|line| line["partition"] == partition && line["kind"] == "frame");
        assert_eq!(here.count(), 100, "partition {partition}");
    }
    let ordered = consume(shared(), &topic, &["--reorder", "--verify-picture"]);
    ordered.assert_run(&topic, 1, 400, "finished");
}

#[test]
fn two_sources_of_one_process_have_their_own_epochs_and_order() {
    let (topic, dir) = (name(), tempfile::tempdir().unwrap());
    let config = dir.path().join("sources.yaml");
    let source = |id| {
        format!(
            "- {{pattern: 160x120@100, topic: {topic}, source-id: {id}, count: 100, pace: max}}\n"
        )
    };
    std::fs::write(
        &config,
        format!("sources:\n{}{}", source("left"), source("right")),
    )
    .unwrap();
    for epoch in [1, 2] {
        run_ok(
            "producer",
            shared(),
            &["--config", config.to_str().unwrap()],
        );
        let lines = consume(shared(), &topic, &["--verify-picture"]);
        lines.assert_run("left", epoch, 100, "finished");
        lines.assert_run("right", epoch, 100, "finished");
    }
}
