//! `producer --managed`: sources come, change and go while the others go on; two producers of one host.

use crate::harness::{
    Follower, Lab, Lines, Process, clip, consume, lines_so_far, name, publish_raw, shared, wait_for,
};
use crate::registry_lab::{framelane, framelane_ok};
use jiff::Timestamp;
use kafka_node::{Kafka, Options};
use nix::sys::signal::Signal;
use registry::instance::{RunningSource, Service, SourceState};
use std::time::{Duration, Instant};

/// Asserts that an epoch's frames are there from 0 on without a hole, and returns how many.
fn assert_whole(lines: &Lines, source: &str, epoch: u64) -> u64 {
    let frames = lines.of(source, epoch).sequences();
    let count = frames.len() as u64;
    assert_eq!(frames, (0..count).collect::<Vec<_>>(), "{source}/{epoch}");
    count
}

/// A span of the week, of one hour, that the present moment is far from.
pub fn far_from_now() -> String {
    let hour = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour();
    let hour = (hour + 12) % 24;
    format!("daily {hour:02}:00-{hour:02}:59")
}

#[test]
fn sources_come_change_and_go_while_the_others_go_on() {
    let lab = Lab::new(shared());
    let (steady, changing) = (name(), name());
    let producer = lab.producer();
    lab.apply_pattern(&steady, "");
    lab.apply_pattern(&changing, "");
    lab.wait_for_state(&steady, SourceState::Live);
    let before = lab.wait_for_state(&changing, SourceState::Live);
    assert_eq!(before.size, Some((160, 120)));
    lab.apply_pattern(&changing, "  options: {resize: 80x60}");
    wait_for("the new size", || {
        lab.said(&changing)
            .filter(|said| said.size == Some((80, 60)))
    });
    lab.apply_pattern(&changing, "  open: always");
    wait_for("the old size", || {
        lab.said(&changing)
            .filter(|said| said.size == Some((160, 120)))
    });
    lab.delete(&format!("source/{changing}"));
    wait_for("the end of it", || {
        lab.said(&changing).is_none().then_some(())
    });
    assert!(producer.stop().success());

    wait_for("its goodbye", || {
        let view = lab.view();
        let mut producers = view.instances().map(|one| one.instance.service);
        (!producers.any(|service| service == Service::Producer)).then_some(())
    });
    let changed = consume(shared(), &changing, &[]);
    assert_eq!(changed.epochs(&changing), [1, 2, 3]);
    for epoch in 1..=3 {
        let count = assert_whole(&changed, &changing, epoch);
        changed.assert_run(&changing, epoch, count, "stopped");
    }
    let steadily = consume(shared(), &steady, &[]);
    assert_eq!(steadily.epochs(&steady), [1], "nobody touched it");
    let count = assert_whole(&steadily, &steady, 1);
    steadily.assert_run(&steady, 1, count, "stopped");
}

#[test]
fn a_source_that_cannot_be_run_is_shown_with_the_reason_and_disturbs_nobody() {
    let lab = Lab::new(shared());
    let (good, refused, missing) = (name(), name(), name());
    let producer = lab.producer();
    lab.apply_pattern(&good, "");
    lab.wait_for_state(&good, SourceState::Live);
    lab.apply_pattern(&refused, "  options: {quality: 700}");
    lab.apply(&format!(
        "kind: Source\nname: {missing}\nspec: {{host: lab1, file: /nowhere/clip.mp4}}\n"
    ));
    let text = lab.wait_for_state(&refused, SourceState::Failed).text;
    assert!(text.contains("quality"), "{text}");
    let text = lab.wait_for_state(&missing, SourceState::Failed).text;
    assert!(text.contains("/nowhere/clip.mp4"), "{text}");

    lab.apply_pattern(&refused, "  options: {quality: 70}");
    let mended = lab.wait_for_state(&refused, SourceState::Live);
    assert_eq!(mended.text, "");
    // Settings that are refused do not end what runs.
    lab.apply_pattern(&refused, "  options: {quality: 700}");
    let told = wait_for("the refusal", || {
        lab.said(&refused)
            .filter(|said| said.text.contains("quality"))
    });
    assert_eq!(told.state, SourceState::Live);
    assert!(producer.stop().success());
    for source in [&good, &refused] {
        let lines = consume(shared(), source, &[]);
        let count = assert_whole(&lines, source, 1);
        lines.assert_run(source, 1, count, "stopped");
    }
}

#[test]
fn an_on_demand_source_is_open_while_somebody_watches_it() {
    let lab = Lab::new(shared());
    let (source, first, second) = (name(), name(), name());
    let _producer = lab.producer();
    lab.apply_pattern(&source, "  open: on-demand\n  close-after: 2s");
    lab.wait_for_state(&source, SourceState::Waiting);
    for consumer in [&first, &second] {
        lab.apply_consumer(consumer, "wait", &["null".to_owned()], &[&source]);
    }
    let one = lab.consumer(&first);
    lab.wait_for_state(&source, SourceState::Live);
    let two = lab.consumer(&second);
    lab.wait_for_instance("the second watcher", |one| {
        one.name == second && one.watches.contains(&source)
    });
    assert!(one.stop().success());
    wait_for("the first watcher to be gone", || {
        (lab.view().watchers(&source) == 1).then_some(())
    });
    assert_eq!(lab.said(&source).unwrap().state, SourceState::Live);
    let left = Instant::now();
    assert!(two.stop().success());
    lab.wait_for_state(&source, SourceState::Waiting);
    assert!(
        left.elapsed() >= Duration::from_secs(2),
        "it was open for a while after"
    );
    let lines = consume(shared(), &source, &[]);
    assert_eq!(lines.epochs(&source), [1], "opened once for both");
    let count = assert_whole(&lines, &source, 1);
    lines.assert_run(&source, 1, count, "stopped");
    let again = lab.consumer(&first);
    lab.wait_for_state(&source, SourceState::Live);
    assert!(again.stop().success());
}

#[test]
fn a_scheduled_source_is_open_within_its_spans_only() {
    let lab = Lab::new(shared());
    let source = name();
    let _producer = lab.producer();
    let closed = format!("  open: schedule\n  schedule: [\"{}\"]", far_from_now());
    lab.apply_pattern(&source, &closed);
    let told = lab.wait_for_state(&source, SourceState::Waiting);
    assert!(told.text.contains("daily"), "{}", told.text);
    lab.apply_pattern(
        &source,
        "  open: schedule\n  schedule: [\"daily 00:00-24:00\"]",
    );
    lab.wait_for_state(&source, SourceState::Live);
    lab.apply_pattern(&source, &closed);
    lab.wait_for_state(&source, SourceState::Waiting);
    let lines = consume(shared(), &source, &[]);
    let count = assert_whole(&lines, &source, 1);
    lines.assert_run(&source, 1, count, "stopped");
}

/// Two producers of one host, the one at work first, with a source that is live.
fn two_producers(lab: &Lab, source: &str, more: &str) -> (Process, Process) {
    let one = lab.producer();
    lab.apply_pattern(source, more);
    lab.wait_for_state(source, SourceState::Live);
    let other = lab.producer();
    lab.wait_for_instance("the one that stands by", |instance| {
        instance.pid == other.id() && instance.sources.is_empty()
    });
    (one, other)
}

fn wait_for_epoch(lab: &Lab, source: &str, epoch: u64) {
    wait_for(&format!("epoch {epoch}"), || {
        let said = lab.said(source)?;
        (said.state == SourceState::Live && said.last?.epoch == epoch).then_some(())
    });
}

/// The source was begun three times, and each time all that it wrote is there.
fn assert_three_whole_epochs(source: &str) {
    let lines = consume(shared(), source, &["--verify-picture"]);
    assert_eq!(lines.epochs(source), [1, 2, 3]);
    for epoch in 1..=3 {
        assert!(assert_whole(&lines, source, epoch) > 0);
    }
}

#[test]
fn a_killed_producer_is_replaced_by_the_one_that_stands_by() {
    let lab = Lab::new(shared());
    let source = name();
    let (killed, heir) = two_producers(&lab, &source, "");
    killed.kill9();
    wait_for_epoch(&lab, &source, 2);
    assert!(heir.stop().success());
    let lines = consume(shared(), &source, &["--verify-picture"]);
    assert_eq!(lines.epochs(&source), [1, 2]);
    assert_whole(&lines, &source, 1);
    assert_eq!(
        lines.of(&source, 1).kind("end").0.len(),
        0,
        "nobody could write one"
    );
    let count = assert_whole(&lines, &source, 2);
    lines.assert_run(&source, 2, count, "stopped");
}

#[test]
fn a_producer_that_was_only_taken_for_dead_stands_by_when_it_comes_back() {
    let lab = Lab::new(shared());
    let source = name();
    let (stalled, heir) = two_producers(&lab, &source, "");
    stalled.signal(Signal::SIGSTOP);
    wait_for_epoch(&lab, &source, 2);
    stalled.signal(Signal::SIGCONT);
    lab.wait_for_instance("the first one to stand by", |instance| {
        instance.pid == stalled.id() && instance.sources.is_empty()
    });
    let frames = lab.said(&source).map_or(0, |said| said.frames);
    wait_for("more frames of the heir", || {
        let said = lab.said(&source)?;
        (said.frames > frames + 20 && said.last?.epoch == 2).then_some(())
    });
    // And it takes over again.
    assert!(heir.stop().success());
    wait_for_epoch(&lab, &source, 3);
    assert!(stalled.stop().success());
    assert_three_whole_epochs(&source);
}

#[test]
fn a_producer_that_was_taken_for_dead_opens_its_sources_anew_if_its_heir_has_ended() {
    let lab = Lab::new(shared());
    let source = name();
    let (stalled, heir) = two_producers(&lab, &source, "");
    stalled.signal(Signal::SIGSTOP);
    wait_for_epoch(&lab, &source, 2);
    assert!(heir.stop().success());
    stalled.signal(Signal::SIGCONT);
    wait_for_epoch(&lab, &source, 3);
    assert!(stalled.stop().success());
    assert_three_whole_epochs(&source);
}

#[test]
fn frames_that_wait_for_a_silent_kafka_are_not_given_up_when_another_producer_takes_its_turn() {
    let mut kafka = Kafka::start_jars(&Options::default()).expect("a Kafka of this test's own");
    let servers = kafka.bootstrap_servers().to_owned();
    let lab = Lab::new(&servers);
    let source = name();
    let (one, other) = two_producers(&lab, &source, "  options: {resize: 1280x720}");
    kafka.pause().expect("a node of our own");
    // Long enough that both join their group anew: about every second time the other one gets the turn.
    std::thread::sleep(Duration::from_secs(40));
    kafka.resume().expect("it was paused");
    let (resumed, has_turn) = (Instant::now(), "this producer is at work");
    wait_for("the next turn", || {
        let turns = one.log().matches(has_turn).count() + other.log().matches(has_turn).count();
        let is_kept = resumed.elapsed() > Duration::from_secs(20);
        (turns > 1 || is_kept).then_some(())
    });
    let epoch = 1 + other.log().matches(has_turn).count() as u64;
    wait_for_epoch(&lab, &source, epoch);
    assert!(other.stop().success());
    assert!(one.stop().success());
    let lines = consume(&servers, &source, &["--verify-picture"]);
    for epoch in lines.epochs(&source) {
        let count = assert_whole(&lines, &source, epoch);
        lines.assert_run(&source, epoch, count, "stopped");
    }
    let order: Vec<_> = lines.0.iter().map(|line| line["epoch"].as_u64()).collect();
    assert!(order.is_sorted(), "the epochs overlap");
}

#[test]
fn an_import_goes_on_behind_the_last_frame_that_the_killed_producer_wrote() {
    let lab = Lab::new(shared());
    let source = name();
    let one = lab.producer();
    lab.apply(&format!(
        "kind: Source\nname: {source}\nspec:\n  host: lab1\n  file: {}\n  options: {{resume: true, resize: 192x144}}\n",
        clip()
    ));
    lab.wait_for_state(&source, SourceState::Live);
    let heir = lab.producer();
    lab.wait_for_instance("the one that stands by", |instance| {
        instance.pid == heir.id() && instance.sources.is_empty()
    });
    Follower::new(shared(), &source).wait_for(30);
    one.kill9();
    lab.wait_for_state(&source, SourceState::Ended);
    assert!(heir.stop().success());
    consume(shared(), &source, &[]).assert_run(&source, 1, 220, "finished");
}

#[test]
fn a_producer_that_ends_hands_its_sources_over() {
    let lab = Lab::new(shared());
    let source = name();
    let (ending, heir) = two_producers(&lab, &source, "");
    assert!(ending.stop().success());
    wait_for_epoch(&lab, &source, 2);
    assert!(heir.stop().success());
    let lines = consume(shared(), &source, &[]);
    for epoch in [1, 2] {
        let count = assert_whole(&lines, &source, epoch);
        lines.assert_run(&source, epoch, count, "stopped");
    }
}

#[test]
fn while_the_registry_cannot_be_heard_what_runs_goes_on() {
    let mut kafka = Kafka::start_jars(&Options::default()).expect("a Kafka of this test's own");
    let servers = kafka.bootstrap_servers().to_owned();
    let lab = Lab::new(&servers);
    let (steady, watched, consumer) = (name(), name(), name());
    let producer = lab.producer();
    lab.apply_pattern(&steady, "");
    lab.apply_pattern(&watched, "  open: on-demand\n  close-after: 0s");
    let file = lab.path("lines.jsonl");
    let sinks = [format!("jsonl:{}", file.display())];
    lab.apply_consumer(&consumer, "placeholder", &sinks, &[&steady, &watched]);
    let shown = lab.consumer(&consumer);
    for source in [&steady, &watched] {
        lab.wait_for_state(source, SourceState::Live);
    }
    wait_for("lines of both", || {
        let lines = lines_so_far(&file);
        let has = |source: &str| !lines.of(source, 1).0.is_empty();
        (has(&steady) && has(&watched)).then_some(())
    });
    kafka.pause().expect("a node of our own");
    // Longer than a lost heartbeat (4 s) and a group's session (6 s) take. For a moment the node names no node at all, and
    // clients that ask just then lose it: some 20 s later they are told where it is.
    std::thread::sleep(Duration::from_millis(6_500));
    kafka.resume().expect("a node of our own");
    // Frames that were captured when Kafka was steady again, not only those that waited for it.
    let steady_ns = pipeline::wire::now_unix_ns() + 3_000_000_000;
    wait_for("new frames of both", || {
        let lines = lines_so_far(&file);
        let is_new = |source: &str| {
            let frames = lines.of(source, 1).numbers("frame", "capture_time_unix_ns");
            frames.last().is_some_and(|last| *last as i64 > steady_ns)
        };
        (is_new(&steady) && is_new(&watched)).then_some(())
    });
    for source in [&steady, &watched] {
        lab.wait_for_state(source, SourceState::Live);
    }
    assert!(producer.stop().success());
    wait_for("the ends", || {
        (lines_so_far(&file).kind("end").0.len() == 2).then_some(())
    });
    assert!(shown.stop().success());
    let lines = Lines::read(&file);
    for source in [&steady, &watched] {
        assert_eq!(lines.epochs(source), [1], "it was never closed");
        let count = assert_whole(&lines, source, 1);
        lines.assert_run(source, 1, count, "stopped");
    }
}

#[test]
fn what_runs_goes_on_when_its_object_cannot_be_read_any_more() {
    let lab = Lab::new(shared());
    let source = name();
    lab.apply_pattern(&source, "");
    let producer = lab.producer();
    let before = lab.wait_for_state(&source, SourceState::Live);
    let key = format!("source/{source}");
    publish_raw(shared(), &lab.topic, &key, b"of a later release");
    let noted = wait_for("the record to be noted", || {
        let view = lab.view();
        view.objects().unreadable.get(&key).cloned()
    });
    let ends = Instant::now() + Duration::from_secs(4);
    while Instant::now() < ends {
        let said = lab.said(&source).expect("its producer is live");
        assert_eq!(said.state, SourceState::Live, "{said:?}");
        std::thread::sleep(Duration::from_millis(100)); // what would close it closes it soon
    }
    let after = lab.wait_for_state(&source, SourceState::Live);
    let epoch = |said: &RunningSource| said.last.map(|last| last.epoch);
    assert_eq!(epoch(&after), epoch(&before), "it was not opened anew");
    assert!(after.frames > before.frames);
    for args in [
        &["get"][..],
        &["get", "source", &source],
        &["describe", "source", &source],
    ] {
        let said = framelane_ok(shared(), &lab.topic, args);
        let told = format!(
            "{key}: its newest record (version {}) cannot be read",
            noted.version
        );
        assert!(said.contains(&told), "{args:?}: {said}");
    }
    let (code, said) = framelane(shared(), &lab.topic, &["doctor", "--watch", "1s"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot be read"), "{said}");
    // Applied again, as it was, it can be read by everybody.
    lab.apply_pattern(&source, "");
    assert!(lab.view().objects().unreadable.is_empty());
    assert!(producer.stop().success());
}
