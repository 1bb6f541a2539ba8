//! To Kafka by TLS and with a login: who fits gets through, who does not is told why and gets nowhere.

use crate::harness::name;
use crate::security_lab::{allow_everything, files, password, start};

const FAILURE: i32 = 1;
const CONFIGURATION: i32 = 2;

/// Runs frames through producer and consumer at a listener.
fn check_open(listener: &str, options: &str, environment: &[(&str, &str)]) {
    let topic = name();
    let source = format!("--pattern 160x120@30 --pace max --count 5 --topic {topic} {options}");
    let (code, log) = start("producer", listener, &source, environment).outcome();
    assert_eq!(code, Some(0), "{listener}: {log}");
    let sink = format!("--topic {topic} --until end --sink jsonl:- {options}");
    let (code, log) = start("consumer", listener, &sink, environment).outcome();
    assert_eq!(code, Some(0), "{listener}: {log}");
    assert_eq!(log.matches("\"kind\":\"frame\"").count(), 5, "{log}");
}

/// Runs each service, which must end like this (within the harness's minute) and say these words.
fn check_closed(
    listener: &str,
    options: &str,
    environment: &[(&str, &str)],
    code: i32,
    words: &[&str],
) {
    let topic = name();
    let lines = [
        (
            "producer",
            format!("--pattern 160x120@30 --topic {topic} {options}"),
        ),
        ("consumer", format!("--topic {topic} {options}")),
        (
            "broker",
            format!(
                "--input {topic} --output {topic}.out --processor http://127.0.0.1:1 {options}"
            ),
        ),
    ];
    let running = lines.map(|(binary, line)| start(binary, listener, &line, environment));
    for process in running {
        let (found, log) = process.outcome();
        assert_eq!(found, Some(code), "{listener} {options}: {log}");
        let error = log.find("error:").map_or("", |at| &log[at..]);
        for word in words {
            assert!(
                error.contains(word),
                "{listener} {options}: no {word:?} in {log}"
            );
        }
    }
}

#[test]
fn frames_pass_by_tls() {
    check_open("tls", "--kafka-security tls --kafka-ca @ca.pem", &[]);
}

#[test]
fn frames_pass_by_tls_with_a_login_of_either_kind() {
    allow_everything("User:u7");
    let options = "--kafka-security SASL_SSL --kafka-ca @ca.pem --kafka-user u7 --kafka-mechanism";
    for mechanism in ["scram-sha-256", "scram-sha-512", "plain"] {
        let secret = [("FRAMELANE_KAFKA_PASSWORD", password())];
        check_open("login", &format!("{options} {mechanism}"), &secret);
    }
    let file = files().write("password", &format!("{}\n", password()));
    let ca = files().path("ca.pem");
    let all_from_the_environment = [
        ("FRAMELANE_KAFKA_SECURITY", "sasl-tls"),
        ("FRAMELANE_KAFKA_CA", ca.as_str()),
        ("FRAMELANE_KAFKA_USER", "u7"),
        ("FRAMELANE_KAFKA_PASSWORD_FILE", file.as_str()),
    ];
    check_open("login", "", &all_from_the_environment);
    let secret = [("FRAMELANE_KAFKA_PASSWORD", password())];
    check_open(
        "open",
        "--kafka-security sasl-plaintext --kafka-user u7",
        &secret,
    );
}

#[test]
fn frames_pass_where_both_sides_show_certificates() {
    allow_everything("User:CN=client");
    let options =
        "--kafka-security tls --kafka-ca @ca.pem --kafka-cert @client.pem --kafka-key @client.key";
    check_open("mutual", options, &[]);
}

#[test]
fn a_certificate_that_cannot_be_trusted_is_refused_with_the_reason() {
    let tls = "--kafka-security tls --kafka-ca";
    for (listener, options, words) in [
        (
            "tls",
            format!("{tls} @other-ca.pem"),
            ["signed by nobody", "--kafka-ca"],
        ),
        ("expired", format!("{tls} @ca.pem"), ["expired", "renew"]),
        (
            "elsewhere",
            format!("{tls} @ca.pem"),
            ["other host names", "--bootstrap-servers"],
        ),
        // Without a CA the system's decide, which know nothing of this one.
        (
            "tls",
            "--kafka-security tls".to_owned(),
            ["certificate", "--kafka-ca"],
        ),
    ] {
        check_closed(listener, &options, &[], FAILURE, &words);
    }
}

#[test]
fn without_the_certificate_that_kafka_wants_nobody_gets_in() {
    let tls = "--kafka-security tls --kafka-ca @ca.pem";
    let words = ["--kafka-cert", "--kafka-key"];
    check_closed("mutual", tls, &[], FAILURE, &words);
    let stranger = format!("{tls} --kafka-cert @stranger.pem --kafka-key @stranger.key");
    check_closed("mutual", &stranger, &[], FAILURE, &words);
}

#[test]
fn wrong_passwords_unknown_users_and_mechanisms_are_refused() {
    let login = "--kafka-security sasl-tls --kafka-ca @ca.pem --kafka-user";
    let words = ["--kafka-user", "FRAMELANE_KAFKA_PASSWORD"];
    for user in ["u7", "nobody"] {
        let wrong = [("FRAMELANE_KAFKA_PASSWORD", "wrong")];
        check_closed("login", &format!("{login} {user}"), &wrong, FAILURE, &words);
    }
}

#[test]
fn listeners_of_another_kind_are_told_apart() {
    let secret = [("FRAMELANE_KAFKA_PASSWORD", password())];
    check_closed("tls", "", &[], FAILURE, &["speak TLS", "--kafka-security"]);
    let tls = "--kafka-security tls --kafka-ca @ca.pem";
    check_closed("open", tls, &[], FAILURE, &["no TLS", "--kafka-security"]);
    check_closed("open", "", &[], FAILURE, &["login", "--kafka-security"]);
    let login = "--kafka-security sasl-plaintext --kafka-user u7";
    check_closed(
        "tls",
        login,
        &secret,
        FAILURE,
        &["speak TLS", "--kafka-security"],
    );
}

#[test]
fn files_that_cannot_be_used_are_wrong_settings() {
    let tls = "--kafka-security tls --kafka-ca @ca.pem";
    for (options, words) in [
        (
            "--kafka-security tls --kafka-ca /nowhere/ca.pem".to_owned(),
            ["--kafka-ca", "/nowhere/ca.pem"],
        ),
        (
            format!("{tls} --kafka-cert @client.pem"),
            ["--kafka-key", "both"],
        ),
        (
            format!("{tls} --kafka-cert @client.pem --kafka-key @ca.pem"),
            ["--kafka-key", "private key"],
        ),
        (
            format!("{tls} --kafka-cert @client.pem --kafka-key @server.key"),
            ["ssl", "key"],
        ),
        ("--kafka-ca @ca.pem".to_owned(), ["--kafka-ca", "tls"]),
        (
            "--kafka-security sasl-tls --kafka-ca @ca.pem --kafka-user u7".to_owned(),
            ["password", "FRAMELANE_KAFKA_PASSWORD"],
        ),
        (
            "--kafka-security sasl-tls --kafka-user u7 --kafka-password-file /nowhere/pw"
                .to_owned(),
            ["/nowhere/pw", "--kafka-password-file"],
        ),
    ] {
        check_closed("tls", &options, &[], CONFIGURATION, &words);
    }
}
