//! Stages that the registry declares: chains, branches and their joins, changed while they run.

mod lab;
mod rolling;

use crate::harness::{
    Follower, Process, Seen, consume, processor, publish, publish_while, read_committed, run_ok,
    shared, topic, wait_for,
};
use lab::{Lab, assert_results, places};
use pipeline::envelope::Kind;
use registry::{RegistryError, SourceState};
use std::collections::BTreeSet;

const SLOW: [&str; 3] = ["chaos", "--delay", "lognormal:p50=3ms,p99=30ms"];

/// A processor by this name that takes its time, different for each frame.
fn slow(name: &str) -> (Process, String) {
    processor(&[&SLOW[..], &["--name", name]].concat())
}

/// The same at the address of one that was killed.
fn again(name: &str, url: &str) -> Process {
    let listen = url.trim_start_matches("http://");
    let args = [&SLOW[..], &["--name", name, "--listen", listen]].concat();
    Process::start("processor", shared(), &args)
}

/// Everything in a topic, and in one that is made of it, once that has as many records.
fn both(input: &str, output: &str) -> (Vec<Seen>, Vec<Seen>) {
    let input = read_committed(shared(), input);
    Follower::new(shared(), output).wait_for(input.len());
    (input, read_committed(shared(), output))
}

/// Waits for more than there were.
fn grow(follower: &mut Follower) {
    let more = follower.seen.len() + 40;
    follower.wait_for(more);
}

#[test]
fn a_pipeline_that_branches_and_joins_loses_and_doubles_nothing_whoever_is_killed() {
    let lab = Lab::new();
    let cam = lab.prefix.clone();
    let names = ["first", "left", "right"];
    let outputs = ["first", "first.left", "first.right"].map(|end| format!("{cam}.{end}"));
    let mut processors = names.map(slow);
    for (name, (_, url)) in names.iter().zip(&processors) {
        lab.processor(name, url);
    }
    lab.source(&cam);
    lab.pipeline(
        "lobby",
        &format!(
            "{{name: first, from: [{cam}], processor: first}}
             {{name: left, from: [{cam}.first], processor: left}}
             {{name: right, from: [{cam}.first], processor: right, options: {{content: reference}}}}
             {{name: all, join: [{cam}.first.left, {cam}.first.right], to: {cam}.all}}"
        ),
    );
    let [mut one, mut other] = ["0", "1"].map(|name| lab.broker(name));
    let pattern = ["--pattern", "160x120@40", "--topic", &cam];
    let mut producer = Process::start("producer", shared(), &pattern);
    let joined = format!("{cam}.all");
    let mut follower = Follower::new(shared(), &joined);
    grow(&mut follower);
    one.kill9();
    one = lab.broker("0");
    grow(&mut follower);
    other.kill9();
    other = lab.broker("1");
    grow(&mut follower);
    for ((process, url), (name, output)) in processors.iter_mut().zip(names.iter().zip(&outputs)) {
        process.kill_in_place();
        lab.wait_until(output, SourceState::Waiting, "no processor is up");
        lab.wait_for_row(&["get", "processors"], name, "0 of 1 ready");
        lab.wait_for_row(&["get", "pipelines"], name, "waiting");
        *process = again(name, url);
        grow(&mut follower);
        lab.wait_for_row(&["get", "processors"], name, "ready");
        lab.wait_for_row(&["get", "pipelines"], name, "live");
    }
    producer.kill9();
    producer = Process::start("producer", shared(), &pattern);
    // What came before may still be on its way.
    follower.wait_for_epoch(2);
    grow(&mut follower);
    assert!(producer.stop().success());
    drop(follower);
    let (input, output) = both(&cam, &joined);
    for broker in [one, other] {
        assert!(broker.stop().success());
    }
    assert_eq!(places(&output), places(&input));
    assert_results(&output, &names);
    let epochs = output
        .iter()
        .filter_map(|one| Some(one.message.id()?.epoch));
    assert_eq!(
        epochs.collect::<BTreeSet<_>>(),
        BTreeSet::from([1, 2]),
        "the producer was killed once"
    );
    consume(shared(), &joined, &["--verify-picture"]);
}

#[test]
fn a_chain_by_reference_always_refers_to_the_record_with_the_pixels() {
    let lab = Lab::new();
    let cam = lab.prefix.clone();
    let (_first, url) = slow("first");
    lab.processor("first", &url);
    let (_motion, url) = processor(&["motion"]);
    lab.processor("motion", &url);
    lab.source(&cam);
    lab.pipeline(
        "chain",
        &format!(
            "{{name: a, from: [{cam}], processor: first, options: {{content: reference}}}}
             {{name: b, from: [{cam}.a], processor: first, options: {{content: reference}}}}
             {{name: c, from: [{cam}.a.b], processor: motion, options: {{content: reference}}}}"
        ),
    );
    let broker = lab.broker("0");
    let args = [
        "--pattern",
        "160x120@30",
        "--pace",
        "max",
        "--count",
        "60",
        "--topic",
        &cam,
    ];
    run_ok("producer", shared(), &args);
    let last = format!("{cam}.a.b.c");
    let (input, output) = both(&cam, &last);
    assert!(broker.stop().success());
    assert_eq!(places(&output), places(&input));
    assert_results(&output, &["first", "first", "motion"]);
    for (read, written) in input.iter().zip(&output) {
        if let Kind::Frame(frame) = &written.message {
            let reference = frame.reference().expect("all stages refer");
            let origin = (
                reference.topic.as_str(),
                reference.partition,
                reference.offset,
            );
            let place = (cam.as_str(), read.record.lane.partition, read.record.offset);
            assert_eq!(origin, place);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let stats = dir.path().join("stats.json");
    let sink = format!("stats:{}", stats.display());
    run_ok(
        "consumer",
        shared(),
        &[
            "--topic",
            &last,
            "--until",
            "end",
            "--verify-picture",
            "--sink",
            &sink,
        ],
    );
    let stats =
        serde_json::from_slice::<serde_json::Value>(&std::fs::read(&stats).unwrap()).unwrap();
    let stages = stats["stages"].as_array().unwrap();
    let names: Vec<_> = stages
        .iter()
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["producer", "broker:first", "broker:motion", "consumer"]
    );
    for stage in stages {
        assert!(
            stage["p50_ms"].as_f64() <= stage["p99_ms"].as_f64(),
            "{stage}"
        );
    }
    assert!(
        stages[1]["p50_ms"].as_f64().unwrap() > 0.5,
        "it takes some milliseconds: {stats}"
    );
}

/// Who has said something of a frame.
fn processors(one: &Seen) -> Vec<String> {
    match &one.message {
        Kind::Frame(frame) => frame
            .results
            .iter()
            .map(|result| result.processor.clone())
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn stages_that_come_and_go_and_mistakes_disturb_no_other_stage() {
    let lab = Lab::new();
    let cam = topic(shared(), 1);
    let (_echo, url) = processor(&["echo"]);
    lab.processor("echo", &url);
    lab.source(&cam);
    let stages = |more: &str| {
        let first = format!("{{name: first, from: [{cam}], processor: echo}}");
        lab.pipeline("calm", &format!("{first}\n{more}"));
    };
    stages("");
    let broker = lab.broker("0");
    let second = format!("{{name: second, from: [{cam}], processor: echo}}");
    let (count, ()) = publish_while(shared(), &cam, &["a"], || {
        let mut first = Follower::new(shared(), &format!("{cam}.first"));
        grow(&mut first);
        stages(&second);
        let mut follower = Follower::new(shared(), &format!("{cam}.second"));
        grow(&mut follower);
        stages(&second.replace("echo", "echo, options: {window: 0}"));
        lab.wait_until(
            &format!("{cam}.second"),
            SourceState::Live,
            "a change is not taken up",
        );
        grow(&mut follower);
        stages("");
        wait_for("the second stage to end", || {
            lab.said(&format!("{cam}.second")).is_empty().then_some(())
        });
        grow(&mut first);
    });
    Follower::new(shared(), &format!("{cam}.first")).wait_for(count as usize);
    let log = broker.log();
    assert!(broker.stop().success());
    // One life of the first stage, one assignment of its partition, and none of them taken away before the end.
    let group = format!("group=\"{}.registry/calm/first/{cam}\"", lab.prefix);
    let of_it = |text: &str| {
        let lines = log.lines().filter(|line| line.contains(text));
        lines.filter(|line| line.contains(&group)).count()
    };
    assert_eq!((of_it("starting"), of_it("reading")), (1, 1), "{log}");
    let second = group.replace("first", "second");
    let taken = log.lines().filter(|line| line.contains("are taken away"));
    assert!(taken.clone().all(|line| line.contains(&second)), "{log}");
    let output = read_committed(shared(), &format!("{cam}.first"));
    crate::harness::assert_complete(&output, &["a"], count);
}

#[test]
fn a_branch_that_lags_holds_its_join_and_is_named_and_nothing_is_left_out() {
    let lab = Lab::new();
    let cam = topic(shared(), 1);
    let (_left, url) = processor(&["echo", "--name", "left"]);
    lab.processor("left", &url);
    let (right, url) = slow("right");
    lab.processor("right", &url);
    lab.source(&cam);
    lab.pipeline(
        "held",
        &format!(
            "{{name: left, from: [{cam}], processor: left}}
             {{name: right, from: [{cam}], processor: right}}
             {{name: all, join: [{cam}.left, {cam}.right], to: {cam}.all, options: {{window: 20}}}}"
        ),
    );
    right.kill9();
    publish(shared(), &cam, "a", 0..200);
    let broker = lab.broker("0");
    Follower::new(shared(), &format!("{cam}.left")).wait_for(200);
    let waits = format!("waits for {cam}.right[0]");
    lab.wait_until(&format!("{cam}.all"), SourceState::Live, &waits);
    let held = read_committed(shared(), &format!("{cam}.all"));
    assert_eq!(held.len(), 0, "a frame came out without all its results");
    let _right = again("right", &url);
    let (input, output) = both(&cam, &format!("{cam}.all"));
    assert!(broker.stop().success());
    assert_eq!(places(&output), places(&input));
    assert_results(&output, &["left", "right"]);
}

#[test]
fn a_join_of_its_own_process_carries_failures_of_branches_and_goes_on_after_kill_9() {
    let input = topic(shared(), 1);
    let (_left, left_url) = processor(&["chaos", "--error-on", "3,70", "--name", "left"]);
    let (_right, right_url) = slow("right");
    let outputs = ["left", "right", "all"].map(|end| format!("{input}.{end}"));
    let [left_out, right_out, all] = &outputs;
    publish(shared(), &input, "a", 0..200);
    let stage = |output: &String, url: &String| {
        let args = ["--input", &input, "--output", output, "--processor", url];
        let more = [
            "--attempts",
            "1",
            "--on-failure",
            "drop",
            "--instance",
            &input,
        ];
        Process::start("broker", shared(), &[&args[..], &more].concat())
    };
    let _branches = [stage(left_out, &left_url), stage(right_out, &right_url)];
    for branch in [left_out, right_out] {
        drop(Follower::new(shared(), branch)); // its broker has made the topic
    }
    let join = || {
        let args = ["--join", left_out, "--join", right_out, "--output", all];
        let more = ["--instance", &input, "--window", "7"];
        Process::start("broker", shared(), &[&args[..], &more].concat())
    };
    let mut joining = join();
    let mut follower = Follower::new(shared(), all);
    for count in [20, 21, 90] {
        follower.wait_for(count);
        joining.kill9();
        joining = join();
    }
    follower.wait_for(200);
    assert!(joining.stop().success());
    let output = read_committed(shared(), all);
    let sequences: Vec<u64> = output
        .iter()
        .filter_map(|one| Some(one.message.id()?.sequence))
        .collect();
    assert_eq!(sequences, (0..200).collect::<Vec<_>>());
    for one in &output {
        let Kind::Frame(frame) = &one.message else {
            panic!("the other branch has every frame: {:?}", one.message)
        };
        let sequence = frame.id.as_ref().unwrap().sequence;
        let status = frame.results[0].status().word();
        assert_eq!(
            status,
            if [3, 70].contains(&sequence) {
                "error"
            } else {
                "ok"
            }
        );
        assert_eq!(frame.results.len(), 2);
        assert_eq!(frame.results[1].processor, "right");
    }
}

#[test]
fn what_goes_round_is_refused_with_its_way() {
    let lab = Lab::new();
    lab.processor("echo", "http://127.0.0.1:1");
    lab.source("PRE.cam");
    let round = Lab::pipeline_text(
        "round",
        "{name: a, from: [PRE.cam, PRE.c], processor: echo, to: PRE.a}
         {name: b, from: [PRE.a], processor: echo, to: PRE.b}
         {name: c, from: [PRE.b], processor: echo, to: PRE.c}",
    );
    let Err(RegistryError::Refused(problems)) = lab.try_apply(&round) else {
        panic!("it was accepted")
    };
    let said = problems.iter().map(ToString::to_string).collect::<String>();
    let pre = &lab.prefix;
    let way =
        format!("{pre}.c -> [round/a] -> {pre}.a -> [round/b] -> {pre}.b -> [round/c] -> {pre}.c");
    assert!(said.contains(&way), "{said}");
}
