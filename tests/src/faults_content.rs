//! Topics that change under the brokers' feet, pictures that are made to do harm, clocks that jump.

use crate::faults_lab::output_of;
use crate::harness::{
    Follower, Lines, Process, Seen, assert_complete, broker, consume, frame, ids_of, name,
    pictures, processor, publish, publish_records, read_committed, run_ok, shared, topic, wait_for,
};
use bytes::Bytes;
use kafka_node::{delete_topic, grow_topic};
use pipeline::envelope::{self, Kind};
use pipeline::kafka::{Admin, Inspector, KafkaConfig, Outgoing, TopicPartition, TopicSpec};
use pipeline::trace::TraceContext;
use pipeline::{v1, wire};
use std::path::PathBuf;

/// The frame that the harness would publish, changed.
fn changed(record: Outgoing, change: impl FnOnce(&mut v1::Frame)) -> Outgoing {
    let Ok(Kind::Frame(mut frame)) = envelope::decode(record.payload) else {
        panic!("the harness publishes frames");
    };
    change(&mut frame);
    let time_ms = frame.capture_time_unix_ns / 1_000_000;
    let record = wire::to_record(
        &record.topic,
        &Kind::Frame(frame),
        time_ms,
        &TraceContext::root(),
    );
    record.expect("a small frame")
}

#[test]
fn frames_whose_clock_jumps_by_an_hour_keep_the_order_of_their_sequence() {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let servers = shared();
    let input = topic(servers, 1);
    let (_processor, url) = processor(&["chaos", "--delay", "lognormal:p50=2ms,p99=20ms"]);
    // The clock jumps back, forth, and back again for a while.
    let jump = |sequence: u64| [0, -HOUR_NS, HOUR_NS, -HOUR_NS][(sequence / 7 % 4) as usize];
    let jumping = |sequence| {
        changed(frame(&input, "a", sequence), |frame| {
            frame.capture_time_unix_ns += jump(sequence);
        })
    };
    publish_records(servers, (0..200).map(jumping));
    let broker = broker(servers, &input, &[&url], &[]);
    let output = output_of(&input);
    Follower::new(servers, &output).wait_for(200);
    assert!(broker.stop().success());
    let seen = read_committed(servers, &output);
    assert_complete(&seen, &["a"], 200);
    assert!(
        !seen.is_sorted_by_key(|one| one.record.timestamp_ms),
        "the times do jump"
    );
    for more in [&[][..], &["--reorder"]] {
        let shown = consume(servers, &output, more);
        assert_eq!(shown.sequences(), (0..200).collect::<Vec<_>>());
    }
}

/// A JPEG of the test picture, as a camera would send it.
fn jpeg() -> Bytes {
    let topic = name();
    let pattern = [
        "--pattern",
        "160x120@100",
        "--count",
        "1",
        "--topic",
        &topic,
    ];
    run_ok("producer", shared(), &pattern);
    pictures(shared(), &topic).remove(0).1
}

/// What must never reach a decoder, and the words by which it is refused.
fn bombs(jpeg: &[u8]) -> [(Vec<u8>, (u32, u32), &'static str); 3] {
    let cut_off = jpeg[..jpeg.len() / 2].to_vec();
    // Start, the header of a frame of 10,000 x 10,000, and nothing else.
    let huge = [
        0xFF, 0xD8, 0xFF, 0xC0, 0, 17, 8, 0x27, 0x10, 0x27, 0x10, 3, 1, 0x11, 0, 2, 0x11, 0, 3,
        0x11, 0, 0xFF, 0xD9,
    ];
    // One that says it is progressive, and refines its first coefficients again and again.
    let mut endless = jpeg[..jpeg.len() - 2].to_vec();
    let header = endless.windows(2).position(|two| two == [0xFF, 0xC0]);
    endless[header.expect("a baseline JPEG") + 1] = 0xC2;
    endless.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 0, 0x10, 0x55].repeat(100));
    endless.extend([0xFF, 0xD9]);
    [
        (cut_off, (160, 120), "cut off"),
        (huge.to_vec(), (10_000, 10_000), "pixels"),
        (endless, (160, 120), "scans"),
    ]
}

#[test]
fn pictures_made_to_do_harm_become_error_results_in_their_places() {
    let servers = shared();
    let input = topic(servers, 1);
    let jpeg = jpeg();
    let with_picture = |sequence: u64, content: &[u8], (width, height): (u32, u32)| {
        changed(frame(&input, "a", sequence), |frame| {
            frame.set_codec(v1::Codec::Jpeg);
            frame.set_pixel_format(v1::PixelFormat::Bgr24);
            (frame.width, frame.height) = (width, height);
            frame.content = Some(v1::frame::Content::Inline(Bytes::copy_from_slice(content)));
        })
    };
    let bombs = bombs(&jpeg);
    let records = bombs
        .iter()
        .zip((0..).step_by(2))
        .flat_map(|((bomb, size, _), sequence)| {
            let harmless = with_picture(sequence, &jpeg, (160, 120));
            [harmless, with_picture(sequence + 1, bomb, *size)]
        });
    publish_records(servers, records);
    let (_processor, url) = processor(&["resize", "--scale", "0.5"]);
    let broker = broker(
        servers,
        &input,
        &[&url],
        &["--attempts", "2", "--backoff", "10ms"],
    );
    let output = output_of(&input);
    Follower::new(servers, &output).wait_for(6);
    assert!(broker.stop().success());
    let seen = read_committed(servers, &output);
    let statuses: Vec<_> = seen.iter().map(Seen::status).collect();
    assert_eq!(statuses, ["ok", "error"].repeat(3));
    for (one, (_, _, words)) in seen.iter().skip(1).step_by(2).zip(&bombs) {
        let Kind::Frame(frame) = &one.message else {
            panic!("{one:?}");
        };
        let error = &frame.results[0].error;
        assert!(error.contains(words), "{error}");
    }
    // Who shows them shows what there is.
    assert_eq!(
        consume(servers, &output, &[]).sequences(),
        (0..6).collect::<Vec<_>>()
    );
}

#[test]
fn partitions_that_a_topic_gains_while_it_is_read_are_read_from_their_beginning() {
    let servers = shared();
    let input = topic(servers, 1);
    let (_processor, url) = processor(&["echo"]);
    publish(servers, &input, "a", 0..50);
    let broker = broker(servers, &input, &[&url], &[]);
    let mut output = Follower::new(servers, &output_of(&input));
    output.wait_for(50);
    grow_topic(servers, &input, 3).unwrap();
    wait_for("the new partitions", || {
        (admin().partitions(&input).unwrap().len() == 3).then_some(())
    });
    for (source, partition) in [("b", 1), ("c", 2), ("d", 0)] {
        let frames = (0..50).map(|sequence| Outgoing {
            partition: Some(partition),
            ..frame(&input, source, sequence)
        });
        publish_records(servers, frames);
    }
    output.wait_for(200);
    drop(output);
    assert!(broker.stop().success());
    let seen = read_committed(servers, &output_of(&input));
    assert_complete(&seen, &["a", "b", "c", "d"], 50);
}

#[test]
fn an_output_topic_that_is_deleted_while_it_is_written_is_named_and_costs_no_later_frame() {
    let servers = shared();
    let input = topic(servers, 1);
    let output = output_of(&input);
    let (_processor, url) = processor(&["echo"]);
    publish(servers, &input, "a", 0..50);
    let broker = broker(servers, &input, &[&url], &[]);
    Follower::new(servers, &output).wait_for(50);
    delete_topic(servers, &output).unwrap();
    publish(servers, &input, "a", 50..100);
    broker.wait_for_log("aborted");
    assert!(broker.log().contains(&output), "{}", broker.log());
    make_again(&output);
    Follower::new(servers, &output).wait_for(50);
    assert!(broker.stop().success());
    let ids = ids_of(&read_committed(servers, &output));
    assert_eq!(ids["a"], (50..100).collect::<Vec<_>>());
}

fn admin() -> Admin {
    Admin::connect(&KafkaConfig::new(shared()).unwrap()).unwrap()
}

/// A topic of a name that has just been deleted.
fn make_again(name: &str) {
    let admin = admin();
    wait_for("the end of the old topic", || {
        admin.topic(name).unwrap().is_none().then_some(())
    });
    let spec = TopicSpec::frames(name, 1);
    wait_for("a new topic", || admin.ensure_topic(&spec).ok());
}

#[test]
fn an_input_topic_that_is_deleted_and_made_anew_while_it_is_read_is_refused_or_read_from_its_beginning()
 {
    let servers = shared();
    let input = topic(servers, 1);
    let output = output_of(&input);
    let (_processor, url) = processor(&["echo"]);
    publish(servers, &input, "a", 0..50);
    let broker = broker(servers, &input, &[&url], &[]);
    Follower::new(servers, &output).wait_for(50);
    delete_topic(servers, &input).unwrap();
    make_again(&input);
    publish(servers, &input, "b", 0..40);
    // Which of the two depends on whether the broker looks while there is no topic.
    let refusal = "was the topic deleted and made anew?";
    let is_refused = wait_for("a refusal, or all frames", || {
        let is_refused = broker.log().contains(refusal);
        let is_read = read_committed(servers, &output).len() == 90;
        (is_refused || is_read).then_some(is_refused)
    });
    if is_refused {
        let (code, log) = broker.outcome();
        assert_eq!(code, Some(1), "{log}");
        assert_complete(&read_committed(servers, &output), &["a"], 50);
    } else {
        assert!(broker.stop().success());
        let ids = ids_of(&read_committed(servers, &output));
        assert_eq!(ids["a"], (0..50).collect::<Vec<_>>());
        assert_eq!(ids["b"], (0..40).collect::<Vec<_>>());
    }
}

/// A topic, and what a consumer of a group writes down of it.
struct Written {
    dir: tempfile::TempDir,
    input: String,
    group: String,
    sink: String,
}

impl Written {
    fn new(servers: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sink = format!("jsonl:{}", dir.path().join("lines").display());
        Self {
            dir,
            input: topic(servers, 1),
            group: name(),
            sink,
        }
    }

    fn args(&self) -> [&str; 6] {
        let Self {
            input, group, sink, ..
        } = self;
        ["--topic", input, "--group", group, "--sink", sink]
    }

    fn read_to_the_end(&self, servers: &str) {
        let args = [&self.args()[..], &["--until", "end"]].concat();
        run_ok("consumer", servers, &args);
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("lines")
    }

    fn progress(&self) -> PathBuf {
        self.dir.path().join("lines.framelane-progress.json")
    }

    fn wait_for_progress(&self, next: u64) {
        let text = format!("\"next\": {next}");
        wait_for(&format!("progress {next}"), || {
            let progress = std::fs::read_to_string(self.progress()).unwrap_or_default();
            progress.contains(&text).then_some(())
        });
    }

    fn wait_for_lines(&self, count: usize) {
        wait_for(&format!("{count} lines"), || {
            let lines = std::fs::read_to_string(self.file()).unwrap_or_default();
            (lines.lines().count() == count).then_some(())
        });
    }

    /// All that the file has: of each source its frames, from the first on, in order.
    fn assert_complete(&self, sources: &[(&str, u64)]) {
        let lines = Lines::read(&self.file());
        for (source, frames) in sources {
            let sequences = lines.of(source, 1).sequences();
            assert_eq!(sequences, (0..*frames).collect::<Vec<_>>(), "{source}");
        }
    }
}

#[test]
fn an_input_topic_that_is_made_anew_while_a_consumer_reads_it_is_shown_from_its_beginning() {
    let servers = shared();
    let written = Written::new(servers);
    let input = &written.input;
    publish(servers, input, "a", 0..50);
    let consumer = Process::start("consumer", servers, &written.args());
    written.wait_for_progress(50);
    publish(servers, input, "a", 50..60);
    written.wait_for_progress(60); // so what was before is committed: that comes first
    delete_topic(servers, input).unwrap();
    consumer.wait_for_log("partition given back");
    make_again(input);
    publish(servers, input, "b", 0..40);
    written.wait_for_lines(100);
    assert!(
        consumer.log().contains("the topic was made anew"),
        "{}",
        consumer.log()
    );
    assert!(consumer.stop().success());
    // The same command goes on in the new topic.
    publish(servers, input, "b", 40..70);
    written.read_to_the_end(servers);
    written.assert_complete(&[("a", 60), ("b", 70)]);
}

#[test]
fn what_the_sinks_of_a_restarted_consumer_had_hides_nothing_of_a_topic_that_is_made_anew() {
    let servers = shared();
    let mut written = Written::new(servers);
    publish(servers, &written.input, "a", 0..60);
    written.read_to_the_end(servers);
    // A group that knows less than the sinks: where the consumer begins can be seen in what it commits.
    let (before, group) = (std::mem::take(&mut written.group), name());
    let progress = std::fs::read_to_string(written.progress()).unwrap();
    assert!(progress.contains(&before));
    std::fs::write(written.progress(), progress.replace(&before, &group)).unwrap();
    written.group = group;
    let input = &written.input;
    // It comes with progress and has nothing to do before the topic goes.
    let consumer = Process::start("consumer", servers, &written.args());
    let kafka = KafkaConfig::new(servers).unwrap();
    let (inspector, lane) = (
        Inspector::new(&kafka).unwrap(),
        TopicPartition::new(input.as_str(), 0),
    );
    wait_for("the beginning to be committed", || {
        let committed = inspector.committed(&written.group, std::slice::from_ref(&lane));
        (committed.unwrap() == [(lane.clone(), 60)]).then_some(())
    });
    delete_topic(servers, input).unwrap();
    consumer.wait_for_log("partition given back");
    make_again(input);
    publish(servers, input, "b", 0..100);
    written.wait_for_lines(160);
    assert!(consumer.stop().success());
    // And when nobody is there: the group has forgotten the topic, the sink has not.
    delete_topic(servers, input).unwrap();
    make_again(input);
    publish(servers, input, "c", 0..30);
    written.read_to_the_end(servers);
    written.assert_complete(&[("a", 60), ("b", 100), ("c", 30)]);
}
