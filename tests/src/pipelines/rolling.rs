//! A new version of a stage takes over where the old one stops, and not before it can.

use super::lab::{Lab, assert_results};
use super::{again, grow, processors, slow};
use crate::harness::{Follower, Process, Seen, publish_while, read_committed, shared, topic};
use pipeline::kafka::{Admin, KafkaConfig, TopicPartition};
use registry::SourceState;
use std::collections::{BTreeMap, BTreeSet};

/// A stage of version 1, and the processor of version 2: its address is known, and nobody is there yet.
struct Rolling {
    lab: Lab,
    cam: String,
    out: String,
    new_url: String,
    _old: Process,
}

impl Rolling {
    fn new() -> Self {
        let [(old, old_url), (new, new_url)] = ["old", "new"].map(slow);
        new.kill9();
        let (lab, cam) = (Lab::new(), topic(shared(), 2));
        lab.source(&cam);
        lab.processor("old", &old_url);
        lab.processor("new", &new_url);
        let rolling = Self {
            out: format!("{cam}.seen"),
            lab,
            cam,
            new_url,
            _old: old,
        };
        rolling.declare("old", 1);
        rolling
    }

    fn declare(&self, processor: &str, version: u32) {
        let place = format!(
            "from: [{}], processor: {processor}, version: {version}",
            self.cam
        );
        self.lab
            .pipeline("rolling", &format!("{{name: seen, {place}}}"));
    }
}

#[test]
fn a_new_version_takes_over_where_the_old_one_stops_and_not_before_it_is_up() {
    let rolling = Rolling::new();
    let (lab, cam, out) = (&rolling.lab, &rolling.cam, &rolling.out);
    let brokers = ["0", "1"].map(|name| lab.broker(name));
    let sources = ["a", "b", "c", "d"];
    let (count, _new) = publish_while(shared(), cam, &sources, || {
        let mut follower = Follower::new(shared(), out);
        grow(&mut follower);
        rolling.declare("new", 2);
        lab.wait_until(
            out,
            SourceState::Live,
            "processor new of version 1 is not up yet",
        );
        grow(&mut follower);
        assert_results(&follower.seen, &["old"]);
        let new = again("new", &rolling.new_url);
        lab.wait_until_applied("rolling");
        wait_for_the_new(&mut follower);
        grow(&mut follower);
        new
    });
    let total = count as usize * sources.len();
    Follower::new(shared(), out).wait_for(total);
    for broker in brokers {
        assert!(broker.stop().success());
    }
    assert_went_over_once(out, &sources, count);
}

/// Waits until the new version has come to both partitions.
fn wait_for_the_new(follower: &mut Follower) {
    let mut partitions = BTreeSet::new();
    let mut looked = 0;
    while partitions.len() < 2 {
        follower.wait_for(looked + 1);
        let more = follower.seen[looked..].iter();
        let new = more.filter(|one| processors(one) == ["new"]);
        partitions.extend(new.map(|one| one.record.lane.partition));
        looked = follower.seen.len();
    }
}

/// Everything is there once and in order, and each partition went from the old version to the new one.
fn assert_went_over_once(out: &str, sources: &[&str], count: u64) {
    let output = read_committed(shared(), out);
    crate::harness::assert_complete(&output, sources, count);
    let mut by_partition: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for one in &output {
        let turns = by_partition.entry(one.record.lane.partition).or_default();
        turns.extend(processors(one));
        turns.dedup();
    }
    assert_eq!(by_partition.len(), 2);
    for turns in by_partition.values() {
        assert_eq!(
            *turns,
            ["old", "new"],
            "each partition goes over once, and never back"
        );
    }
}

#[test]
fn a_version_that_does_not_come_up_stops_nothing_whoever_is_killed_meanwhile() {
    let rolling = Rolling::new();
    let (lab, cam, out) = (&rolling.lab, &rolling.cam, &rolling.out);
    let [first, second] = ["0", "1"].map(|name| lab.broker(name));
    let sources = ["a", "b", "c", "d"];
    let (count, brokers) = publish_while(shared(), cam, &sources, || {
        let mut follower = Follower::new(shared(), out);
        grow(&mut follower);
        rolling.declare("new", 2);
        let not_up = "processor new of version 1 is not up yet";
        lab.wait_until(out, SourceState::Live, not_up);
        first.kill9();
        let again = lab.broker("0");
        // It knows the new version only, and must not take frames that it cannot process.
        lab.wait_until(out, SourceState::Waiting, not_up);
        for (partition, count) in records(cam) {
            let of_it = |one: &&Seen| one.record.lane.partition == partition;
            while follower.seen.iter().filter(of_it).count() < count {
                follower.wait_for(follower.seen.len() + 1);
            }
        }
        assert_results(&follower.seen, &["old"]);
        let new = super::again("new", &rolling.new_url);
        wait_for_the_new(&mut follower);
        grow(&mut follower);
        (again, second, new)
    });
    Follower::new(shared(), out).wait_for(count as usize * sources.len());
    let (first, second, _new) = brokers;
    for broker in [first, second] {
        assert!(broker.stop().success());
    }
    assert_went_over_once(out, &sources, count);
}

/// How many there are in each partition of a topic that nobody writes in transactions.
fn records(topic: &str) -> BTreeMap<i32, usize> {
    let admin = Admin::connect(&KafkaConfig::new(shared()).unwrap()).unwrap();
    let lanes = admin.partitions(topic).unwrap().into_iter();
    let count = |lane: TopicPartition| {
        let (_, end) = admin.ends(&lane).unwrap();
        (lane.partition, usize::try_from(end).unwrap())
    };
    lanes.map(count).collect()
}
