//! A real Kafka survives what it is there for: being killed, started again, frozen, and orphaned.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kafka_node::{Error, Kafka, Options, Way, probe, skipped};

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
        refusal.starts_with("making the topic not a name: error code 17: "),
        "{refusal}"
    );
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
