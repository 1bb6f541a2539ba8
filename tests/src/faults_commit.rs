//! A commit has five steps. At each of them the broker dies, or the network loses, holds or doubles a packet.

use crate::faults_lab::{LIMIT, Network, output_of};
use crate::harness::{
    Follower, assert_complete, broker, frame, name, processor, publish_while, read_committed,
    topic, wait_for,
};
use kafka_proxy::{Api, Point, Reaction, When};
use pipeline::kafka::{
    Feed, FeedEvent, GroupMember, GroupStamp, KafkaConfig, LaneBounds, Membership, Outgoing,
    Position, StartPolicy, TopicPartition, TransactionalWriter,
};
use std::time::Duration;

/// In the order in which a transaction takes them.
const STEPS: [Api; 5] = [
    Api::AddPartitionsToTxn,
    Api::Produce,
    Api::AddOffsetsToTxn,
    Api::TxnOffsetCommit,
    Api::EndTxn,
];

fn points() -> impl Iterator<Item = Point> {
    let both = |api| [Point::request(api), Point::response(api)];
    STEPS.into_iter().flat_map(both)
}

#[test]
fn a_broker_killed_at_any_step_of_a_commit_loses_and_doubles_nothing() {
    let network = Network::new();
    let (direct, servers) = (network.direct, network.servers());
    let input = topic(direct, 2);
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:5ms"]);
    let instance = ["--instance", &input, "--in-flight", "4"];
    let (count, running) = publish_while(direct, &input, &["a", "b"], || {
        let mut running = broker(&servers, &input, &[&url], &instance);
        for (at, point) in points().enumerate() {
            let step = format!("{point:?}");
            let held = network.wait_on(point.nth(3), Reaction::Pause);
            running.kill9();
            // What was held still arrives: before the next life begins, or in the middle of its first transaction.
            if at % 4 < 2 {
                held.release();
            }
            let next_life = network
                .proxy
                .on(Point::response(Api::Produce), Reaction::Note);
            running = broker(&servers, &input, &[&url], &instance);
            assert!(next_life.wait(LIMIT), "nothing was written after {step}");
        }
        running
    });
    let mut output = Follower::new(direct, &output_of(&input));
    output.wait_for(2 * count as usize);
    assert!(running.stop().success());
    assert_complete(
        &read_committed(direct, &output_of(&input)),
        &["a", "b"],
        count,
    );
}

#[test]
fn a_connection_lost_at_any_step_of_a_commit_loses_and_doubles_nothing() {
    let network = Network::new();
    let (direct, servers) = (network.direct, network.servers());
    let input = topic(direct, 2);
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:5ms"]);
    let broker = broker(&servers, &input, &[&url], &["--in-flight", "4"]);
    let (count, ()) = publish_while(direct, &input, &["a", "b"], || {
        for point in points() {
            // A request that never arrives; a response that never does, though Kafka has done its part.
            let _lost = network.wait_on(point.nth(3), Reaction::DropConnection(When::Before));
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

/// What a request to end a transaction did that arrived twice, the second time in the middle of the next transaction.
struct Stray {
    /// Kafka's error code; 0: it was accepted.
    code: i16,
    /// How many records of the unfinished next transaction could be read then.
    visible: usize,
}

/// Two transactions of one writer. The first one's end is sent, lost sight of, and sent again; what was lost arrives
/// when one of two records of the second is written.
fn stray_end(network: &Network, with_offsets: Option<&GroupStamp>) -> (Stray, String) {
    let output = topic(network.direct, 2);
    let config = KafkaConfig::new(&network.servers()).unwrap();
    let mut writer = TransactionalWriter::open(&config, &output).unwrap();
    let consumed = [(TopicPartition::new(output.as_str(), 0), 1)];
    let mut commit = move |records: &[Outgoing], stamp: Option<&GroupStamp>| {
        writer.commit(records, stamp.map(|stamp| (&consumed[..], stamp)))
    };
    let stray = network
        .proxy
        .on(Point::request(Api::EndTxn), Reaction::HoldAlone);
    commit(&[record(&output, 0, 0)], None).unwrap();
    assert!(stray.has_fired());

    let first_written = network
        .proxy
        .on(Point::response(Api::Produce), Reaction::Note);
    let second_held = network
        .proxy
        .on(Point::request(Api::Produce).nth(2), Reaction::Pause);
    let found = std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            commit(
                &[record(&output, 0, 1), record(&output, 1, 2)],
                with_offsets,
            )
        });
        assert!(first_written.wait(LIMIT) && second_held.wait(LIMIT));
        stray.release();
        let answer = stray.answer(LIMIT).expect("an answer from Kafka");
        // Throttle time, error code.
        let code = i16::from_be_bytes([answer[4], answer[5]]);
        if code == 0 {
            // It is accepted at once, and carried out soon.
            wait_for("what the stray decided", || {
                (read_committed(network.direct, &output).len() > 1).then_some(())
            });
        }
        let visible = read_committed(network.direct, &output).len() - 1;
        second_held.release();
        let outcome = second.join().unwrap();
        assert_eq!(outcome.is_ok(), code != 0, "{outcome:?}");
        Stray { code, visible }
    });
    (found, output)
}

fn record(topic: &str, partition: i32, sequence: u64) -> Outgoing {
    Outgoing {
        partition: Some(partition),
        ..frame(topic, "a", sequence)
    }
}

#[test]
fn a_writer_that_is_not_replaced_shows_what_a_stray_end_can_do() {
    // If this fails because Kafka refuses the stray, the client has learnt to use an epoch per transaction, and
    // TransactionalWriter need not replace its producer any more.
    let network = Network::new();
    let (stray, _) = stray_end(&network, None);
    assert_eq!(
        (stray.code, stray.visible),
        (0, 1),
        "half of a transaction is visible"
    );
}

#[test]
fn a_stray_end_is_refused_because_the_writer_was_replaced() {
    let network = Network::new();
    let feed = member_of(network.direct, &topic(network.direct, 1));
    let stamp = feed.control().group_stamp().unwrap();
    let (stray, output) = stray_end(&network, Some(&stamp));
    assert_ne!(stray.code, 0);
    assert_eq!(
        stray.visible, 0,
        "nothing of an undecided transaction is visible"
    );
    assert_eq!(read_committed(network.direct, &output).len(), 3);
    feed.close_blocking();
}

/// A member of a group of its own, which has its partition.
fn member_of(servers: &str, input: &str) -> Feed {
    let member = GroupMember {
        group: name(),
        membership: Membership::Dynamic,
        session_timeout: Duration::from_secs(30),
        finishing: Duration::from_secs(5),
    };
    let bounds = LaneBounds {
        lane_records: 1,
        lane_bytes: 1,
        total_bytes: 1,
    };
    let config = KafkaConfig::new(servers).unwrap();
    let start = StartPolicy::new(Position::Earliest);
    let mut feed = Feed::subscribe(&config, &member, &[input.to_owned()], start, bounds).unwrap();
    while !matches!(
        feed.next_blocking().expect("it goes on"),
        FeedEvent::Assigned(_)
    ) {}
    feed
}

#[test]
fn ends_of_transactions_that_stray_into_the_next_ones_change_nothing() {
    let network = Network::new();
    let (direct, servers) = (network.direct, network.servers());
    let input = topic(direct, 2);
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:5ms"]);
    let broker = broker(&servers, &input, &[&url], &["--in-flight", "4"]);
    let (count, ()) = publish_while(direct, &input, &["a", "b"], || {
        for _ in 0..5 {
            let stray = network.wait_on(Point::request(Api::EndTxn).nth(2), Reaction::HoldAlone);
            // The same end is sent again; what is written after it belongs to the next transaction.
            let next = network.wait_on(Point::response(Api::Produce), Reaction::Pause);
            stray.release();
            let answer = stray.answer(LIMIT).expect("an answer from Kafka");
            assert_ne!(answer[4..6], [0, 0], "it was accepted");
            next.release();
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
fn an_end_held_past_the_clients_patience_changes_nothing_when_it_arrives_in_the_next_transaction() {
    let network = Network::new();
    let (direct, servers) = (network.direct, network.servers());
    let input = topic(direct, 1);
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:5ms"]);
    let broker = broker(&servers, &input, &[&url], &["--in-flight", "4"]);
    let (count, ()) = publish_while(direct, &input, &["a"], || {
        let held = network.wait_on(Point::request(Api::EndTxn).nth(5), Reaction::Pause);
        // The client gives the request up after 15 s and sends it again by another connection.
        let next = network.wait_on(Point::response(Api::Produce), Reaction::Pause);
        broker.wait_for_log("REQTMOUT");
        // Its connection is closed right behind it, so there may be no answer to wait for.
        held.release();
        next.release();
    });
    let mut output = Follower::new(direct, &output_of(&input));
    output.wait_for(count as usize);
    assert!(broker.stop().success());
    assert_complete(&read_committed(direct, &output_of(&input)), &["a"], count);
}
