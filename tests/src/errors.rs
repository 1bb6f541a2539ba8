//! Whatever is wrong at the start is said in one message that names the thing and the way on, with the right exit code.

use crate::harness::{
    Process, clip, consume, create_small_topic, name, processor, program, run, shared, topic,
    wait_for,
};
use nix::sys::signal::Signal;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CONFIGURATION: i32 = 2;
const FAILURE: i32 = 1;

/// Runs a command that must fail like this; the last lines of what it prints must hold these words.
fn check(line: &str, code: i32, words: &[&str]) {
    let mut parts = line.split_whitespace();
    let binary = parts.next().unwrap();
    let args: Vec<&str> = parts.collect();
    let (found, log) = run(binary, shared(), &args);
    assert_eq!(found, Some(code), "{line}\n{log}");
    let error = log.find("error:").map_or("", |at| &log[at..]);
    for word in words {
        assert!(error.contains(word), "{line}: no {word:?} in\n{log}");
    }
    assert!(!log.contains("panicked"), "{line}\n{log}");
}

#[test]
fn unknown_options_are_refused_by_name() {
    for binary in ["producer", "broker", "consumer", "processor"] {
        check(
            &format!("{binary} --colour red"),
            CONFIGURATION,
            &["--colour"],
        );
    }
    check("processor teapot", CONFIGURATION, &["teapot"]);
    check(
        "consumer --topic a --sink printer:x",
        CONFIGURATION,
        &["printer", "jsonl"],
    );
    check(
        "producer --topic a --pattern huge",
        CONFIGURATION,
        &["--pattern", "huge"],
    );
}

#[test]
fn unknown_keys_of_a_config_file_are_refused_by_name_and_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sources.yaml");
    let line = format!("producer --config {}", file.display());
    for (text, word) in [
        (
            "sources:\n- {pattern: 160x120@10, topic: a, qualty: 80}\n",
            "qualty",
        ),
        ("sauces: []\n", "sauces"),
        ("sources:\n- {pattern: 160x120@10}\n", "--topic"),
        ("sources: []\n", "no source"),
        (
            "sources:\n- {pattern: 160x120@10, topic: a}\n- {camera: 0, topic: a}\n",
            "used twice",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        check(&line, CONFIGURATION, &["sources.yaml", word]);
    }
    check(
        "producer --config /nowhere/sources.yaml",
        CONFIGURATION,
        &["/nowhere/sources.yaml"],
    );
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let processor = "--processor http://127.0.0.1:50051";
    for (line, words) in [
        ("producer --topic a".to_owned(), &["--camera"][..]),
        (
            "producer --topic a --pattern 160x120@10 --camera 0".to_owned(),
            &["--camera"],
        ),
        (
            "producer --topic a/b --pattern 160x120@10".to_owned(),
            &["a/b"],
        ),
        (
            "producer --topic a --file /nowhere/clip.mp4".to_owned(),
            &["/nowhere/clip.mp4"],
        ),
        (
            "producer --topic a --images /nowhere".to_owned(),
            &["/nowhere"],
        ),
        (
            "producer --topic a --pattern 7680x4320@10 --codec raw".to_owned(),
            &["raw"],
        ),
        (
            format!("broker --input a --output a {processor}"),
            &["go round"],
        ),
        (
            format!("broker --input ^a.* --output a.out {processor}"),
            &["go round"],
        ),
        (
            "broker --input a --output b --processor nonsense".to_owned(),
            &["http://HOST:PORT"],
        ),
        (
            "consumer --topic a --from committed".to_owned(),
            &["--group"],
        ),
        ("consumer --topic ^a( --until end".to_owned(), &["^a("]),
    ] {
        check(&line, CONFIGURATION, words);
    }
    for rest in [
        "--pattern 160x120@10",
        "--input a --output b --processor http://127.0.0.1:1",
    ] {
        let binary = if rest.starts_with("--input") {
            "broker"
        } else {
            "producer --topic a"
        };
        check(
            &format!("{binary} {rest} --bootstrap-servers nowhere"),
            CONFIGURATION,
            &["HOST:PORT"],
        );
    }
}

#[test]
fn a_kafka_that_does_not_answer_is_named_with_the_way_on_in_bounded_time() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let start = Instant::now();
    let running = [
        ("producer", &["--pattern", "160x120@10", "--topic", "a"][..]),
        (
            "broker",
            &[
                "--input",
                "a",
                "--output",
                "b",
                "--processor",
                "http://127.0.0.1:1",
            ],
        ),
        ("consumer", &["--topic", "a"]),
        ("consumer", &["--topic", "a", "--group", "g"]),
    ]
    .map(|(binary, args)| Process::start(binary, &address, args));
    for process in running {
        let (code, log) = process.outcome();
        assert_eq!(code, Some(FAILURE), "{log}");
        for word in [
            address.as_str(),
            "docker compose up kafka",
            "KAFKA_BOOTSTRAP_SERVERS",
        ] {
            assert!(log.contains(word), "no {word:?} in\n{log}");
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_missing_topic_is_named() {
    let missing = name();
    let processor = "--processor http://127.0.0.1:1";
    for line in [
        format!("consumer --topic {missing}"),
        format!("consumer --topic {missing} --group {missing}"),
        format!("consumer --topic ^{missing} --until end"),
        format!("producer --pattern 160x120@10 --no-create --topic {missing}"),
        format!("broker --input {missing} --output {missing}.out {processor}"),
    ] {
        check(&line, FAILURE, &[&missing, "does not exist"]);
    }
    let existing = topic(shared(), 1);
    let no_output = format!("broker --input {existing} --output {missing} --no-create {processor}");
    check(&no_output, FAILURE, &[&missing, "does not exist"]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let topic = topic(shared(), 1);
    for line in [
        format!("processor echo --listen {address}"),
        format!("processor echo --listen 127.0.0.1:0 --metrics {address}"),
        format!("producer --pattern 160x120@10 --topic {topic} --metrics {address}"),
        format!("consumer --topic {topic} --metrics {address}"),
        format!(
            "broker --input {topic} --output {topic}.out --processor http://127.0.0.1:1 --metrics {address}"
        ),
    ] {
        check(&line, FAILURE, &[&address]);
    }
}

#[test]
fn a_topic_too_small_for_frames_is_refused_with_the_setting_that_mends_it() {
    let (input, small) = (topic(shared(), 1), name());
    create_small_topic(shared(), &small);
    for line in [
        format!("producer --pattern 160x120@10 --topic {small}"),
        format!("broker --input {input} --output {small} --processor http://127.0.0.1:1"),
    ] {
        check(
            &line,
            CONFIGURATION,
            &[&small, "1048588", "max.message.bytes=8388608"],
        );
    }
}

#[test]
fn a_frame_too_large_for_a_record_is_named_with_what_makes_it_smaller() {
    let topic = name();
    // Noise would be needed to make a JPEG this large; raw pixels are.
    let dir = tempfile::tempdir().unwrap();
    let huge = dir.path().join("1.ppm");
    let mut picture = b"P6 2400 2400 255\n".to_vec();
    picture.resize(picture.len() + 2400 * 2400 * 3, 128);
    std::fs::write(huge, picture).unwrap();
    let line = format!(
        "producer --images {} --codec raw --topic {topic}",
        dir.path().display()
    );
    check(&line, FAILURE, &[&format!("{topic}/1/0"), "--resize"]);
}

#[test]
fn a_stop_that_is_sent_twice_at_once_is_one() {
    let (mut processor, _) = processor(&["echo"]);
    processor.signal(Signal::SIGTERM);
    processor.signal(Signal::SIGINT); // as from `timeout`, which tells the process and then its group
    assert!(processor.wait().success());
}

/// Starts a command whose output nobody reads, as behind `| head -0`.
fn unread(line: &str) -> Child {
    let mut parts = line.split_whitespace();
    let mut command = Command::new(program(parts.next().unwrap()));
    command
        .args(parts)
        .env("KAFKA_BOOTSTRAP_SERVERS", shared())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    drop((child.stdout.take(), child.stderr.take()));
    child
}

#[test]
fn that_nobody_reads_what_is_said_ends_no_work() {
    let dir = tempfile::tempdir().unwrap();
    let (place, source) = (dir.path().display(), topic(shared(), 1));
    let mut service = unread(&format!(
        "processor resize --scale 0.1 --listen 127.0.0.1:0 --port-file {place}/port"
    ));
    let address = wait_for("the service's port file", || {
        std::fs::read_to_string(dir.path().join("port")).ok()
    });
    // Longer than the time between two lines of the service.
    let mut clients = unread(&format!(
        "resize-clients 2 2 {} --endpoint http://{} --out {place}",
        clip(),
        address.trim()
    ));
    let mut producer = unread(&format!(
        "producer --pattern 160x120@10 --count 20 --topic {source}"
    ));
    for child in [&mut clients, &mut producer] {
        let ended = wait_for("its end", || child.try_wait().expect("a child"));
        assert!(ended.success(), "{ended}");
    }
    consume(shared(), &source, &[]).assert_run(&source, 1, 20, "finished");
    for instance in ["vid-instance1", "vid-instance2"] {
        let files = std::fs::read_dir(dir.path().join(instance)).unwrap();
        assert_eq!(files.count(), 220, "{instance}");
    }
    assert!(service.try_wait().expect("a child").is_none(), "it goes on");
    service.kill().expect("it runs");
    service.wait().expect("a child");
}
