//! Secrets are shown by nothing: not by --help, not in success or failure, not at the most talkative log level, and
//! not in metrics.

use crate::harness::{Process, name, processor, program, scrape, wait_for};
use crate::security_lab::{allow_everything, at, files, password, start};
use std::process::Command;

/// What must not be seen: the password, and what is in the key files.
fn secrets() -> Vec<String> {
    let key = |file: &str| {
        let text = std::fs::read_to_string(files().path(file)).unwrap();
        text.lines().nth(1).expect("a key").to_owned()
    };
    vec![password().to_owned(), key("client.key"), key("server.key")]
}

fn assert_silent(what: &str, said: &str) {
    assert!(!said.is_empty(), "{what} says nothing at all");
    for secret in secrets() {
        assert!(!said.contains(&secret), "{what} shows {secret}: {said}");
    }
}

/// Every way in which a service can be given a secret.
fn environment() -> [(&'static str, &'static str); 3] {
    [
        ("RUST_LOG", "trace"),
        ("FRAMELANE_KAFKA_PASSWORD", password()),
        ("FRAMELANE_KAFKA_KEY_PASSWORD", password()),
    ]
}

const LOGIN: &str =
    "--kafka-security sasl-tls --kafka-ca @ca.pem --kafka-cert @client.pem --kafka-key @client.key";

#[test]
fn help_and_wrong_settings_show_no_secrets() {
    for binary in ["producer", "broker", "consumer"] {
        for line in [
            "--help",
            "-h",
            "--version",
            "--kafka-password",
            "--kafka-security tls --kafka-user u7",
        ] {
            let (_, said) = start(binary, "login", line, &environment()).outcome();
            assert_silent(&format!("{binary} {line}"), &said);
        }
    }
}

#[test]
fn success_and_failure_show_no_secrets() {
    allow_everything("User:u6");
    let topic = name();
    let lines = |user: &str| {
        let login = format!("{LOGIN} --kafka-user {user}");
        [
            (
                "producer",
                format!("--pattern 160x120@30 --pace max --count 3 --topic {topic} {login}"),
            ),
            (
                "consumer",
                format!("--topic {topic} --until end --sink jsonl:- {login}"),
            ),
            (
                "consumer",
                format!("--topic {topic} --group {topic} --until end --sink null {login}"),
            ),
        ]
    };
    for (binary, line) in lines("u6") {
        let (code, said) = start(binary, "login", &line, &environment()).outcome();
        assert_eq!(code, Some(0), "{said}");
        assert_silent(&line, &said);
    }
    // A user that may not do it, one that does not exist, and a Kafka that is not there.
    for (binary, line) in lines("u5").into_iter().chain(lines("nobody")) {
        let (code, said) = start(binary, "login", &line, &environment()).outcome();
        assert_eq!(code, Some(1), "{said}");
        assert_silent(&line, &said);
    }
}

#[test]
fn a_broker_and_its_metrics_show_no_secrets() {
    allow_everything("User:u6");
    let topic = name();
    let source = format!(
        "--pattern 160x120@30 --pace max --count 3 --topic {topic} {LOGIN} --kafka-user u6"
    );
    let (code, said) = start("producer", "login", &source, &environment()).outcome();
    assert_eq!(code, Some(0), "{said}");
    let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| files().path(name));
    let (processor, url) = processor(&[
        "echo",
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &ca,
    ]);
    let url = url.replace("http://", "https://");
    let [metrics] = kafka_node::free_ports::<1>().unwrap();
    let line = format!(
        "--input {topic} --output {topic}.out --processor {url} --metrics 127.0.0.1:{metrics} --processor-ca @ca.pem \
         --processor-cert @client.pem --processor-key @client.key {LOGIN} --kafka-user u6"
    );
    let broker = start("broker", "login", &line, &environment());
    let scraped = wait_for("frames in the metrics", || {
        scrape(metrics).filter(|text| text.contains("framelane_broker_frames_total"))
    });
    assert_silent("metrics", &scraped);
    let said = broker.log();
    assert!(broker.stop().success());
    assert_silent("broker", &said);
    assert_silent("processor", &processor.log());
}

#[test]
fn the_password_of_a_camera_is_not_shown() {
    let url = format!("rtsp://admin:{}@127.0.0.1:1/stream", password());
    let line = format!(
        "--url {url} --topic {} --reconnect-for 1s --kafka-security tls --kafka-ca",
        name()
    );
    let mut command = Command::new(program("producer"));
    command
        .args(line.split(' '))
        .arg(files().path("ca.pem"))
        .env("KAFKA_BOOTSTRAP_SERVERS", at("tls"))
        .env("RUST_LOG", "debug");
    let (_, said) = Process::spawn("producer --url", command).outcome();
    assert_silent("producer --url", &said);
}
