//! What is done with alerts, when receivers refuse, commands fail, and consumers are killed or stopped meanwhile.

use super::scene::{ALERTS, action, ids, ids_in, keys, monitor, one_source, watch};
use crate::harness::{Lines, Process, Receiver, name, run, run_ok, shared, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn a_webhook_is_asked_again_until_it_takes_the_alert() {
    let input = one_source();
    let receiver = Receiver::start(|number| [503, 429, 200].get(number).copied().unwrap_or(202));
    let webhook = format!("webhook:{}", receiver.url());
    let log = watch(&input, &["--do", &webhook]);
    assert!(
        !log.contains("secret"),
        "the log shows a URL's token\n{log}"
    );
    let requests = receiver.requests();
    let again = [ALERTS[0], ALERTS[0]];
    assert_eq!(keys(&requests), ids("a", &[&again[..], &ALERTS].concat()));
    assert!(requests[..3].iter().all(|one| one.body == requests[0].body));
    let body: Value = serde_json::from_str(&requests[0].body).unwrap();
    assert_eq!(body["id"], "a/1/60");
    assert_eq!(body["frame"]["source"], "a");
}

#[test]
fn an_alert_that_nobody_takes_ends_the_consumer_and_is_the_first_when_it_is_started_again() {
    let input = one_source();
    let group = name();
    let receiver = Receiver::start(|number| if number == 1 { 404 } else { 200 });
    let webhook = format!("webhook:{}", receiver.url());
    let args = monitor(
        &input,
        &["--group", &group, "--do", &webhook, "--until", "end"],
    );
    let (code, log) = run("consumer", shared(), &args);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("did not take alert a/1/210"), "{log}");
    assert!(log.contains("404"), "{log}");
    run_ok("consumer", shared(), &args);
    let requests = receiver.requests();
    let took: Vec<_> = requests
        .iter()
        .filter(|one| one.answer == 200)
        .cloned()
        .collect();
    let first = &requests[..2];
    assert_eq!(keys(first), ids("a", &ALERTS[..2]));
    // The one before may have been committed, or comes again.
    let mut seen = BTreeSet::new();
    let once: Vec<String> = keys(&took)
        .into_iter()
        .filter(|key| seen.insert(key.clone()))
        .collect();
    assert_eq!(once, ids("a", &ALERTS));
}

#[test]
fn a_consumer_that_is_stopped_while_nobody_takes_an_alert_ends_at_once_and_loses_nothing() {
    let input = one_source();
    let group = name();
    let receiver = Receiver::start(|_| 503);
    let webhook = format!("webhook:{}", receiver.url());
    let args = monitor(&input, &["--group", &group, "--do", &webhook]);
    let mut consumer = Process::start("consumer", shared(), &args);
    consumer.wait_for_log("trying again");
    consumer.signal(Signal::SIGTERM);
    assert_eq!(consumer.wait().code(), Some(1));
    let log = consumer.log();
    assert!(log.contains("stopped before it could try again"), "{log}");

    let receiver = Receiver::start(|_| 200);
    let webhook = format!("webhook:{}", receiver.url());
    watch(&input, &["--group", &group, "--do", &webhook]);
    assert_eq!(keys(&receiver.requests()), ids("a", &ALERTS));
}

#[test]
fn an_alert_that_one_action_has_done_and_another_not_is_not_lost_to_a_kill() {
    let input = one_source();
    let folder = tempfile::tempdir().unwrap();
    let (file, group) = (folder.path().join("alerts"), name());
    let (jsonl, stuck) = (action("jsonl", &file), Receiver::start(|_| 503));
    let webhook = format!("webhook:{}", stuck.url());
    let more = ["--group", &group, "--instance", "one", "--do", &jsonl];
    // Slowly: what waits for the webhook is then so little that a checkpoint fits in.
    let slowly = [&more[..], &["--do", &webhook, "--rate", "2x"]].concat();
    let consumer = Process::start("consumer", shared(), &monitor(&input, &slowly));
    wait_for("the file to be ahead of the webhook", || {
        let progress = folder.path().join("alerts.framelane-progress.json");
        let text = std::fs::read_to_string(progress).ok()?;
        let progress: Value = serde_json::from_str(&text).ok()?;
        (progress["lanes"][0]["next"].as_u64()? > ALERTS[0]).then_some(())
    });
    consumer.kill9();

    let receiver = Receiver::start(|_| 200);
    let webhook = format!("webhook:{}", receiver.url());
    watch(&input, &[&more[..], &["--do", &webhook]].concat());
    assert_eq!(keys(&receiver.requests()), ids("a", &ALERTS));
    assert_eq!(ids_in(&Lines::read(&file)), ids("a", &ALERTS));
}

#[test]
fn a_command_is_given_the_alert_and_the_picture_and_run_again_if_it_fails() {
    let input = one_source();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let command = format!(
        "exec:mkdir {} && exit 3; cat >> {}; cat \"$FRAMELANE_PICTURE\" >> {}; echo \"$FRAMELANE_ALERT_ID $FRAMELANE_PICTURE\" >> {}",
        at("failed"),
        at("alerts"),
        at("pictures"),
        at("ids")
    );
    let log = watch(&input, &["--do", &command]);
    assert!(log.contains("trying again"), "{log}");
    assert_eq!(
        ids_in(&Lines::read(&folder.path().join("alerts"))),
        ids("a", &ALERTS)
    );
    let pictures = std::fs::read(at("pictures")).unwrap();
    let begins = pictures
        .windows(3)
        .filter(|bytes| *bytes == b"\xff\xd8\xff");
    assert_eq!(begins.count(), ALERTS.len());
    let told = std::fs::read_to_string(at("ids")).unwrap();
    let told: Vec<(&str, &str)> = told
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let told_ids: Vec<&str> = told.iter().map(|(id, _)| *id).collect();
    assert_eq!(told_ids, ids("a", &ALERTS));
    assert!(
        told.iter().all(|(_, picture)| !Path::new(picture).exists()),
        "pictures are left behind"
    );

    let (code, log) = run(
        "consumer",
        shared(),
        &monitor(
            &input,
            &["--until", "end", "--do", "exec:framelane-no-such-command"],
        ),
    );
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("exec framelane-no-such-command did not take alert a/1/60"),
        "{log}"
    );
}
