//! The broker's promise: every frame once and in order, whatever the processors do and whoever dies.

use crate::harness::{
    Follower, Process, Seen, assert_complete, broker, ids_of, processor, publish, read_committed,
    shared, topic,
};
use std::collections::BTreeSet;

#[test]
fn random_delays_change_neither_order_nor_count() {
    let servers = shared();
    let input = topic(servers, 2);
    let (_processor, url) = processor(&[
        "chaos",
        "--delay",
        "lognormal:p50=5ms,p99=80ms",
        "--seed",
        "7",
    ]);
    for source in ["a", "b", "c"] {
        publish(servers, &input, source, 0..300);
    }
    let broker = broker(servers, &input, &[&url], &[]);
    let mut output = Follower::new(servers, &format!("{input}.out"));
    output.wait_for(900);
    assert!(broker.stop().success());
    let seen = read_committed(servers, &format!("{input}.out"));
    assert_complete(&seen, &["a", "b", "c"], 300);
    assert!(seen.iter().all(|one| one.status() == "ok"));
}

#[test]
fn a_broker_killed_again_and_again_loses_and_doubles_nothing() {
    let servers = shared();
    let input = topic(servers, 2);
    let (_processor, url) = processor(&["chaos", "--delay", "lognormal:p50=5ms,p99=50ms"]);
    for source in ["a", "b"] {
        publish(servers, &input, source, 0..600);
    }
    let instance = ["--instance", &input];
    let mut running = broker(servers, &input, &[&url], &instance);
    let mut output = Follower::new(servers, &format!("{input}.out"));
    for count in [100, 300, 301, 500, 900] {
        output.wait_for(count);
        running.kill9();
        running = broker(servers, &input, &[&url], &instance);
    }
    output.wait_for(1200);
    assert!(running.stop().success());
    assert_complete(
        &read_committed(servers, &format!("{input}.out")),
        &["a", "b"],
        600,
    );
}

#[test]
fn brokers_that_join_and_leave_move_partitions_without_loss_or_double() {
    let servers = shared();
    let input = topic(servers, 6);
    let sources = ["a", "b", "c", "d", "e", "f"];
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:10ms"]);
    for source in sources {
        publish(servers, &input, source, 0..400);
    }
    let flow = ["--in-flight", "8", "--membership", "dynamic"];
    let first = broker(servers, &input, &[&url], &flow);
    let mut output = Follower::new(servers, &format!("{input}.out"));
    output.wait_for(200);
    let second = broker(servers, &input, &[&url], &flow);
    second.wait_for_log("reading");
    output.wait_for(700);
    let third = broker(servers, &input, &[&url], &flow);
    third.wait_for_log("reading");
    assert!(first.stop().success());
    output.wait_for(1400);
    second.kill9();
    output.wait_for(2400);
    assert!(third.stop().success());
    assert_complete(
        &read_committed(servers, &format!("{input}.out")),
        &sources,
        400,
    );
}

#[test]
fn a_killed_processor_costs_no_frame() {
    let servers = shared();
    let input = topic(servers, 1);
    let (first, first_url) = processor(&["chaos", "--delay", "fixed:20ms"]);
    let (_second, second_url) = processor(&["chaos", "--delay", "fixed:20ms"]);
    publish(servers, &input, "a", 0..500);
    let broker = broker(
        servers,
        &input,
        &[&first_url, &second_url],
        &["--in-flight", "4"],
    );
    let mut output = Follower::new(servers, &format!("{input}.out"));
    output.wait_for(100);
    first.kill9();
    output.wait_for(500);
    assert!(broker.stop().success());
    let seen = read_committed(servers, &format!("{input}.out"));
    assert_complete(&seen, &["a"], 500);
    assert!(
        seen.iter().all(|one| one.status() == "ok"),
        "a crash beside it is not a frame's fault"
    );
}

#[test]
fn with_every_processor_down_the_broker_holds_and_goes_on_when_one_comes_back() {
    let servers = shared();
    let input = topic(servers, 1);
    let (only, url) = processor(&["echo"]);
    publish(servers, &input, "a", 0..100);
    let broker = broker(servers, &input, &[&url], &["--attempts", "1"]);
    let mut output = Follower::new(servers, &format!("{input}.out"));
    output.wait_for(100);
    only.kill9();
    broker.wait_for_log("the processor is down");
    publish(servers, &input, "a", 100..200);
    let listen = url.trim_start_matches("http://");
    let _again = Process::start("processor", servers, &["echo", "--listen", listen]);
    output.wait_for(200);
    assert!(broker.stop().success());
    let seen = read_committed(servers, &format!("{input}.out"));
    assert_complete(&seen, &["a"], 200);
    assert!(seen.iter().all(|one| one.status() == "ok"));
}

#[test]
fn at_least_once_keeps_order_and_loses_nothing_and_doubles_only_after_a_crash() {
    let servers = shared();
    let input = topic(servers, 1);
    let (_processor, url) = processor(&["chaos", "--delay", "lognormal:p50=3ms,p99=30ms"]);
    publish(servers, &input, "a", 0..400);
    let args = ["--delivery", "at-least-once", "--instance", &input];
    let running = broker(servers, &input, &[&url], &args);
    let mut output = Follower::new(servers, &format!("{input}.out"));
    output.wait_for(150);
    running.kill9();
    let running = broker(servers, &input, &[&url], &args);
    wait_for_last(&mut output, 399);
    assert!(running.stop().success());
    let sequences = ids_of(&read_committed(servers, &format!("{input}.out")))
        .remove("a")
        .unwrap();
    let mut first_seen = Vec::new();
    let mut known = BTreeSet::new();
    for sequence in sequences {
        if known.insert(sequence) {
            first_seen.push(sequence);
        }
    }
    assert_eq!(first_seen, (0..400).collect::<Vec<_>>());
}

fn wait_for_last(output: &mut Follower, sequence: u64) {
    let is_last = |output: &Follower| {
        let last = output.seen.last().and_then(|one| one.message.id());
        last.is_some_and(|id| id.sequence == sequence)
    };
    while !is_last(output) {
        output.wait_for(output.seen.len() + 1);
    }
}

#[test]
fn a_chain_by_reference_carries_pictures_once_and_resolves_them_for_later_stages() {
    let servers = shared();
    let input = topic(servers, 2);
    let (_echo, first) = processor(&["echo", "--name", "one"]);
    let (_resize, second) = processor(&["resize", "--scale", "0.5"]);
    for source in ["a", "b"] {
        publish(servers, &input, source, 0..100);
    }
    let middle = format!("{input}.out");
    let by_reference = ["--content", "reference"];
    let one = broker(servers, &input, &[&first], &by_reference);
    Follower::new(servers, &middle).wait_for(200);
    let two = broker(servers, &middle, &[&second], &by_reference);
    let mut output = Follower::new(servers, &format!("{middle}.out"));
    output.wait_for(200);
    assert!(one.stop().success() && two.stop().success());
    let middle = read_committed(servers, &middle);
    assert!(
        middle.iter().all(|one| one.record.payload.len() < 500),
        "no pixels by reference"
    );
    for source in ["a", "b"] {
        let sequences = |seen: &[Seen]| -> Vec<u64> {
            let ids = seen.iter().filter_map(|one| one.message.id());
            ids.filter(|id| id.source_id == source)
                .map(|id| id.sequence)
                .collect()
        };
        assert_eq!(sequences(&output.seen), (0..100).collect::<Vec<_>>());
    }
    for one in &output.seen {
        let pipeline::envelope::Kind::Frame(frame) = &one.message else {
            panic!("{one:?}");
        };
        let names: Vec<_> = frame
            .results
            .iter()
            .map(|result| result.processor.as_str())
            .collect();
        assert_eq!((names, one.status()), (vec!["one", "resize"], "ok"));
        assert_eq!((frame.width, frame.height), (32, 16));
    }
}
