//! Records, references and moments that could stop a lane for ever, end a service at every start, or undo a commit.

use crate::harness::{
    Follower, Process, Seen, add_partitions, create_foreign_topic, delete_topic, frame,
    large_frame, name, processor, publish, publish_records, read_committed, run_ok, shared, topic,
    wait_for,
};
use crate::security_lab::{at, files, kafka, password};
use kafka_node::{Acl, Pattern, Resource};
use pipeline::envelope::{self, Kind};
use pipeline::kafka::{
    Admin, Feed, FeedEvent, GroupMember, KafkaArgs, KafkaConfig, LaneBounds, MAX_RECORD_BYTES,
    Mechanism, Membership, Outgoing, Position, Protocol, SecurityArgs, StartPolicy, TopicPartition,
    TopicSpec, partition_of,
};
use pipeline::resolve::{MOST_WORKERS, Resolver};
use pipeline::v1::{self, frame::Content};
use pipeline::wire;
use std::collections::BTreeSet;
use std::time::Duration;

const BOUNDS: LaneBounds = LaneBounds {
    lane_records: 100,
    lane_bytes: 1 << 20,
    total_bytes: 1 << 20,
};

/// A record as a stranger writes it.
fn foreign(topic: &str, payload: impl Into<bytes::Bytes>) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        partition: Some(0),
        key: "a".into(),
        timestamp_ms: now_ms(),
        headers: Vec::new(),
        payload: payload.into(),
    }
}

fn now_ms() -> i64 {
    wire::now_unix_ns() / 1_000_000
}

/// The largest garbage that a topic takes, notices of megabytes, and a frame of the day after tomorrow, among frames.
fn publish_attacks(input: &str) {
    const LARGE: usize = 8_375_000;
    let servers = shared();
    publish(servers, input, "a", 0..5);
    let gap = v1::Gap {
        first: Some(v1::FrameId::new("x".repeat(3 << 20), 1, 0)),
        reason: v1::gap::Reason::Undecodable.into(),
        ..v1::Gap::default()
    };
    let end = v1::EndOfStream {
        last: Some(v1::FrameId::new("a", 1, 4)),
        detail: "x".repeat(LARGE),
        ..v1::EndOfStream::default()
    };
    let early = Outgoing {
        timestamp_ms: now_ms() + 48 * 3_600_000,
        ..frame(input, "a", 5)
    };
    publish_records(
        servers,
        [
            foreign(input, vec![0xff; MAX_RECORD_BYTES - 158]),
            foreign(input, envelope::encode(&gap.into())),
            foreign(input, envelope::encode(&end.into())),
            early,
        ],
    );
    publish(servers, input, "a", 6..10);
}

/// Runs a broker over the attacks, into a topic with Kafka's own bound for times, until all is in the output.
fn survive(delivery: &str) -> Vec<Seen> {
    let servers = shared();
    let input = topic(servers, 1);
    let output = format!("{input}.out");
    let limit = MAX_RECORD_BYTES.to_string();
    create_foreign_topic(servers, &output, ("max.message.bytes", &limit));
    publish_attacks(&input);
    let (_processor, url) = processor(&["echo"]);
    let more = ["--delivery", delivery, "--on-failure", "dead-letter"];
    let broker = crate::harness::broker(servers, &input, &[&url], &more);
    let is_last = |seen: &Seen| matches!(&seen.message, Kind::Frame(frame) if sequence(frame) == 9);
    let mut seen = Follower::new(servers, &output);
    while !seen.seen.iter().any(is_last) {
        let more = seen.seen.len() + 1;
        seen.wait_for(more);
    }
    drop(seen);
    assert!(broker.stop().success());
    read_committed(servers, &output)
}

fn sequence(frame: &v1::Frame) -> u64 {
    frame.id.as_ref().map_or(0, |id| id.sequence)
}

fn frames(seen: &[Seen]) -> Vec<u64> {
    let frames = seen.iter().filter_map(|seen| match &seen.message {
        Kind::Frame(frame) => Some(sequence(frame)),
        _ => None,
    });
    frames.collect()
}

#[test]
fn records_that_kafka_or_we_refuse_stop_no_lane_exactly_once() {
    let seen = survive("exactly-once");
    assert_eq!(frames(&seen), (0..10).collect::<Vec<_>>());
    let gaps = seen.iter().filter(|seen| seen.status() == "gap").count();
    assert_eq!((gaps, seen.len()), (3, 13), "each has its place");
    let early = seen
        .iter()
        .find(|seen| seen.record.header(wire::SEQUENCE) == Some("5"));
    let ahead_ms = early.unwrap().record.timestamp_ms - now_ms();
    assert!(ahead_ms < 3_600_000, "{ahead_ms}");
}

#[test]
fn records_that_kafka_or_we_refuse_stop_no_lane_at_least_once() {
    let seen: BTreeSet<_> = frames(&survive("at-least-once")).into_iter().collect();
    assert_eq!(seen, (0..10).collect());
}

#[test]
fn a_picture_from_the_day_after_tomorrow_passes_through_our_own_topics() {
    let servers = shared();
    let input = topic(servers, 1);
    let timestamp_ms = now_ms() + 48 * 3_600_000;
    publish_records(
        servers,
        [Outgoing {
            timestamp_ms,
            ..frame(&input, "a", 0)
        }],
    );
    assert_eq!(
        read_committed(servers, &input)[0].record.timestamp_ms,
        timestamp_ms
    );
}

#[test]
fn references_into_nowhere_are_missing_pictures_and_take_no_threads_for_good() {
    let servers = shared();
    let real = topic(servers, 1);
    publish(servers, &real, "a", 0..3);
    let resolver = Resolver::new(KafkaConfig::new(servers).unwrap());
    let refer = |topic: &str, partition: i32, offset: i64| {
        let reference = v1::Reference {
            topic: topic.to_owned(),
            partition,
            offset,
        };
        resolver
            .resolve(&v1::Frame {
                id: Some(v1::FrameId::new("a", 1, offset as u64)),
                content: Some(Content::Reference(reference)),
                ..v1::Frame::default()
            })
            .unwrap()
    };
    let mut nowhere: Vec<_> = (0..50).map(|n| refer("test-no-such-topic", n, 7)).collect();
    nowhere.extend((1..50).map(|n| refer(&real, n, 0)));
    nowhere.push(refer(&"x".repeat(1 << 20), 0, 0));
    nowhere.push(refer("no\0name", 0, 0));
    let somewhere: Vec<_> = (0..3).map(|offset| refer(&real, 0, offset)).collect();
    for resolving in somewhere {
        let content = resolving.wait().unwrap();
        assert!(matches!(content, Content::Inline(_)), "{content:?}");
    }
    for resolving in nowhere {
        let content = resolving.wait().unwrap();
        assert!(matches!(content, Content::Missing(_)), "{content:?}");
    }
    assert!((1..=MOST_WORKERS).contains(&threads("resolve")));
    drop(resolver);
    wait_for("the end of the workers", || {
        (threads("resolve") == 0).then_some(())
    });
}

#[test]
fn a_reference_never_gives_the_picture_of_another_frame() {
    const FRAMES: u64 = 60;
    let servers = shared();
    let topic = topic(servers, 1);
    publish(servers, &topic, "a", 0..FRAMES);
    let resolver = Resolver::new(KafkaConfig::new(servers).unwrap());
    let content = |source: &str, sequence: u64, offset: u64| {
        let frame = v1::Frame {
            id: Some(v1::FrameId::new(source, 1, sequence)),
            content: Some(Content::Reference(v1::Reference {
                topic: topic.clone(),
                partition: 0,
                offset: offset as i64,
            })),
            ..v1::Frame::default()
        };
        resolver.resolve(&frame).unwrap().wait().unwrap()
    };
    let size = |content| match content {
        Content::Inline(picture) => Some(picture.len()),
        _ => None,
    };
    assert_eq!(size(content("a", 0, 0)), Some(64 * 32));
    assert_eq!(size(content("a", 1, 0)), None);
    assert_eq!(size(content("a", 2, 2)), Some(64 * 32));
    // A topic made anew has other frames at the same offsets. The client may still hold those of the old one.
    delete_topic(servers, &topic);
    let admin = Admin::connect(&KafkaConfig::new(servers).unwrap()).unwrap();
    wait_for("the end of the old topic", || {
        admin.topic(&topic).unwrap().is_none().then_some(())
    });
    admin.ensure_topic(&TopicSpec::frames(&topic, 1)).unwrap();
    publish_records(
        servers,
        (0..FRAMES).map(|sequence| large_frame(&topic, "b", sequence)),
    );
    for sequence in 3..FRAMES {
        let found = size(content("b", sequence, sequence));
        assert_eq!(found, Some(400 * 256), "frame {sequence}");
    }
}

/// Threads of this process with that name.
fn threads(name: &str) -> usize {
    let all = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        all.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|found| found.trim() == name).count()
}

fn join(config: &KafkaConfig, group: &str, topic: &str) -> Feed {
    let member = GroupMember {
        group: group.to_owned(),
        membership: Membership::Dynamic,
        session_timeout: Duration::from_secs(6),
        finishing: Duration::from_secs(5),
    };
    let start = StartPolicy::new(Position::Earliest);
    Feed::subscribe(config, &member, &[topic.to_owned()], start, BOUNDS).unwrap()
}

/// Waits until the feed has this partition; gives back at once whatever is taken away on the way.
fn wait_for_lane(feed: &mut Feed, wanted: &TopicPartition) {
    loop {
        match feed.next_blocking() {
            Some(FeedEvent::Assigned(lane)) if lane.tp == *wanted => return,
            Some(FeedEvent::Failed(fault)) => panic!("{fault}"),
            Some(_) => {}
            None => panic!("the feed has ended"),
        }
    }
}

#[test]
fn a_commit_from_before_a_partition_was_another_members_is_refused() {
    let servers = shared();
    let input = topic(servers, 2);
    let config = KafkaConfig::new(servers).unwrap();
    let lanes = [0, 1].map(|partition| TopicPartition::new(input.as_str(), partition));
    let mut first = join(&config, &input, &input);
    lanes
        .iter()
        .for_each(|lane| wait_for_lane(&mut first, lane));
    let control = first.control();
    let stamp = control.group_stamp();
    let commit =
        |lane: &TopicPartition, offset, stamp| control.commit(&[(lane.clone(), offset)], stamp);
    commit(&lanes[0], 1, stamp.as_ref()).unwrap();

    // Another member comes, takes one of the two, commits, and goes.
    let mut second = join(&config, &input, &input);
    let moved = std::thread::scope(|scope| {
        let taken = scope.spawn(|| {
            loop {
                match second.next_blocking() {
                    Some(FeedEvent::Assigned(lane)) => return lane.tp,
                    Some(FeedEvent::Failed(fault)) => panic!("{fault}"),
                    Some(_) => {}
                    None => panic!("the feed has ended"),
                }
            }
        });
        while !matches!(first.next_blocking(), Some(FeedEvent::Revoked { .. })) {}
        taken.join().unwrap()
    });
    let other = second.control();
    other
        .commit(&[(moved.clone(), 500)], other.group_stamp().as_ref())
        .unwrap();
    second.close_blocking();
    wait_for_lane(&mut first, &moved);

    let kept = lanes.iter().find(|lane| **lane != moved).unwrap();
    let refused = commit(&moved, 100, stamp.as_ref()).unwrap_err();
    assert!(
        refused.to_string().contains("another member's"),
        "{refused}"
    );
    commit(kept, 2, stamp.as_ref()).expect("it was ours all the time");
    assert!(commit(kept, 2, None).is_err());
    assert_eq!(
        control.committed(std::slice::from_ref(&moved)).unwrap(),
        [Some(500)]
    );
    commit(&moved, 501, control.group_stamp().as_ref()).unwrap();
    first.close_blocking();
}

#[test]
fn reading_a_partition_that_does_not_exist_ends_with_an_error() {
    let config = KafkaConfig::new(shared()).unwrap();
    let nowhere = [TopicPartition::new(topic(shared(), 1), 3)];
    let start = StartPolicy::new(Position::Earliest);
    let mut feed = Feed::assign(&config, &nowhere, start, BOUNDS).unwrap();
    let limit = Duration::from_secs(60);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let event = runtime.block_on(async { tokio::time::timeout(limit, feed.next()).await });
    assert!(matches!(event, Ok(Some(FeedEvent::Failed(_)))), "{event:?}");
    feed.close_blocking();
}

#[test]
fn a_committed_offset_that_may_not_be_read_is_not_taken_for_none() {
    let (user, allowed, hidden) = ("u4", name(), name());
    for (operation, resource) in [("Read", Resource::Topic), ("Read", Resource::Group)] {
        let rule = Acl {
            principal: format!("User:{user}"),
            operation: operation.to_owned(),
            resource,
            name: allowed.clone(),
            pattern: Pattern::Literal,
        };
        kafka().allow(&rule).expect("a rule");
    }
    let args = KafkaArgs {
        bootstrap_servers: at("login").to_owned(),
        security: SecurityArgs {
            kafka_security: Protocol::SaslTls,
            kafka_ca: Some(files().path("ca.pem").into()),
            kafka_user: Some(user.to_owned()),
            kafka_password_file: Some(files().write("password-of-u4", password()).into()),
            kafka_mechanism: Some(Mechanism::ScramSha256),
            ..SecurityArgs::default()
        },
    };
    let config = KafkaConfig::try_from(args).unwrap();
    let feed = join(&config, &allowed, &allowed);
    let hidden = TopicPartition::new(hidden, 0);
    let lanes = [hidden];
    let answer = wait_for("the group's coordinator", || {
        let answer = feed.control().committed(&lanes);
        let is_early = answer.as_ref().is_err_and(|fault| !fault.is_denied());
        (!is_early).then_some(answer)
    });
    assert!(answer.is_err(), "{answer:?}");
    feed.close_blocking();
}

#[test]
fn a_source_stays_in_its_partition_when_the_topic_gets_more() {
    const PARTITIONS: i32 = 8;
    const FRAMES: usize = 420;
    let servers = shared();
    let input = topic(servers, 1);
    let source = (0..).map(|n| format!("cam{n}"));
    let source = source
        .into_iter()
        .find(|id| partition_of(id.as_bytes(), PARTITIONS) != 0)
        .unwrap();
    // Longer than the 10 s after which a client has surely heard of the new partitions.
    let count = FRAMES.to_string();
    let line = [
        "--pattern",
        "160x96@30",
        "--topic",
        &input,
        "--source-id",
        &source,
    ];
    let live = [&line[..], &["--pace", "realtime", "--count", &count]].concat();
    let producer = Process::start("producer", servers, &live);
    Follower::new(servers, &input).wait_for(5);
    add_partitions(servers, &input, PARTITIONS);
    let (code, log) = producer.outcome();
    assert_eq!(code, Some(0), "{log}");
    run_ok(
        "producer",
        servers,
        &[&line[..], &["--pace", "max", "--count", "3"]].concat(),
    );
    let seen = read_committed(servers, &input);
    let partitions: BTreeSet<_> = seen.iter().map(|seen| seen.record.lane.partition).collect();
    assert_eq!((partitions, seen.len()), ([0].into(), FRAMES + 3 + 2));
}
