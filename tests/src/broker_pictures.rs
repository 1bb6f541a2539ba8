//! Pictures go to processors that look at them, and to no others.

use crate::harness::{
    Follower, assert_complete, broker, consume, frame, name, publish, publish_records,
    read_committed, shared, topic, wait_for,
};
use pipeline::kafka::{Outgoing, TopicPartition};
use pipeline::trace::TraceContext;
use pipeline::{envelope, v1, wire};
use processor_proto::envelope::Kind;
use processor_proto::{ProcessError, Processed, Processor, ServeConfig, Server};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use v1::frame::Content;

/// What came with each call: sequence, and `inline` or `missing`.
type Calls = Arc<Mutex<Vec<(u64, &'static str)>>>;

#[derive(Clone)]
struct Looker {
    needs_pixels: bool,
    /// Frames in a call.
    batch: u32,
    /// Answers to frames before this one, never to others.
    answers_before: u64,
    /// Refuses frames without pictures, as one that describes itself wrongly, or has come in another's place.
    insists: bool,
    calls: Calls,
}

impl Looker {
    fn new(needs_pixels: bool) -> Self {
        Self {
            needs_pixels,
            batch: 1,
            answers_before: u64::MAX,
            insists: false,
            calls: Calls::default(),
        }
    }

    /// Serves until the runtime goes.
    fn serve(&self, listen: SocketAddr) -> (Runtime, SocketAddr) {
        let runtime = Runtime::new().unwrap();
        let config = ServeConfig {
            listen,
            ..ServeConfig::default()
        };
        // The address of one that has just gone is free in a moment.
        let server = wait_for("the address", || {
            let _inside = runtime.enter();
            Server::bind(config.clone()).ok()
        });
        let address = server.local_addr();
        runtime.spawn(server.run(self.clone(), CancellationToken::new()));
        (runtime, address)
    }

    /// Sequences that came so, in their order, each once.
    fn sequences(&self, content: &str) -> Vec<u64> {
        let calls = self.calls.lock().unwrap();
        let mut found: Vec<u64> = calls
            .iter()
            .filter(|(_, word)| *word == content)
            .map(|(sequence, _)| *sequence)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Processor for Looker {
    fn name(&self) -> &str {
        "looker"
    }

    fn describe(&self) -> v1::DescribeResponse {
        v1::DescribeResponse {
            needs_pixels: self.needs_pixels,
            max_in_flight: 16,
            max_batch: self.batch,
            max_batch_wait_us: 1_000,
            ..Default::default()
        }
    }

    async fn process(&self, frame: v1::Frame) -> Result<Processed, ProcessError> {
        let sequence = frame.id.as_ref().map_or(u64::MAX, |id| id.sequence);
        let word = frame.content_word();
        self.calls.lock().unwrap().push((sequence, word));
        if sequence >= self.answers_before {
            std::future::pending::<()>().await;
        }
        match frame.inline() {
            None if self.insists => Err(ProcessError::InvalidFrame("where is it?".into())),
            _ => Ok(Processed::nothing()),
        }
    }
}

/// The frame, with something else in the place of its picture.
fn with_content(record: Outgoing, content: Content) -> Outgoing {
    let Ok(Kind::Frame(mut frame)) = envelope::decode(record.payload) else {
        panic!("the harness publishes frames");
    };
    frame.content = Some(content);
    wire::to_record(
        &record.topic,
        &Kind::Frame(frame),
        record.timestamp_ms,
        &TraceContext::root(),
    )
    .expect("a small frame")
}

/// Sends 40 frames with pictures through a broker to this processor; returns the output's topic.
fn forty_through(looker: &Looker, more: &[&str]) -> String {
    let input = topic(shared(), 1);
    publish(shared(), &input, "a", 0..40);
    let (_runtime, address) = looker.serve(([127, 0, 0, 1], 0).into());
    let broker = broker(shared(), &input, &[&format!("http://{address}")], more);
    let output = format!("{input}.out");
    Follower::new(shared(), &output).wait_for(40);
    assert!(broker.stop().success());
    output
}

#[test]
fn a_processor_that_needs_no_pictures_is_sent_none_and_the_output_has_them() {
    let servers = shared();
    for batch in [1, 4] {
        let looker = Looker {
            batch,
            ..Looker::new(false)
        };
        let output = forty_through(&looker, &[]);
        assert_complete(&read_committed(servers, &output), &["a"], 40); // their pixels too
        assert_eq!(looker.sequences("missing"), (0..40).collect::<Vec<_>>());
        assert_eq!(looker.sequences("inline"), [0; 0]);
    }
}

#[test]
fn a_processor_that_comes_in_the_place_of_one_without_pictures_gets_those_it_needs() {
    let servers = shared();
    let (input, pictures) = (topic(servers, 1), topic(servers, 1));
    publish(servers, &pictures, "a", 0..40);
    // Every other frame refers to its picture in the other topic.
    publish_records(
        servers,
        (0..40).map(|sequence| {
            let record = frame(&input, "a", sequence);
            let place = TopicPartition::new(pictures.as_str(), 0);
            match sequence % 2 {
                0 => record,
                _ => {
                    let place = wire::reference_to(&place, sequence as i64);
                    with_content(record, Content::Reference(place))
                }
            }
        }),
    );
    let without = Looker {
        answers_before: 10,
        ..Looker::new(false)
    };
    let (runtime, address) = without.serve(([127, 0, 0, 1], 0).into());
    let more = ["--attempts", "100", "--group", &name()];
    let broker = broker(servers, &input, &[&format!("http://{address}")], &more);
    let output = format!("{input}.out");
    // Calls under way, and frames behind them that wait for one with their pictures left out.
    wait_for("calls without an answer", || {
        (without.sequences("missing").len() >= 26).then_some(())
    });
    assert_eq!(without.sequences("inline"), [0; 0]);
    runtime.shutdown_background();
    let with = Looker::new(true);
    let (_runtime, _) = with.serve(address);
    Follower::new(servers, &output).wait_for(40);
    assert!(broker.stop().success());
    assert_eq!(with.sequences("missing"), [0; 0]);
    assert_eq!(with.sequences("inline"), (10..40).collect::<Vec<_>>());
    assert_eq!(read_committed(servers, &output).len(), 40);
}

#[test]
fn a_processor_that_refuses_frames_without_pictures_gets_them_whatever_it_says_of_itself() {
    let servers = shared();
    for batch in [1, 4] {
        let looker = Looker {
            batch,
            insists: true,
            ..Looker::new(false)
        };
        let output = forty_through(&looker, &["--attempts", "1", "--backoff", "5ms"]);
        assert_eq!(looker.sequences("inline"), (0..40).collect::<Vec<_>>());
        let lines = consume(servers, &output, &[]).kind("frame").0;
        assert_eq!(lines.len(), 40);
        for line in lines {
            assert_eq!(line["results"][0]["status"], "ok", "{line}");
        }
    }
}

#[test]
fn frames_without_pictures_wait_until_a_processor_says_whether_it_needs_them() {
    let servers = shared();
    let input = topic(servers, 1);
    let omitted = v1::Missing {
        reason: v1::missing::Reason::Omitted.into(),
        last_known: None,
    };
    publish_records(
        servers,
        (0..10).map(|sequence| {
            let record = frame(&input, "a", sequence);
            with_content(record, Content::Missing(omitted.clone()))
        }),
    );
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let address = address.unwrap(); // where nobody listens yet
    let url = format!("http://{address}");
    let broker = broker(servers, &input, &[&url], &["--watchdog", "1s"]);
    broker.wait_for_log("WaitingForReplica");
    let looker = Looker::new(false);
    let (_runtime, _) = looker.serve(address);
    let output = format!("{input}.out");
    Follower::new(servers, &output).wait_for(10);
    assert!(broker.stop().success());
    assert_eq!(looker.sequences("missing"), (0..10).collect::<Vec<_>>());
    for line in consume(servers, &output, &[]).kind("frame").0 {
        assert_eq!(line["results"][0]["status"], "ok", "{line}");
    }
}
