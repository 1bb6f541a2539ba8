//! Kafka names no node for a while, as a node does that was stalled: librdkafka then gives up all connections for good (see
//! `pipeline::kafka::forgotten`).

use crate::faults_lab::{Network, output_of};
use crate::harness::{
    Follower, Lab, Process, Seen, assert_complete, broker, lines_so_far, name, offsets_used,
    processor, publish, read_committed, topic, wait_for,
};
use std::time::Duration;

/// Every client that lives now asks at least twice in this time, for it looks every 5 s whether it is lost.
const HIDDEN: Duration = Duration::from_secs(12);

impl Network {
    /// Makes all clients of this network lose all nodes.
    fn hide_nodes_for_a_while(&self) {
        self.proxy.hide_nodes();
        std::thread::sleep(HIDDEN); // the fault itself
        self.proxy.show_nodes();
    }
}

/// Epochs and sequences, in the order of the records.
fn frames_of(seen: &[Seen]) -> Vec<(u64, u64)> {
    let ids = seen.iter().filter_map(|one| one.message.id());
    ids.map(|id| (id.epoch, id.sequence)).collect()
}

#[test]
fn a_producer_that_has_lost_all_nodes_finds_them_again_and_sends_all_it_holds() {
    let network = Network::new();
    let topic = name();
    let args = ["--pattern", "160x120@20", "--topic", &topic];
    let producer = Process::start("producer", &network.servers(), &args);
    let mut output = Follower::new(network.direct, &topic);
    output.wait_for(10);
    network.hide_nodes_for_a_while();
    producer.wait_for_log("it is told where Kafka is");
    output.wait_for(offsets_used(network.direct, &topic) + 40);
    assert!(producer.stop().success());
    let frames = frames_of(&read_committed(network.direct, &topic));
    let last = frames.len() as u64 - 1; // the record of the end has the last frame's id
    let expected: Vec<_> = (0..last).chain([last - 1]).map(|it| (1, it)).collect();
    assert_eq!(frames, expected);
}

#[test]
fn a_producer_that_has_lost_all_nodes_sends_nothing_behind_a_newer_start() {
    let network = Network::new();
    let topic = name();
    let args = ["--pattern", "160x120@20", "--topic", &topic];
    let older = Process::start("producer", &network.servers(), &args);
    let mut output = Follower::new(network.direct, &topic);
    output.wait_for(10);
    network.hide_nodes_for_a_while();
    let newer = Process::start("producer", network.direct, &args);
    let (code, log) = older.outcome();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("taken over by"), "{log}");
    assert!(newer.stop().success());
    let frames = frames_of(&read_committed(network.direct, &topic));
    assert!(frames.is_sorted(), "{frames:?}");
    assert_eq!(frames.last().map(|(epoch, _)| *epoch), Some(2));
}

#[test]
fn a_broker_that_has_lost_all_nodes_finds_them_again() {
    let network = Network::new();
    let input = topic(network.direct, 1);
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:10ms"]);
    publish(network.direct, &input, "a", 0..3000);
    let broker = broker(&network.servers(), &input, &[&url], &["--in-flight", "1"]);
    let mut output = Follower::new(network.direct, &output_of(&input));
    output.wait_for(50);
    network.hide_nodes_for_a_while();
    output.wait_for(3000);
    drop(output);
    assert!(broker.stop().success());
    assert_complete(
        &read_committed(network.direct, &output_of(&input)),
        &["a"],
        3000,
    );
}

#[test]
fn a_tracking_consumer_that_has_lost_all_nodes_tracks_on() {
    let network = Network::new();
    let (input, output, group) = (topic(network.direct, 1), name(), name());
    let args = [
        "--topic", &input, "--group", &group, "--track", "--output", &output,
    ];
    publish(network.direct, &input, "a", 0..200);
    let consumer = Process::start("consumer", &network.servers(), &args);
    let mut tracked = Follower::new(network.direct, &output);
    tracked.wait_for(200);
    network.hide_nodes_for_a_while();
    publish(network.direct, &input, "a", 200..400);
    tracked.wait_for(400);
    // Its group has forgotten it meanwhile, so it had to find its tracks again.
    assert!(consumer.log().contains("tracking goes on"));
    drop(tracked);
    assert!(consumer.stop().success());
    assert_complete(&read_committed(network.direct, &output), &["a"], 400);
}

#[test]
fn a_managed_consumer_that_has_lost_all_nodes_reads_what_comes_later() {
    let network = Network::new();
    let lab = Lab::new(network.direct);
    let (camera, consumer) = (name(), name());
    let lines = lab.path("lines.jsonl");
    lab.apply_pattern(&camera, "");
    let sinks = [format!("jsonl:{}", lines.display())];
    lab.apply_consumer(&consumer, "wait", &sinks, &[&camera]);
    let args = ["--managed", "--name", &consumer, "--registry", &lab.topic];
    let process = Process::start("consumer", &network.servers(), &args);
    lab.wait_until_assigned(&consumer);
    network.hide_nodes_for_a_while();
    let _producer = lab.producer();
    wait_for("frames of a topic that was not there", || {
        let seen = lines_so_far(&lines).of(&camera, 1).sequences();
        (seen.len() >= 10).then_some(())
    });
    assert!(process.stop().success());
}
