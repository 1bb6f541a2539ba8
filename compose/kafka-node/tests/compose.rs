//! `compose.yaml` is understood in all its profiles, and its Kafka comes up where an engine answers.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use kafka_node::{free_ports, probe, skipped};

/// In the repository's root, under a name that no other run has.
fn compose(project: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new("docker");
    command
        .args(["compose", "--project-name", project])
        .current_dir(root);
    command
}

/// Whether this machine has the command; the reason if not.
fn refusal(command: &mut Command) -> Option<String> {
    match command.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("docker: {error}")),
    }
}

fn assert_success(output: &Output) {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn compose_is_valid_in_every_profile() {
    if let Some(reason) = refusal(Command::new("docker").args(["compose", "version"])) {
        return skipped("compose_is_valid_in_every_profile", &reason);
    }
    for profile in ["", "cluster", "demo", "observe", "edge", "*"] {
        let output = compose("framelane-check")
            .args(["--profile", profile, "config", "--quiet"])
            .output()
            .unwrap();
        assert_success(&output);
    }
}

#[test]
fn composes_kafka_becomes_healthy_and_answers() {
    let name = "composes_kafka_becomes_healthy_and_answers";
    let engine = refusal(Command::new("docker").args(["compose", "ls"]));
    if let Some(reason) = engine {
        return skipped(name, &reason);
    }
    let image = format!("apache/kafka:{}", kafka_node::KAFKA_VERSION);
    if let Some(reason) = refusal(Command::new("docker").args(["image", "inspect", &image]))
        .and_then(|_| refusal(Command::new("docker").args(["pull", "--quiet", &image])))
    {
        return skipped(name, &reason);
    }
    let [port] = free_ports().unwrap();
    let project = format!("framelane-test-{port}");
    let up = compose(&project)
        .args(["up", "--detach", "--wait", "kafka"])
        .env("FRAMELANE_KAFKA_PORT", port.to_string())
        .output()
        .unwrap();
    let answer = probe(&format!("127.0.0.1:{port}"), Duration::from_secs(5));
    let down = compose(&project)
        .args(["down", "--volumes"])
        .output()
        .unwrap();
    assert_success(&up);
    answer.unwrap();
    assert_success(&down);
}
