//! Calls for several frames at once: grouped across partitions, and each frame with its own deadline, attempts and place.

use crate::harness::{
    Follower, Lines, Process, assert_complete, broker, consume, frame, processor, publish_records,
    read_committed, shared, topic,
};
use serde_json::Value;

/// A topic with some frames of `sources` sources, each in a partition of its own.
fn filled(sources: u64, frames: u64) -> (String, Vec<String>) {
    let input = topic(shared(), i32::try_from(sources).unwrap());
    let names: Vec<String> = (0..sources).map(|number| format!("s{number}")).collect();
    let records = (0..frames).flat_map(|sequence| {
        let input = &input;
        names.iter().enumerate().map(move |(partition, source)| {
            let mut record = frame(input, source, sequence);
            record.partition = i32::try_from(partition).ok();
            record
        })
    });
    publish_records(shared(), records);
    (input, names)
}

/// A processor that wants batches of four, and waits long enough for a whole one.
fn batching(more: &[&str]) -> (Process, String) {
    let args = ["chaos", "--batch", "4", "--batch-wait", "2s"];
    processor(&[&args[..], more].concat())
}

/// What came out, once it is complete and in order.
fn complete(broker: Process, input: &str, names: &[String], frames: u64) -> Lines {
    let output = format!("{input}.out");
    let mut follower = Follower::new(shared(), &output);
    follower.wait_for(names.len() * frames as usize);
    assert!(broker.stop().success());
    drop(follower);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_complete(&read_committed(shared(), &output), &names, frames);
    consume(shared(), &output, &[])
}

fn result(line: &Value) -> &Value {
    &line["results"][0]
}

/// How many frames or sources were in the call that a frame's result is from.
fn in_call(line: &Value, what: &str) -> u64 {
    result(line)["attributes"][what].as_f64().unwrap_or(1.0) as u64
}

#[test]
fn frames_of_several_partitions_go_out_in_one_call_and_come_back_in_order() {
    // Of three frames a source has, four are of two sources at least.
    let (input, names) = filled(8, 3);
    let (_processor, url) = batching(&["--delay", "lognormal:p50=5ms,p99=100ms"]);
    let broker = broker(shared(), &input, &[&url], &[]);
    let lines = complete(broker, &input, &names, 3).kind("frame").0;
    for line in &lines {
        assert_eq!(result(line)["status"], "ok", "{line}");
        assert_eq!(result(line)["attempts"], 1, "{line}");
        assert!(in_call(line, "frames") <= 4, "{line}");
    }
    let is_shared = |line: &&Value| in_call(line, "frames") > 1 && in_call(line, "sources") > 1;
    let together = lines.iter().filter(is_shared).count();
    assert!(
        together >= 8,
        "{together} frames shared a call with another source's"
    );
}

#[test]
fn a_frame_that_spoils_its_batch_takes_no_other_down_though_each_has_one_attempt() {
    let (input, names) = filled(3, 8);
    // Three frames of this number never fill a batch of four alone.
    let (_processor, url) = batching(&["--error-on", "3"]);
    let broker = broker(
        shared(),
        &input,
        &[&url],
        &["--attempts", "1", "--backoff", "5ms"],
    );
    let lines = complete(broker, &input, &names, 8).kind("frame").0;
    for line in &lines {
        let spoils = line["sequence"] == 3;
        let (status, attempts) = (&result(line)["status"], &result(line)["attempts"]);
        assert_eq!(status, if spoils { "error" } else { "ok" }, "{line}");
        // In a batch; and then alone, if there was one in it that spoils it.
        assert!(*attempts == 2 || (*attempts == 1 && !spoils), "{line}");
    }
    let again = |line: &&Value| result(line)["attempts"] == 2 && line["sequence"] != 3;
    assert!(
        lines.iter().filter(again).count() > 0,
        "no other frame was in a batch with one that spoils it"
    );
}

#[test]
fn a_frame_that_hangs_costs_its_batch_one_deadline() {
    let (input, names) = filled(3, 8);
    let (_processor, url) = batching(&["--hang-on", "2"]);
    let limits = ["--deadline", "5s", "--attempts", "1", "--backoff", "5ms"];
    let broker = broker(shared(), &input, &[&url], &limits);
    let lines = complete(broker, &input, &names, 8).kind("frame").0;
    for line in &lines {
        let status = if line["sequence"] == 2 {
            "timeout"
        } else {
            "ok"
        };
        assert_eq!(result(line)["status"], status, "{line}");
    }
}

#[test]
fn a_broker_killed_with_batches_under_way_loses_and_doubles_nothing() {
    let (input, names) = filled(4, 100);
    let (_processor, url) = batching(&["--delay", "fixed:20ms"]);
    let more = ["--instance", &input, "--in-flight", "2"];
    let output = format!("{input}.out");
    for count in [1, 60, 150] {
        let broker = broker(shared(), &input, &[&url], &more);
        Follower::new(shared(), &output).wait_for(count);
        broker.kill9();
    }
    let broker = broker(shared(), &input, &[&url], &more);
    complete(broker, &input, &names, 100);
}

#[test]
fn a_replica_that_takes_single_frames_only_makes_all_calls_single() {
    let (input, names) = filled(4, 6);
    let (_batching, first) = batching(&[]);
    let (_single, second) = processor(&["echo"]);
    let broker = broker(shared(), &input, &[&first, &second], &[]);
    let lines = complete(broker, &input, &names, 6).kind("frame").0;
    assert!(lines.iter().all(|line| result(line)["status"] == "ok"));
}
