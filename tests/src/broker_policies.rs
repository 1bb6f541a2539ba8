//! What becomes of frames that no processor can handle.

use crate::harness::{
    Follower, Process, Seen, assert_complete, broker, processor, publish, publish_raw,
    read_committed, shared, topic,
};
use pipeline::envelope::Kind;
use pipeline::v1;

const FRAMES: u64 = 40;

struct Run {
    input: String,
    broker: Process,
    _processor: Process,
}

/// Forty frames through a broker whose processor misbehaves.
fn run(chaos: &[&str], more: &[&str]) -> Run {
    let servers = shared();
    let input = topic(servers, 1);
    publish(servers, &input, "a", 0..FRAMES);
    let (processor, url) = processor(&[&["chaos"], chaos].concat());
    let more = [&["--backoff", "10ms", "--attempts", "2"], more].concat();
    let broker = broker(servers, &input, &[&url], &more);
    Run {
        input,
        broker,
        _processor: processor,
    }
}

impl Run {
    /// Waits for all frames' places, stops the broker, and reads the output.
    fn finish(self) -> Vec<Seen> {
        let output = format!("{}.out", self.input);
        Follower::new(shared(), &output).wait_for(FRAMES as usize);
        assert!(self.broker.stop().success());
        let seen = read_committed(shared(), &output);
        assert_complete(&seen, &["a"], FRAMES);
        seen
    }
}

fn frame(seen: &Seen) -> &v1::Frame {
    match &seen.message {
        Kind::Frame(frame) => frame,
        other => panic!("{other:?}"),
    }
}

/// Asserts that only the frame of this sequence has this status, and the others are OK.
fn assert_only(seen: &[Seen], sequence: usize, status: &str) {
    let statuses: Vec<_> = seen.iter().map(Seen::status).collect();
    let mut expected = vec!["ok"; FRAMES as usize];
    expected[sequence] = status;
    assert_eq!(statuses, expected);
}

#[test]
fn a_failing_frame_goes_on_in_its_place_with_an_error_result() {
    let seen = run(&["--error-on", "17"], &[]).finish();
    assert_only(&seen, 17, "error");
    let result = &frame(&seen[17]).results[0];
    assert_eq!((result.attempts, result.processor.as_str()), (2, "chaos"));
    assert!(!result.error.is_empty());
}

#[test]
fn a_frame_without_an_answer_times_out_and_the_others_overtake_nothing() {
    let seen = run(&["--hang-on", "5"], &["--deadline", "300ms"]).finish();
    assert_only(&seen, 5, "timeout");
    assert_eq!(frame(&seen[5]).results[0].attempts, 2);
}

#[test]
fn dead_letters_carry_the_frame_the_error_and_where_it_was_read() {
    let run = run(&["--error-on", "17"], &["--on-failure", "dead-letter"]);
    let dead = format!("{}.out.dead", run.input);
    let origin = format!("{}[0]@17", run.input);
    assert_only(&run.finish(), 17, "error");
    let letters = read_committed(shared(), &dead);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].message.id().map(|id| id.sequence), Some(17));
    assert_eq!(
        letters[0].record.header("framelane-origin"),
        Some(origin.as_str())
    );
    assert!(letters[0].record.header("framelane-error").is_some());
}

#[test]
fn a_dropped_frame_leaves_a_gap_in_its_place() {
    let seen = run(&["--error-on", "17"], &["--on-failure", "drop"]).finish();
    assert_only(&seen, 17, "gap");
    let Kind::Gap(gap) = &seen[17].message else {
        panic!("{:?}", seen[17]);
    };
    assert_eq!(
        (gap.count, gap.reason()),
        (1, v1::gap::Reason::ProcessingFailed)
    );
}

#[test]
fn halt_stops_before_the_frame_and_a_mended_processor_goes_on_with_it() {
    let run = run(
        &["--error-on", "17", "--delay", "fixed:5ms"],
        &["--on-failure", "halt"],
    );
    let output = format!("{}.out", run.input);
    let (code, log) = run.broker.outcome();
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("frame a/1/17") && log.contains("--on-failure halt"),
        "{log}"
    );
    assert_complete(&read_committed(shared(), &output), &["a"], 17);

    let (_mended, url) = processor(&["echo"]);
    let broker = broker(shared(), &run.input, &[&url], &[]);
    Follower::new(shared(), &output).wait_for(FRAMES as usize);
    assert!(broker.stop().success());
    assert_complete(&read_committed(shared(), &output), &["a"], FRAMES);
}

#[test]
fn replies_for_another_frame_or_too_large_count_as_failures() {
    let wrong = run(&["--wrong-id-rate", "1"], &[]).finish();
    assert!(
        frame(&wrong[0]).results[0]
            .error
            .contains("the reply is for frame")
    );
    let oversized = run(&["--oversize-rate", "1"], &[]).finish();
    assert!(oversized.iter().all(|one| one.status() == "error"));
}

#[test]
fn a_frame_that_kills_processors_gets_an_error_and_its_neighbours_none() {
    let servers = shared();
    let input = topic(servers, 1);
    publish(servers, &input, "a", 0..FRAMES);
    let chaos = ["chaos", "--crash-on", "20", "--delay", "fixed:5ms"];
    let (mut victim, url) = processor(&chaos);
    let listen = url.trim_start_matches("http://").to_owned();
    let output = format!("{input}.out");
    let broker = broker(servers, &input, &[&url], &["--attempts", "3"]);
    // A supervisor that starts it again each time the frame has killed it.
    for _ in 0..3 {
        victim.wait();
        victim = Process::start(
            "processor",
            servers,
            &[&chaos[..], &["--listen", &listen]].concat(),
        );
    }
    Follower::new(servers, &output).wait_for(FRAMES as usize);
    assert!(broker.stop().success());
    let seen = read_committed(servers, &output);
    assert_complete(&seen, &["a"], FRAMES);
    assert_only(&seen, 20, "error");
}

#[test]
fn a_record_that_is_no_envelope_is_quarantined_in_its_place() {
    let servers = shared();
    let input = topic(servers, 1);
    publish(servers, &input, "a", 0..5);
    publish_raw(servers, &input, "a", b"\xff\xffnot an envelope");
    publish(servers, &input, "a", 5..10);
    let (_processor, url) = processor(&["echo"]);
    let output = format!("{input}.out");
    let args = ["--input", &input, "--output", &output, "--processor", &url];
    let broker = Process::start(
        "broker",
        servers,
        &[&args[..], &["--on-failure", "dead-letter"]].concat(),
    );
    Follower::new(servers, &output).wait_for(11);
    assert!(broker.stop().success());
    let seen = read_committed(servers, &output);
    let Kind::Gap(gap) = &seen[5].message else {
        panic!("{:?}", seen[5]);
    };
    assert_eq!(gap.reason(), v1::gap::Reason::Undecodable);
    assert_eq!(gap.origin.as_ref().map(|origin| origin.offset), Some(5));
    let frames: Vec<Seen> = seen
        .iter()
        .filter(|one| one.status() == "ok")
        .cloned()
        .collect();
    assert_complete(&frames, &["a"], 10);
}

#[test]
fn a_stuck_lane_is_reported_with_its_frame_and_cause() {
    let patient = ["--deadline", "1h", "--watchdog", "1s", "--drain", "1s"];
    let run = run(&["--hang-on", "5"], &patient);
    run.broker.wait_for_log("no progress");
    let log = run.broker.log();
    assert!(log.contains("a/1/5") && log.contains("Calling"), "{log}");
    // What is done before the stuck frame is committed all the same, and the stop is in time.
    let output = format!("{}.out", run.input);
    assert!(run.broker.stop().success());
    assert_complete(&read_committed(shared(), &output), &["a"], 5);
}
