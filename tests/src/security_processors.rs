//! To processors by TLS: who fits gets frames, who does not gets none and is told why.

use crate::harness::{
    Follower, Process, assert_complete, broker, processor, program, publish, read_committed, run,
    shared, topic,
};
use crate::security_lab::files;
use pipeline::kafka::{Admin, KafkaConfig, TopicSpec};
use std::process::Command;

const CONFIGURATION: i32 = 2;

/// Replaces words that name files, as in the other tests of security.
fn words(line: &str) -> Vec<String> {
    let word = |word: &str| match word.strip_prefix('@') {
        Some(name) => files().path(name),
        None => word.to_owned(),
    };
    line.split_whitespace().map(word).collect()
}

/// An echo processor with these options; returns where it listens.
fn echo(options: &str) -> (Process, String) {
    let all = words(&format!("echo {options}"));
    let (process, url) = processor(&all.iter().map(String::as_str).collect::<Vec<_>>());
    (process, url.replace("http://", ""))
}

/// A broker from a new topic of 3 frames to a processor at `url`.
fn start(url: &str, options: &str) -> (Process, String) {
    let input = topic(shared(), 1);
    publish(shared(), &input, "s", 0..3);
    let output = format!("{input}.out");
    create_topic(shared(), &output);
    let all = words(options);
    let more: Vec<&str> = all.iter().map(String::as_str).collect();
    (broker(shared(), &input, &[url], &more), output)
}

fn create_topic(servers: &str, name: &str) {
    let config = KafkaConfig::new(servers).expect("a usable address");
    let admin = Admin::connect(&config).expect("Kafka answers");
    admin
        .ensure_topic(&TopicSpec::frames(name, 1))
        .expect("a new topic");
}

const SERVER: &str = "--tls-cert @server.pem --tls-key @server.key";
const MUTUAL: &str = "--tls-cert @server.pem --tls-key @server.key --tls-client-ca @ca.pem";

#[test]
fn frames_pass_by_tls_and_where_both_sides_show_certificates() {
    let client = "--processor-ca @ca.pem --processor-cert @client.pem --processor-key @client.key";
    for (server, host, options) in [
        (SERVER, None, "--processor-ca @ca.pem"),
        (SERVER, Some("localhost"), "--processor-ca @ca.pem"),
        (MUTUAL, None, client),
    ] {
        let (_processor, address) = echo(server);
        let address = match host {
            Some(host) => address.replace("127.0.0.1", host),
            None => address,
        };
        let (broker, output) = start(&format!("https://{address}"), options);
        let mut follower = Follower::new(shared(), &output);
        follower.wait_for(3);
        let seen = std::mem::take(&mut follower.seen);
        assert_complete(&seen, &["s"], 3);
        assert!(broker.stop().success());
    }
}

#[test]
fn whoever_cannot_be_trusted_gets_no_frames_and_the_log_says_why() {
    let with = |name: &str| format!("--tls-cert @{name}.pem --tls-key @{name}.key");
    let stranger =
        "--processor-ca @ca.pem --processor-cert @stranger.pem --processor-key @stranger.key";
    let cases = [
        (
            with("server"),
            "https",
            "--processor-ca @other-ca.pem",
            "signed by nobody",
        ),
        (with("server"), "https", "", "signed by nobody"),
        (
            with("expired"),
            "https",
            "--processor-ca @ca.pem",
            "has expired",
        ),
        (
            with("elsewhere"),
            "https",
            "--processor-ca @ca.pem",
            "another host name",
        ),
        (
            MUTUAL.to_owned(),
            "https",
            "--processor-ca @ca.pem",
            "--processor-cert",
        ),
        (MUTUAL.to_owned(), "https", stranger, "--processor-cert"),
        (with("server"), "http", "", "https://"),
        (
            String::new(),
            "https",
            "--processor-ca @ca.pem",
            "does not speak TLS",
        ),
    ];
    for (server, scheme, options, words) in cases {
        let (processor, address) = echo(&server);
        let (broker, output) = start(&format!("{scheme}://{address}"), options);
        broker.wait_for_log(words);
        broker.wait_for_log("frames wait");
        assert!(broker.stop().success());
        assert!(read_committed(shared(), &output).is_empty());
        assert!(!processor.log().contains("panicked"));
    }
}

#[test]
fn files_that_cannot_be_used_are_wrong_settings() {
    for line in [
        "processor echo --listen 127.0.0.1:0 --tls-cert @server.pem",
        "processor echo --listen 127.0.0.1:0 --tls-client-ca @ca.pem",
        "processor echo --listen 127.0.0.1:0 --tls-cert @server.pem --tls-key /nowhere/key",
        "processor echo --listen 127.0.0.1:0 --tls-cert @server.pem --tls-key @client.key",
        "broker --input a --output b --processor https://localhost:1 --processor-ca /nowhere/ca",
        "broker --input a --output b --processor https://localhost:1 --processor-ca @server.key",
        "broker --input a --output b --processor https://localhost:1 --processor-cert @client.pem",
        "broker --input a --output b --processor http://localhost:1 --processor-ca @ca.pem",
        "broker --input a --output b --processor https://localhost:1 --processor-cert @client.pem --processor-key \
         @server.key",
    ] {
        let all = words(line);
        let args: Vec<&str> = all[1..].iter().map(String::as_str).collect();
        let (code, log) = run(&all[0], "localhost:1", &args);
        assert_eq!(code, Some(CONFIGURATION), "{line}: {log}");
        assert!(
            log.contains("tls") || log.contains("TLS") || log.contains("--processor-"),
            "{log}"
        );
    }
}

#[test]
fn whoever_listens_to_other_machines_unprotected_is_warned() {
    let log_of = |options: &str| {
        let line = format!("echo --listen 0.0.0.0:0 {options}");
        let all = words(&line);
        let mut command = Command::new(program("processor"));
        command.args(&all);
        let process = Process::spawn("processor", command);
        process.wait_for_log("listening");
        let log = process.log();
        assert!(process.stop().success());
        log
    };
    let warning = "calls are taken from other machines";
    assert!(log_of("").contains(warning));
    assert!(!log_of(SERVER).contains(warning));
    assert!(log_of("--metrics 0.0.0.0:0").contains("metrics can be read from other machines"));
    let topic = topic(shared(), 1);
    let args = [
        "--topic",
        &topic,
        "--until",
        "end",
        "--metrics",
        "0.0.0.0:0",
    ];
    let (code, log) = run("consumer", shared(), &args);
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("metrics can be read from other machines"),
        "{log}"
    );
}

#[test]
fn nobody_listens_beyond_this_machine_unless_told_to() {
    let (code, help) = run("processor", "localhost:1", &["--help"]);
    assert_eq!(code, Some(0));
    let help: Vec<&str> = help.split_whitespace().collect();
    assert!(
        help.join(" ").contains("[default: 127.0.0.1:50051]"),
        "{help:?}"
    );
    let sdk = processor_proto::ServeConfig::default();
    assert!(sdk.listen.ip().is_loopback() && sdk.metrics.is_none());
    for binary in ["producer", "broker", "consumer"] {
        let (_, help) = run(binary, "localhost:1", &["--help"]);
        let metrics = help
            .split("--metrics")
            .nth(1)
            .expect("an option for metrics");
        let described = metrics.split("\n\n").next().unwrap_or_default();
        assert!(!described.contains("default"), "{binary}: {described}");
    }
}
