//! The network between the broker and Kafka is slow, or loses everything for a while.

use crate::faults_lab::{LIMIT, Network, output_of};
use crate::harness::{
    Follower, Process, assert_complete, broker, large_frame, name, processor, publish,
    publish_records, publish_while, read_committed, topic, wait_for,
};
use kafka_proxy::{Api, Direction, Point, Reaction};
use pipeline::kafka::{KafkaConfig, Writer};
use std::time::{Duration, Instant};

#[test]
fn cuts_of_the_network_in_either_or_both_directions_cost_nothing() {
    let network = Network::new();
    let (direct, servers) = (network.direct, network.servers());
    let input = topic(direct, 2);
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:5ms"]);
    for source in ["a", "b"] {
        publish(direct, &input, source, 0..800);
    }
    let broker = broker(&servers, &input, &[&url], &["--in-flight", "2"]);
    let mut output = Follower::new(direct, &output_of(&input));
    // The session lasts 6 s: two of the cuts outlast it, and the group gives the broker up meanwhile.
    for (cut, seconds, frames) in [
        (Direction::Both, 2, 100),
        (Direction::ToKafka, 8, 500),
        (Direction::ToClient, 8, 900),
        (Direction::Both, 1, 1300),
    ] {
        output.wait_for(frames);
        network.proxy.cut(cut);
        std::thread::sleep(Duration::from_secs(seconds)); // the fault itself
        network.proxy.heal();
    }
    output.wait_for(1600);
    drop(output);
    assert!(broker.stop().success());
    assert_complete(
        &read_committed(direct, &output_of(&input)),
        &["a", "b"],
        800,
    );
}

#[test]
fn connections_that_break_again_and_again_cost_nothing() {
    let network = Network::new();
    let (direct, servers) = (network.direct, network.servers());
    let input = topic(direct, 2);
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:5ms"]);
    let broker = broker(&servers, &input, &[&url], &["--in-flight", "2"]);
    let (count, ()) = publish_while(direct, &input, &["a", "b"], || {
        for _ in 0..5 {
            let committed = network.wait_on(Point::response(Api::EndTxn).nth(3), Reaction::Note);
            network.proxy.refuse();
            drop(committed);
            std::thread::sleep(Duration::from_millis(300)); // the fault itself
            network.proxy.accept();
        }
    });
    let mut output = Follower::new(direct, &output_of(&input));
    output.wait_for(2 * count as usize);
    assert!(broker.stop().success());
    assert_complete(
        &read_committed(direct, &output_of(&input)),
        &["a", "b"],
        count,
    );
}

#[test]
fn a_slow_and_distant_kafka_makes_everything_slower_only() {
    let network = Network::new();
    let (direct, servers) = (network.direct, network.servers());
    network
        .proxy
        .set_latency(Direction::Both, Duration::from_millis(250)); // 500 ms there and back
    network.proxy.set_bandwidth(Direction::Both, Some(125_000)); // 1 Mbit/s
    let input = topic(direct, 2);
    let (_processor, url) = processor(&["chaos", "--delay", "lognormal:p50=5ms,p99=50ms"]);
    for source in ["a", "b"] {
        publish(direct, &input, source, 0..100);
    }
    let broker = broker(&servers, &input, &[&url], &[]);
    let committed = network
        .proxy
        .on(Point::response(Api::EndTxn), Reaction::Note);
    assert!(committed.wait(LIMIT));
    let mut output = Follower::new(direct, &output_of(&input));
    output.wait_for(200);
    assert!(broker.stop().success());
    let seen = read_committed(direct, &output_of(&input));
    assert_complete(&seen, &["a", "b"], 100);
    assert!(seen.iter().all(|one| one.status() == "ok"));
}

/// What a transaction may take (15 s) is not enough for all that is there when the broker begins: 2 MB at 125 KB/s.
#[test]
fn a_batch_too_large_for_a_slow_link_is_written_in_smaller_ones() {
    const FRAMES: u64 = 10;
    let network = Network::new();
    let (direct, servers) = (network.direct, network.servers());
    let input = topic(direct, 2);
    let (_processor, url) = processor(&["echo"]);
    for source in ["a", "b"] {
        let frames = (0..FRAMES).map(|sequence| large_frame(&input, source, sequence));
        publish_records(direct, frames);
    }
    network
        .proxy
        .set_latency(Direction::Both, Duration::from_millis(250)); // 500 ms there and back
    network
        .proxy
        .set_bandwidth(Direction::ToKafka, Some(125_000)); // 1 Mbit/s
    // All of it is processed before the first transaction is made.
    let broker = broker(&servers, &input, &[&url], &["--commit-linger", "5s"]);
    let mut output = Follower::new(direct, &output_of(&input));
    output.wait_for(2 * FRAMES as usize);
    assert!(broker.log().contains("aborted"), "{}", broker.log());
    assert!(broker.stop().success());
    let seen = read_committed(direct, &output_of(&input));
    assert_complete(&seen, &["a", "b"], FRAMES);
    assert!(seen.iter().all(|one| one.status() == "ok"));
}

#[test]
fn tracked_frames_too_many_for_a_slow_link_are_written_in_smaller_transactions() {
    const FRAMES: u64 = 14;
    const MOST: Duration = Duration::from_secs(180);
    let network = Network::new();
    let (direct, servers) = (network.direct, network.servers());
    let (input, output) = (topic(direct, 2), topic(direct, 2));
    for source in ["a", "b"] {
        let frames = (0..FRAMES).map(|sequence| large_frame(&input, source, sequence));
        publish_records(direct, frames);
    }
    network
        .proxy
        .set_bandwidth(Direction::ToKafka, Some(125_000)); // 1 Mbit/s
    let read = ["--topic", &input, "--group", &name(), "--until", "end"];
    let track = ["--track", "--output", &output, "--content", "inline"];
    let mut consumer = Process::start("consumer", &servers, &[&read[..], &track[..]].concat());
    let start = Instant::now();
    while !consumer.has_ended() {
        assert!(start.elapsed() < MOST, "no end\n{}", consumer.log());
        std::thread::sleep(Duration::from_millis(100)); // between two looks
    }
    let (code, log) = consumer.outcome();
    assert_eq!(code, Some(0), "{log}");
    assert_complete(&read_committed(direct, &output), &["a", "b"], FRAMES);
}

#[test]
fn a_producer_without_a_connection_is_told_from_one_with_a_slow_one() {
    let network = Network::new();
    let config = KafkaConfig::new(&network.servers()).unwrap();
    let topic = topic(network.direct, 1);
    let writer = Writer::new(&config).unwrap();
    let wait_until = |is_connected| {
        wait_for(&format!("is_connected() to be {is_connected}"), || {
            (writer.is_connected(&topic) == is_connected).then_some(())
        });
    };
    // Only a written frame shows the connection that lasts: the client leaves its first one, to the configured address, for it.
    let receipt = writer.send(&large_frame(&topic, "a", 0)).unwrap();
    receipt.wait().unwrap();
    assert!(writer.is_connected(&topic));
    // Longer than the look takes.
    network
        .proxy
        .set_latency(Direction::Both, Duration::from_secs(2));
    for _ in 0..3 {
        assert!(writer.is_connected(&topic), "slow is not lost");
    }
    network.proxy.set_latency(Direction::Both, Duration::ZERO);
    network.proxy.refuse();
    wait_until(false);
    network.proxy.accept();
    wait_until(true);
}
