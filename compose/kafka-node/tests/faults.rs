//! A real Kafka survives what it is there for: being killed, started again, frozen, and orphaned.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kafka_node::{Cluster, Error, Kafka, Options, Way, delete_topic, grow_topic, probe, skipped};

const STEP: Duration = Duration::from_millis(300);

/// None, with a word why, where this way is not open.
fn start(way: Way) -> Option<Kafka> {
    match Kafka::find_or_start(&Options {
        way,
        heap_mib: 512,
        ..Options::default()
    }) {
        Ok(kafka) => Some(kafka),
        Err(Error::Unavailable { way, reason }) => {
            skipped(&format!("a Kafka from {way}"), &reason);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn survives_faults(way: Way) {
    let Some(mut kafka) = start(way) else { return };
    let address = kafka.bootstrap_servers().to_owned();
    probe(&address, STEP).unwrap();

    kafka.pause().unwrap();
    assert!(probe(&address, STEP).is_err(), "frozen, yet it answers");
    kafka.resume().unwrap();
    probe(&address, Duration::from_secs(10)).unwrap();

    kafka.kill().unwrap();
    assert!(probe(&address, STEP).is_err(), "killed, yet it answers");

    match kafka.restart() {
        // Apache's image accepts data that it finds; a stand-in for it may not.
        Err(Error::Start { log_tail, .. })
            if way == Way::Docker && log_tail.contains("already formatted") =>
        {
            skipped(
                "restart of a Kafka in Docker",
                "this image refuses to start on the data of its first start",
            );
            return;
        }
        restarted => restarted.unwrap(),
    }
    assert_eq!(kafka.bootstrap_servers(), address);
    probe(&address, STEP).unwrap();

    drop(kafka);
    assert!(probe(&address, STEP).is_err(), "dropped, yet it answers");
}

#[test]
fn a_node_from_jars_survives_faults() {
    survives_faults(Way::Jars);
}

#[test]
fn a_node_from_docker_survives_faults() {
    survives_faults(Way::Docker);
}

#[test]
fn a_given_kafka_is_found_and_used_but_never_harmed() {
    let Some(kafka) = start(Way::Any) else { return };
    kafka.create_topic("frames").unwrap();
    kafka.create_topic("frames").unwrap();
    let refusal = kafka.create_topic("not a name").unwrap_err().to_string();
    assert!(
        refusal.starts_with("the topic not a name: error code 17: "),
        "{refusal}"
    );
    grow_topic(kafka.bootstrap_servers(), "frames", 3).unwrap();
    assert!(grow_topic(kafka.bootstrap_servers(), "frames", 3).is_err());
    delete_topic(kafka.bootstrap_servers(), "frames").unwrap();
    assert!(delete_topic(kafka.bootstrap_servers(), "frames").is_err());
    let bootstrap_servers = format!("127.0.0.1:1, {}", kafka.bootstrap_servers());
    let options = Options {
        bootstrap_servers: Some(bootstrap_servers),
        ..Options::default()
    };
    let mut given = Kafka::find_or_start(&options).unwrap();
    assert!(matches!(given.kill(), Err(Error::NotOurs { .. })));
    assert!(matches!(given.restart(), Err(Error::NotOurs { .. })));
    drop(given);
    probe(kafka.bootstrap_servers(), Duration::from_secs(10)).unwrap();
}

#[test]
fn a_cluster_loses_a_node_and_goes_on() {
    let Some(_jars_are_fetched) = start(Way::Jars) else {
        return;
    };
    let options = Options {
        heap_mib: 512,
        proxies: vec!["127.0.0.1:1".to_owned(); Cluster::NODES],
        ..Options::default()
    };
    let mut cluster = Cluster::start(&options).unwrap();
    let servers = cluster.bootstrap_servers().to_owned();
    let addresses: Vec<&str> = servers.split(',').collect();
    assert_eq!((addresses.len(), cluster.proxied().len()), (3, 3));
    for address in cluster.proxied() {
        probe(address, STEP).unwrap();
    }
    cluster.kill(0);
    assert!(probe(addresses[0], STEP).is_err(), "killed, yet it answers");
    // A majority serves requests, this one for the answer that there is no such topic.
    let refusal = delete_topic(addresses[1], "none").unwrap_err().to_string();
    assert!(refusal.contains("error code 3"), "{refusal}");
    cluster.restart(0).unwrap();
    probe(addresses[0], Duration::from_secs(10)).unwrap();
}

/// Set in the process that is killed: this test runs itself again as that process.
const HOLDER: &str = "FRAMELANE_TEST_HOLDS_A_KAFKA";

#[test]
fn a_node_dies_with_the_process_that_started_it() {
    if std::env::var_os(HOLDER).is_some() {
        let kafka = start(Way::Jars).unwrap();
        println!("\nholds {}", kafka.bootstrap_servers());
        std::io::stdin().lines().for_each(drop);
        return;
    }
    let Some(_jars_are_fetched) = start(Way::Jars) else {
        return;
    };
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_node_dies_with_the_process_that_started_it",
            "--nocapture",
        ])
        .env(HOLDER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let address = lines
        .find_map(|line| line.strip_prefix("holds ").map(str::to_owned))
        .unwrap();
    probe(&address, Duration::from_secs(10)).unwrap();

    holder.kill().unwrap();
    holder.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while probe(&address, STEP).is_ok() {
        assert!(
            Instant::now() < deadline,
            "the node at {address} outlives the process that started it"
        );
    }
}
