//! The network between the broker and Kafka is slow, or loses everything for a while.

use crate::faults_lab::{LIMIT, Network, output_of};
use crate::harness::{
    Follower, assert_complete, broker, processor, publish, publish_while, read_committed, topic,
};
use kafka_proxy::{Api, Direction, Point, Reaction};
use std::time::Duration;

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
