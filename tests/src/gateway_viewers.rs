//! The web edge: viewers that are slow or gone, a Kafka that goes and comes back, and what is read for nobody.

use crate::gateway::camera;
use crate::harness::{Answer, Gateway, Process, request, run, shared, wait_for};
use kafka_node::{Kafka, Options};
use pipeline::kafka::{Admin, KafkaConfig};
use std::sync::mpsc::{self, TryRecvError};

/// A gauge or counter of the gateway, summed over its labels; 0 if it was never touched.
fn metric(address: &str, name: &str) -> f64 {
    let Answer { body, .. } = request(address, "GET /metrics", &[]);
    let text = String::from_utf8_lossy(&body).into_owned();
    let of_name = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([' ', '{']))
    });
    of_name
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

/// A gateway with metrics; returns their address too.
fn measured(servers: &str, more: &[&str]) -> (Gateway, String) {
    let [port] = kafka_node::free_ports().expect("a free port");
    let metrics = format!("127.0.0.1:{port}");
    let gateway = Gateway::start(servers, &[&["--metrics", &metrics], more].concat());
    (gateway, metrics)
}

#[test]
fn a_viewer_that_stalls_is_closed_and_holds_nobody_up() {
    let (_camera, topic) = camera(shared(), "1280x720@30");
    let (gateway, metrics) = measured(shared(), &["--write-timeout", "2s"]);
    let path = format!("/live/{topic}/{topic}.mjpg");
    let stalled = gateway.mjpeg(&path); // and never read again
    let mut good = gateway.mjpeg(&path);
    let (watching, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // All the time: with so little patience, nobody may stop to look elsewhere.
        let other = scope.spawn(move || {
            let mut last = None;
            while ended.try_recv() != Err(TryRecvError::Disconnected) {
                let part = good.next().expect("the other one goes on");
                assert!(Some(part.sequence) > last);
                last = Some(part.sequence);
            }
        });
        let _watching = watching; // dropped by a panic too: the scope waits for the other one
        wait_for("the stalled viewer to be closed", || {
            assert!(!other.is_finished(), "the other one goes on");
            (metric(&metrics, "framelane_gateway_viewers_stalled_total") == 1.0).then_some(())
        });
    });
    assert!(metric(&metrics, "framelane_gateway_frames_sent_total") > 0.0);
    drop(stalled);
}

#[test]
fn a_slow_viewer_skips_to_the_newest_and_is_told() {
    let (_camera, topic) = camera(shared(), "1280x720@60");
    let (gateway, metrics) = measured(shared(), &[]);
    let path = format!("/ws/{topic}/{topic}");
    let mut slow = gateway.socket(&path);
    let mut quick = gateway.mjpeg(&format!("/live/{topic}/{topic}.mjpg"));
    slow.frame();
    // It takes nothing until the others are far ahead of what lies between it and the gateway.
    wait_for("skipped frames", || {
        for _ in 0..60 {
            quick.next().expect("the other one goes on");
        }
        slow.frame();
        (metric(&metrics, "framelane_gateway_frames_skipped_total") > 0.0).then_some(())
    });
    let status = wait_for("a status that says so", || {
        let status = slow.told("status");
        (status["skipped"].as_u64() > Some(0)).then_some(status)
    });
    assert!(status["sent"].as_u64() > Some(0), "{status}");
    wait_for("the list to say so", || {
        let line = gateway.source(&topic, &topic)?;
        (line["skipped"].as_u64()? > 0).then_some(())
    });
}

#[test]
fn only_what_is_watched_is_read_and_no_trace_is_left() {
    let kafka = Kafka::start_jars(&Options::default()).expect("a Kafka that no group ever used");
    let servers = kafka.bootstrap_servers();
    let (_one, first) = camera(servers, "160x120@30");
    let (_two, _second) = camera(servers, "160x120@30");
    let (gateway, metrics) = measured(servers, &["--linger", "500ms"]);
    let partitions = || metric(&metrics, "framelane_gateway_partitions_read");
    assert_eq!(partitions(), 0.0);
    let path = format!("/live/{first}/{first}.mjpg");
    let mut viewers = [gateway.mjpeg(&path), gateway.mjpeg(&path)];
    viewers
        .iter_mut()
        .for_each(|viewer| drop(viewer.next().expect("live")));
    assert_eq!(partitions(), 1.0, "two viewers, one reader");
    drop(viewers);
    wait_for("the reader to close", || {
        (partitions() == 0.0).then_some(())
    });
    let read = metric(&metrics, "framelane_gateway_records_read_total");
    assert!(read > 0.0);
    gateway.json("/sources");
    assert_eq!(
        metric(&metrics, "framelane_gateway_records_read_total"),
        read,
        "nothing is followed for nobody"
    );
    let mut again = gateway.mjpeg(&path);
    again.next().expect("it is read anew");
    // Groups and their commits are records there.
    let admin = Admin::connect(&KafkaConfig::new(servers).unwrap()).unwrap();
    let lanes = admin.partitions("__consumer_offsets").unwrap_or_default();
    assert!(
        lanes.iter().all(|lane| admin.ends(lane).unwrap().1 == 0),
        "a viewer left a trace"
    );
}

#[test]
fn viewers_stay_while_kafka_is_away_and_go_on_when_it_is_back() {
    let mut kafka = Kafka::start_jars(&Options::default()).expect("a Kafka of this test's own");
    let servers = kafka.bootstrap_servers().to_owned();
    let (camera, topic) = camera(&servers, "160x120@30");
    let pattern = ["--pattern", "160x120@30", "--topic", &topic];
    let gateway = Gateway::start(&servers, &[]);
    let mut socket = gateway.socket(&format!("/ws/{topic}/{topic}"));
    let before = socket.frame();
    kafka.kill().expect("a node of our own");
    drop(camera); // it may end by itself while Kafka is away: a new start is what a supervisor would do
    wait_for("the silence", || {
        let status = socket.told("status");
        (status["source"]["fps"].as_f64() == Some(0.0)).then_some(())
    });
    kafka.restart().expect("the node comes back");
    let _camera = Process::start("producer", &servers, &pattern);
    let epoch = before.head["epoch"].as_u64();
    wait_for("frames of the next start, on the same connection", || {
        (socket.frame().head["epoch"].as_u64() > epoch).then_some(())
    });
    wait_for("a gateway that is ready", || {
        (gateway.get("/ready").status == 200).then_some(())
    });
}

#[test]
fn there_are_as_many_seats_as_were_allowed() {
    let (_camera, topic) = camera(shared(), "160x120@10");
    let gateway = Gateway::start(shared(), &["--max-viewers", "2", "--max-replays", "1"]);
    let path = format!("/live/{topic}/{topic}.mjpg");
    let replay = gateway.mjpeg(&format!("{path}?from=earliest"));
    let second = gateway.get(&format!("{path}?from=earliest"));
    assert_eq!(second.status, 503, "{}", second.text());
    assert!(second.text().contains("--max-replays"));
    let mut live = gateway.mjpeg(&path);
    live.next().expect("the second seat");
    let third = gateway.get(&path);
    assert_eq!(
        (third.status, third.header("retry-after")),
        (503, Some("2"))
    );
    assert!(third.text().contains("--max-viewers"));
    assert_eq!(
        gateway.get("/ready").status,
        503,
        "others may be sent elsewhere"
    );
    assert_eq!(gateway.get("/health").status, 200);
    drop((live, replay));
    wait_for("a free seat", || {
        (gateway.get("/ready").status == 200).then_some(())
    });
    gateway
        .mjpeg(&path)
        .next()
        .expect("a seat that was free again");
}

#[test]
fn a_gateway_that_stops_tells_its_viewers() {
    let (_camera, topic) = camera(shared(), "160x120@30");
    let gateway = Gateway::start(shared(), &[]);
    let mut socket = gateway.socket(&format!("/ws/{topic}/{topic}"));
    socket.frame();
    let mut stream = gateway.mjpeg(&format!("/live/{topic}/{topic}.mjpg"));
    stream.next().expect("live");
    let ended = std::thread::spawn(move || gateway.process.stop());
    assert_eq!(socket.end(), Some(1001), "going away");
    while stream.next().is_some() {}
    assert!(ended.join().unwrap().success());
}

#[test]
fn a_gateway_says_what_is_wrong_with_its_settings() {
    for (line, words) in [
        ("--listen nowhere", "--listen"),
        (
            "--tls-cert /nowhere.pem --tls-key /nowhere.key",
            "--tls-cert",
        ),
        ("--tls-cert /nowhere.pem", "--tls-key"),
        ("--tokens /nowhere.yaml", "--tokens"),
        ("--allow-origin cams.example", "--allow-origin"),
        ("--write-timeout 0s", "--write-timeout"),
        ("--max-viewers 0", "--max-viewers"),
    ] {
        let args: Vec<_> = line.split_whitespace().collect();
        let (code, log) = run("gateway", "localhost:1", &args);
        assert!(
            code == Some(2) && log.contains(words),
            "{line}: {code:?} {log}"
        );
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let (code, log) = run("gateway", shared(), &["--listen", &listen]);
    assert!(
        code == Some(1) && log.contains("--listen"),
        "{code:?} {log}"
    );
}
