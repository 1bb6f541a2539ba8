//! The whole way, with every part real: video file, producer, broker, two people detectors, consumer.

use crate::harness::{
    Follower, Lines, Process, clip, consume, name, processor, run_ok, shared, wait_for,
};
use std::path::PathBuf;

/// Frames of the shipped clip.
const FRAMES: u64 = 220;

/// Two detectors and a topic with the clip.
struct Pipeline {
    input: String,
    output: String,
    urls: [String; 2],
    _processors: [Process; 2],
}

impl Pipeline {
    /// The clip is small here: looking for people takes its time.
    fn start() -> Self {
        let input = name();
        let args = ["--file", &clip(), "--pace", "max", "--resize", "320x240"];
        run_ok(
            "producer",
            shared(),
            &[&args[..], &["--topic", &input]].concat(),
        );
        let [(first, first_url), (second, second_url)] =
            [(); 2].map(|()| processor(&["people", "--threads", "1"]));
        Self {
            output: format!("{input}.people"),
            input,
            urls: [first_url, second_url],
            _processors: [first, second],
        }
    }

    fn broker(&self) -> Process {
        let mut args = vec!["--input", &self.input, "--output", &self.output];
        self.urls
            .iter()
            .for_each(|url| args.extend(["--processor", url]));
        args.extend(["--instance", &self.input]);
        Process::start("broker", shared(), &args)
    }

    /// Asserts that these are all frames of the clip, once and in order, each with a result, some with people.
    fn assert_complete(&self, lines: &Lines) {
        lines.assert_run(&self.input, 1, FRAMES, "finished");
        let mut people = 0;
        for line in &lines.kind("frame").0 {
            let results = line["results"].as_array().unwrap();
            assert_eq!(results.len(), 1, "{line}");
            assert_eq!(
                (&results[0]["processor"], &results[0]["status"]),
                (&"people".into(), &"ok".into())
            );
            people += results[0]["detections"].as_array().unwrap().len();
            let stages = line["stamps"].as_array().unwrap();
            assert_eq!(stages[0]["stage"], "producer", "{line}");
            assert_eq!(stages.len(), 2, "{line}");
        }
        assert!(people >= 20, "{people} people in a clip of a busy street");
    }
}

#[test]
fn every_frame_of_the_clip_is_searched_for_people_once_and_in_order_though_the_broker_is_killed() {
    let pipeline = Pipeline::start();
    let mut broker = pipeline.broker();
    let mut output = Follower::new(shared(), &pipeline.output);
    for count in [1, 70, 71, 150] {
        output.wait_for(count);
        broker.kill9();
        broker = pipeline.broker();
    }
    output.wait_for(FRAMES as usize + 1);
    assert!(broker.stop().success());
    let lines = consume(shared(), &pipeline.output, &[]);
    pipeline.assert_complete(&lines);
    let before = consume(shared(), &pipeline.input, &[]);
    let times = |lines: &Lines| lines.numbers("frame", "capture_time_unix_ns");
    assert_eq!(
        times(&lines),
        times(&before),
        "a frame is what it was, with a result more"
    );
}

#[test]
fn a_consumer_killed_while_the_pipeline_runs_has_everything_in_the_end() {
    let pipeline = Pipeline::start();
    let broker = pipeline.broker();
    drop(Follower::new(shared(), &pipeline.output)); // the broker has made the topic
    let dir = tempfile::tempdir().unwrap();
    let file: PathBuf = dir.path().join("lines");
    let sink = format!("jsonl:{}", file.display());
    let consumer = || {
        let args = [
            "--topic",
            &pipeline.output,
            "--until",
            "eos",
            "--sink",
            &sink,
        ];
        let member = ["--group", &pipeline.input, "--instance", &pipeline.input];
        Process::start("consumer", shared(), &[&args[..], &member].concat())
    };
    for lines in [1, 60, 61, 150] {
        let killed = consumer();
        wait_for("more lines", || {
            let text = std::fs::read(&file).unwrap_or_default();
            (text.iter().filter(|byte| **byte == b'\n').count() >= lines).then_some(())
        });
        killed.kill9();
    }
    let (code, log) = consumer().outcome();
    assert_eq!(code, Some(0), "{log}");
    assert!(broker.stop().success());
    pipeline.assert_complete(&Lines::read(&file));
    let replayed = consume(shared(), &pipeline.output, &[]);
    assert_eq!(Lines::read(&file), replayed);
}

#[test]
fn a_source_spread_over_partitions_and_brokers_comes_back_in_order() {
    let input = name();
    let output = format!("{input}.out");
    let args = [
        "--pattern",
        "160x120@100",
        "--pace",
        "max",
        "--count",
        "400",
        "--spread",
    ];
    run_ok(
        "producer",
        shared(),
        &[&args[..], &["--topic", &input]].concat(),
    );
    let (_chaos, url) = processor(&["chaos", "--delay", "lognormal:p50=3ms,p99=40ms"]);
    let brokers = [(); 2].map(|()| {
        let args = ["--input", &input, "--output", &output, "--processor", &url];
        let more = ["--membership", "dynamic", "--in-flight", "4"];
        Process::start("broker", shared(), &[&args[..], &more].concat())
    });
    let live = [
        "--reorder",
        // A partition that goes to the other broker rests meanwhile: for seconds on a busy machine.
        "--reorder-time",
        "60s",
        "--reorder-window",
        "400",
        "--verify-picture",
        "--from",
        "earliest",
        "--until",
        "eos",
    ];
    drop(Follower::new(shared(), &output)); // a broker has made the topic
    let lines = consume(shared(), &output, &live);
    lines.assert_run(&input, 1, 400, "finished");
    for broker in brokers {
        assert!(broker.stop().success());
    }
}
