//! Members of a group that freeze, come and go, or are replaced one after the other.

use crate::faults_lab::{LIMIT, Network, output_of};
use crate::harness::{
    Follower, assert_complete, broker, processor, publish, publish_while, read_committed, shared,
    topic,
};
use kafka_proxy::{Api, Point, Reaction};
use nix::sys::signal::Signal;
use pipeline::kafka::{
    Feed, FeedEvent, GroupMember, KafkaConfig, LaneBounds, Membership, Position, StartPolicy,
};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SOURCES: [&str; 4] = ["a", "b", "c", "d"];
const DYNAMIC: [&str; 4] = ["--membership", "dynamic", "--in-flight", "8"];

/// One of two brokers freezes, at once or when its commit is on its way; the other does its work; then it goes on.
fn frozen_and_replaced(commit: Option<Reaction>) {
    let network = Network::new();
    let direct = network.direct;
    let input = topic(direct, 4);
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:10ms"]);
    let frozen = broker(&network.servers(), &input, &[&url], &DYNAMIC);
    let other = broker(direct, &input, &[&url], &DYNAMIC);
    // Both have partitions, so both will have commits.
    frozen.wait_for_log("reading");
    other.wait_for_log("reading");
    let held = commit.map(|reaction| network.proxy.on(Point::request(Api::EndTxn), reaction));
    for source in SOURCES {
        publish(direct, &input, source, 0..300);
    }
    assert!(held.as_ref().is_none_or(|held| held.wait(LIMIT)));
    frozen.signal(Signal::SIGSTOP);
    let mut output = Follower::new(direct, &output_of(&input));
    // Its partitions are the other's after its session, and, if it had a transaction open, after that has timed out.
    output.wait_for(1200);
    drop(held); // its request to commit arrives now
    frozen.signal(Signal::SIGCONT);
    for source in SOURCES {
        publish(direct, &input, source, 300..400);
    }
    output.wait_for(1600);
    assert!(frozen.stop().success() && other.stop().success());
    assert_complete(&read_committed(direct, &output_of(&input)), &SOURCES, 400);
}

#[test]
fn a_broker_frozen_for_longer_than_its_session_doubles_nothing_when_it_wakes() {
    frozen_and_replaced(None);
}

#[test]
fn a_broker_frozen_in_the_middle_of_a_commit_doubles_nothing_when_it_wakes() {
    frozen_and_replaced(Some(Reaction::Pause));
}

#[test]
fn rebalances_every_half_second_change_neither_order_nor_count() {
    const FRAMES: u64 = 400;
    let servers = shared();
    let input = topic(servers, 4);
    let (_processor, url) = processor(&["chaos", "--delay", "lognormal:p50=20ms,p99=200ms"]);
    for source in SOURCES {
        publish(servers, &input, source, 0..FRAMES);
    }
    let broker = broker(servers, &input, &[&url], &DYNAMIC);
    let mut output = Follower::new(servers, &output_of(&input));
    output.wait_for(100);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let visits = scope.spawn(|| {
            let mut visits = 0;
            while !done.load(Ordering::Relaxed) {
                visit(servers, &input, Duration::from_millis(500));
                visits += 1;
            }
            visits
        });
        output.wait_for(SOURCES.len() * FRAMES as usize);
        done.store(true, Ordering::Relaxed);
        let visits: u32 = visits.join().expect("visits succeed");
        assert!(
            visits >= 5,
            "only {visits} visits: the frames were done too soon"
        );
    });
    assert!(broker.stop().success());
    let seen = read_committed(servers, &output_of(&input));
    assert_complete(&seen, &SOURCES, FRAMES);
    assert!(seen.iter().all(|one| one.status() == "ok"));
}

/// Joins the group of the broker that writes to `input.out`, takes partitions from it, does nothing with them, leaves.
fn visit(servers: &str, input: &str, stay: Duration) {
    let member = GroupMember {
        group: format!("framelane.{}", output_of(input)),
        membership: Membership::Dynamic,
        session_timeout: Duration::from_secs(6),
        finishing: Duration::from_secs(5),
    };
    let bounds = LaneBounds {
        lane_records: 1,
        lane_bytes: 1,
        total_bytes: 1,
    };
    let config = KafkaConfig::new(servers).expect("a usable address");
    let start = StartPolicy::new(Position::Earliest);
    let mut feed =
        Feed::subscribe(&config, &member, &[input.to_owned()], start, bounds).expect("a member");
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    while let Some(left) = stay.checked_sub(start.elapsed()) {
        let next = async { tokio::time::timeout(left, feed.next()).await };
        match runtime.block_on(next) {
            Ok(Some(FeedEvent::Failed(fault))) => panic!("{fault}"),
            Ok(None) => panic!("the feed has ended"),
            Ok(Some(_)) | Err(_) => {}
        }
    }
    feed.close_blocking();
}

#[test]
fn brokers_that_are_replaced_one_after_the_other_leave_no_gap() {
    let servers = shared();
    let input = topic(servers, 4);
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:10ms"]);
    let start = |name: &str| {
        let instance = format!("{input}-{name}");
        let args = ["--in-flight", "4", "--instance", &instance];
        broker(servers, &input, &[&url], &args)
    };
    let mut brokers = VecDeque::from([start("one"), start("two")]);
    let mut output = Follower::new(servers, &output_of(&input));
    let (count, ()) = publish_while(servers, &input, &SOURCES, || {
        for (at, name) in ["one", "two", "one", "two"].into_iter().enumerate() {
            output.wait_for(300 * (at + 1));
            let old = brokers.pop_front().expect("two run");
            assert!(old.stop().success());
            let new = start(name);
            new.wait_for_log("reading");
            brokers.push_back(new);
        }
        output.wait_for(1500);
    });
    output.wait_for(SOURCES.len() * count as usize);
    for broker in brokers {
        assert!(broker.stop().success());
    }
    assert_complete(
        &read_committed(servers, &output_of(&input)),
        &SOURCES,
        count,
    );
}
