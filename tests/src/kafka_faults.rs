//! Kafka itself dies, stalls, or forgets. These tests have a node of their own.

use crate::harness::{
    Follower, Process, assert_complete, broker, frame, ids_of, name, offsets_used, processor,
    publish, read_committed, shared, topic, wait_for,
};
use kafka_node::{Kafka, Options};
use pipeline::envelope::Kind;
use pipeline::kafka::{
    Admin, Feed, FeedEvent, GroupMember, KafkaConfig, LaneBounds, Membership, Position,
    StartPolicy, TopicPartition, TransactionFault, TransactionalWriter,
};
use pipeline::v1;
use std::time::Duration;

fn own_kafka() -> Kafka {
    Kafka::start_jars(&Options::default()).expect("a Kafka of this test's own")
}

/// A node that was stalled takes itself off its list of nodes a moment after it goes on, and comes back a moment later. Waits
/// until many new clients, one after the other, have found what they asked for.
fn wait_until_steady(servers: &str, topic: &str) {
    const IN_A_ROW: usize = 25;
    let config = KafkaConfig::new(servers).unwrap();
    let mut found = 0;
    wait_for("Kafka to be steady", || {
        let ends = Admin::connect(&config).and_then(|it| it.ends(&TopicPartition::new(topic, 0)));
        found = if ends.is_ok() { found + 1 } else { 0 };
        (found == IN_A_ROW).then_some(())
    });
}

#[test]
fn kafka_killed_mid_run_and_restarted_costs_nothing() {
    let mut kafka = own_kafka();
    let servers = kafka.bootstrap_servers().to_owned();
    let input = topic(&servers, 2);
    let output = format!("{input}.out");
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:10ms"]);
    for source in ["a", "b"] {
        publish(&servers, &input, source, 0..400);
    }
    let broker = broker(&servers, &input, &[&url], &["--in-flight", "4"]);
    let mut seen = Follower::new(&servers, &output);
    seen.wait_for(100);
    kafka.kill().expect("a node of our own");
    kafka.restart().expect("the node comes back");
    seen.wait_for(800);
    drop(seen);
    // Before the broker ends, so that a failure shows its log.
    assert_complete(&read_committed(&servers, &output), &["a", "b"], 400);
    assert!(broker.stop().success());
}

#[test]
fn a_live_source_outlives_a_long_absence_of_kafka_and_its_newest_start_still_wins() {
    let mut kafka = own_kafka();
    let servers = kafka.bootstrap_servers().to_owned();
    let topic = name();
    let args = ["--pattern", "160x120@20", "--topic", &topic];
    let first = Process::start("producer", &servers, &args);
    Follower::new(&servers, &topic).wait_for(10);
    kafka.kill().expect("a node of our own");
    // The absence itself: after 15 s a client is suspected to have lost all nodes.
    std::thread::sleep(Duration::from_secs(25));
    kafka.restart().expect("the node comes back");
    let so_far = offsets_used(&servers, &topic);
    Follower::new(&servers, &topic).wait_for(so_far + 40);
    let second = Process::start("producer", &servers, &args);
    let (code, log) = first.outcome();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("taken over by"), "{log}");
    assert!(second.stop().success(), "the newer one goes on");
}

#[test]
fn kafka_stalled_for_longer_than_the_session_costs_nothing() {
    let mut kafka = own_kafka();
    let servers = kafka.bootstrap_servers().to_owned();
    let input = topic(&servers, 1);
    let output = format!("{input}.out");
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:10ms"]);
    publish(&servers, &input, "a", 0..400);
    let broker = broker(&servers, &input, &[&url], &["--in-flight", "2"]);
    let mut seen = Follower::new(&servers, &output);
    seen.wait_for(50);
    kafka.pause().expect("a node of our own");
    std::thread::sleep(Duration::from_secs(8)); // the stall itself, longer than the session timeout of 6 s
    kafka.resume().expect("a node of our own");
    wait_until_steady(&servers, &output);
    // Looked at by new clients: the old one may have lost all nodes (see `pipeline::kafka::forgotten`).
    wait_for("all results", || {
        (read_committed(&servers, &output).len() == 400).then_some(())
    });
    assert!(broker.stop().success());
    assert_complete(&read_committed(&servers, &output), &["a"], 400);
}

#[test]
fn a_broker_that_a_stalled_kafka_has_not_expelled_finds_it_again() {
    let mut kafka = own_kafka();
    let servers = kafka.bootstrap_servers().to_owned();
    let input = topic(&servers, 1);
    let output = format!("{input}.out");
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:10ms"]);
    publish(&servers, &input, "a", 0..1000);
    // The group's session outlasts the stall, the node's own (4 s) does not: for a moment Kafka names no node at all.
    let patient = ["--in-flight", "2", "--session-timeout", "30s"];
    let broker = broker(&servers, &input, &[&url], &patient);
    Follower::new(&servers, &output).wait_for(50);
    kafka.pause().expect("a node of our own");
    std::thread::sleep(Duration::from_secs(8)); // the stall itself
    kafka.resume().expect("a node of our own");
    wait_until_steady(&servers, &output);
    wait_for("all results", || {
        (read_committed(&servers, &output).len() == 1000).then_some(())
    });
    assert!(broker.stop().success());
    assert_complete(&read_committed(&servers, &output), &["a"], 1000);
}

#[test]
fn a_batch_of_an_older_generation_is_refused_and_never_seen() {
    let servers = shared();
    let (input, output) = (topic(servers, 2), topic(servers, 1));
    let config = KafkaConfig::new(servers).unwrap();
    let member = GroupMember {
        group: input.clone(),
        membership: Membership::Dynamic,
        session_timeout: Duration::from_secs(6),
        finishing: Duration::from_secs(5),
    };
    let join = || {
        let start = StartPolicy::new(Position::Earliest);
        let bounds = LaneBounds {
            lane_records: 1,
            lane_bytes: 1,
            total_bytes: 1,
        };
        Feed::subscribe(
            &config,
            &member,
            std::slice::from_ref(&input),
            start,
            bounds,
        )
        .unwrap()
    };
    let mut first = join();
    wait_for_assignment(&mut first);
    let stamp = first.control().group_stamp().unwrap();
    let old_member = std::thread::spawn(move || while first.next_blocking().is_some() {});
    let mut second = join();
    wait_for_assignment(&mut second); // the group has a new generation now

    let mut writer = TransactionalWriter::open(&config, &output).unwrap();
    let lane = TopicPartition::new(input.as_str(), 0);
    let records: Vec<_> = (0..3)
        .map(|sequence| frame(&output, "a", sequence))
        .collect();
    // The refusal may come before the records have left, which is too easy.
    wait_for("records that were written, then aborted", || {
        let refused = writer.commit(&records, Some((&[(lane.clone(), 3)], &stamp)));
        assert!(
            matches!(refused, Err(TransactionFault::Aborted(_))),
            "{refused:?}"
        );
        (offsets_used(servers, &output) >= 3).then_some(())
    });
    assert_eq!(read_committed(servers, &output).len(), 0);
    assert_eq!(second.control().committed(&[lane]).unwrap(), [None]);
    drop((second, old_member));
}

fn wait_for_assignment(feed: &mut Feed) {
    loop {
        match feed.next_blocking() {
            Some(FeedEvent::Assigned(_)) => return,
            Some(_) => {}
            None => panic!("the feed has ended"),
        }
    }
}

#[test]
fn records_that_retention_removed_become_a_gap_and_the_rest_is_processed() {
    let servers = shared();
    let input = topic(servers, 1);
    let output = format!("{input}.out");
    let (_processor, url) = processor(&["echo"]);
    let instance = ["--instance", &input];
    publish(servers, &input, "a", 0..10);
    let first = broker(servers, &input, &[&url], &instance);
    Follower::new(servers, &output).wait_for(10);
    assert!(first.stop().success());
    publish(servers, &input, "a", 10..30);
    let config = KafkaConfig::new(servers).unwrap();
    let lane = pipeline::kafka::TopicPartition::new(input.as_str(), 0);
    Admin::connect(&config)
        .unwrap()
        .delete_records_before(&lane, 25)
        .unwrap();
    let second = broker(servers, &input, &[&url], &instance);
    Follower::new(servers, &output).wait_for(16);
    assert!(second.stop().success());
    let seen = read_committed(servers, &output);
    let statuses: Vec<_> = seen.iter().map(|one| one.status()).collect();
    let expected = [&["ok"; 10][..], &["gap"], &["ok"; 5]].concat();
    assert_eq!(statuses, expected);
    let Kind::Gap(gap) = &seen[10].message else {
        panic!("{:?}", seen[10]);
    };
    assert_eq!(gap.reason(), v1::gap::Reason::Expired);
    assert!(gap.detail.contains("10 to 24"), "{}", gap.detail);
}

#[test]
fn a_newer_transactional_writer_fences_the_older_one() {
    let config = KafkaConfig::new(shared()).unwrap();
    let id = topic(shared(), 1);
    let mut older = TransactionalWriter::open(&config, &id).unwrap();
    let record = |sequence| [frame(&id, "a", sequence)];
    older.commit(&record(0), None).unwrap();
    let mut newer = TransactionalWriter::open(&config, &id).unwrap();
    assert!(older.commit(&record(1), None).is_err());
    newer.commit(&record(2), None).unwrap();
    let seen = ids_of(&read_committed(shared(), &id));
    assert_eq!(seen["a"], [0, 2]);
}
