//! The web edge: what viewers get is what the topic holds.

use crate::harness::{
    Answer, Follower, Gateway, Process, get, name, pictures, processor, publish, publish_raw,
    run_ok, shared, topic, wait_for,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A source of test pictures that has begun and goes on until it is dropped; returns the new topic, which is also the
/// source.
pub fn camera(servers: &str, pattern: &str) -> (Process, String) {
    let topic = name();
    let args = ["--pattern", pattern, "--topic", &topic];
    let camera = Process::start("producer", servers, &args);
    Follower::new(servers, &topic).wait_for(1);
    (camera, topic)
}

/// A topic with so many frames of a test picture, 50 a second by their capture times.
fn clip(count: u64) -> String {
    let (topic, count) = (name(), count.to_string());
    let pattern = [
        "--pattern",
        "640x480@50",
        "--pace",
        "max",
        "--topic",
        &topic,
        "--count",
        &count,
    ];
    run_ok("producer", shared(), &pattern);
    topic
}

fn gateway() -> Gateway {
    Gateway::start(shared(), &[])
}

/// Width of a JPEG.
fn width(bytes: &[u8]) -> usize {
    imagesize::blob_size(bytes).expect("a picture").width
}

#[test]
fn mjpeg_shows_the_pictures_of_the_topic_in_order() {
    let topic = clip(80);
    let gateway = gateway();
    let path = format!("/live/{topic}/{topic}.mjpg?from=earliest&speed=100");
    let mut stream = gateway.mjpeg(&path);
    for (id, bytes) in pictures(shared(), &topic) {
        let part = stream.next().expect("as many as there are");
        assert_eq!((part.epoch, part.sequence), (id.epoch, id.sequence));
        assert!(
            part.bytes == bytes,
            "{id}: the pictures are given as they are"
        );
    }
}

#[test]
fn live_viewers_get_every_frame_or_are_told_how_many_they_missed() {
    let (_camera, topic) = camera(shared(), "320x240@60");
    let gateway = gateway();
    let mut socket = gateway.socket(&format!("/ws/{topic}/{topic}"));
    let first = socket.frame();
    let (mut last, mut received) = (first.sequence(), 1);
    assert_eq!(first.head["kind"], "frame");
    assert_eq!(width(&first.picture), 320);
    while received < 200 {
        let sequence = socket.frame().sequence();
        assert!(sequence > last, "{sequence} after {last}");
        (last, received) = (sequence, received + 1);
    }
    // What it was not told of before is told in the status behind it.
    socket.say(&json!({ "pause": true }));
    let status = socket.told("status");
    assert_eq!(status["source"]["gaps"], 0, "{status}");
    let sent = status["sent"].as_u64().expect("a number");
    let skipped = status["skipped"].as_u64().expect("a number");
    assert!(sent >= received && skipped <= last, "{status}");
    let missed = last - first.sequence() + 1 - received;
    assert!(skipped >= missed, "missed {missed}: {status}");
}

#[test]
fn a_viewer_may_ask_for_smaller_pictures_fewer_frames_and_boxes() {
    let (_camera, topic) = camera(shared(), "640x480@30");
    let gateway = gateway();
    let mut socket = gateway.socket(&format!("/ws/{topic}/{topic}?size=320"));
    let small = socket.frame();
    assert_eq!(
        (width(&small.picture), &small.head["picture"]["width"]),
        (320, &json!(320))
    );
    assert_eq!(
        small.head["width"], 640,
        "boxes count in pixels of the frame"
    );
    socket.say(&json!({ "size": 100, "overlay": true, "rate": 5 }));
    let status = socket.told("status");
    assert_eq!(
        (&status["width"], &status["overlay"], &status["rate"]),
        (&json!(160), &json!(true), &json!(5.0))
    );
    wait_for("a smaller picture", || {
        (width(&socket.frame().picture) == 160).then_some(())
    });
    let (first, second, third) = (socket.frame(), socket.frame(), socket.frame());
    let apart = third.sequence() - first.sequence();
    assert!(
        apart >= 6,
        "5 of 30 frames a second: {first:?} {second:?} are {apart} apart"
    );
    for (wrong, words) in [
        (json!({ "sise": 1 }), "unknown field"),
        (json!({ "size": "big" }), "not a size"),
        (json!({ "rate": -1 }), "rate"),
        (json!({ "speed": 0, "seek": "earliest" }), "not a speed"),
        (json!({ "seek": "yesterday" }), "seek"),
    ] {
        socket.say(&wrong);
        let error = socket.told("error");
        assert!(
            error["error"].as_str().unwrap_or_default().contains(words),
            "{wrong}: {error}"
        );
    }
    socket.say(&json!({ "size": "full", "overlay": false, "rate": 0 }));
    wait_for("the full picture", || {
        (width(&socket.frame().picture) == 640).then_some(())
    });
}

#[test]
fn a_variant_is_made_once_for_all_its_viewers() {
    let (_camera, topic) = camera(shared(), "640x480@20");
    let gateway = gateway();
    let path = format!("/live/{topic}/{topic}.mjpg?size=160&overlay=1");
    let mut viewers = [gateway.mjpeg(&path), gateway.mjpeg(&path)];
    let mut seen: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut shared_by_both = 0;
    for _ in 0..30 {
        for viewer in &mut viewers {
            let part = viewer.next().expect("live");
            assert_eq!(width(&part.bytes), 160);
            match seen.get(&part.sequence) {
                Some(bytes) => {
                    assert!(*bytes == part.bytes, "the same frame is the same picture");
                    shared_by_both += 1;
                }
                None => drop(seen.insert(part.sequence, part.bytes)),
            }
        }
    }
    assert!(shared_by_both > 0, "no frame was seen by both");
}

#[test]
fn events_tell_what_was_found_and_show_no_pictures() {
    let topic = clip(20);
    let gateway = gateway();
    let (_, lines) = read_events(&gateway, &topic, &[], 21);
    let kinds: Vec<_> = lines.iter().map(|(_, kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, [&["frame"; 20][..], &["end"]].concat());
    for (number, (_, _, data)) in lines.iter().take(20).enumerate() {
        assert_eq!(
            (&data["sequence"], &data["source"]),
            (&json!(number), &json!(topic))
        );
        assert!(
            data["picture"].is_null() && data["stamps"].is_array(),
            "{data}"
        );
    }
    // A browser that was cut off says what it had last.
    let (id, _, _) = &lines[9];
    let (_, rest) = read_events(&gateway, &topic, &[&format!("Last-Event-ID: {id}")], 11);
    assert_eq!(rest[0].2["sequence"], 10);
}

/// Id, kind and data of so many events from the beginning on.
fn read_events(
    gateway: &Gateway,
    topic: &str,
    headers: &[&str],
    count: usize,
) -> (String, Vec<(String, String, Value)>) {
    use std::io::{BufRead, BufReader, Write};
    let stream = std::net::TcpStream::connect(&gateway.address).unwrap();
    let path = format!("/events/{topic}/{topic}?from=earliest&speed=100");
    let more: String = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect();
    write!(
        &stream,
        "GET {path} HTTP/1.0\r\nHost: {}\r\n{more}\r\n",
        gateway.address
    )
    .unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let head: String = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert!(head.contains("text/event-stream"), "{head}");
    let mut events = Vec::new();
    let (mut id, mut kind) = (String::new(), String::new());
    while events.len() < count {
        let line = lines.next().expect("more events");
        match line.split_once(": ") {
            Some(("id", text)) => id = text.to_owned(),
            Some(("event", text)) => kind = text.to_owned(),
            Some(("data", text)) => {
                let data = serde_json::from_str(text).expect("JSON");
                events.push((id.clone(), kind.clone(), data));
            }
            _ => {}
        }
    }
    (head, events)
}

#[test]
fn a_snapshot_is_the_newest_picture_also_of_a_source_that_rests() {
    let topic = clip(30);
    let gateway = gateway();
    let (last, bytes) = pictures(shared(), &topic).pop().expect("pictures");
    let full = gateway.get(&format!("/snapshot/{topic}/{topic}.jpg"));
    assert_eq!(
        (full.status, full.header("content-type")),
        (200, Some("image/jpeg"))
    );
    assert_eq!(full.header("x-frame"), Some(last.to_string().as_str()));
    assert!(full.body == bytes, "as it was captured");
    let small = gateway.get(&format!("/snapshot/{topic}/{topic}.jpg?size=160"));
    assert_eq!(width(&small.body), 160);
    let none = gateway.get(&format!("/snapshot/{topic}/nobody.jpg"));
    assert_eq!(none.status, 404, "{}", none.text());
}

#[test]
fn a_replay_goes_where_it_is_told_pauses_and_comes_back() {
    let topic = clip(300); // 6 s
    let gateway = gateway();
    let mut socket = gateway.socket(&format!("/ws/{topic}/{topic}?from=earliest&speed=8"));
    let all: Vec<u64> = (0..100).map(|_| socket.frame().sequence()).collect();
    assert_eq!(
        all,
        (0..100).collect::<Vec<_>>(),
        "a replay leaves nothing out"
    );
    socket.say(&json!({ "pause": true }));
    while socket.told("status")["paused"] != true {}
    socket.say(&json!({ "seek": "offset:200" }));
    let shown = socket.frame();
    assert_eq!(
        shown.head["offset"], 200,
        "where it was told to go, also while paused"
    );
    let status = socket.told("status");
    assert_eq!(
        (&status["paused"], &status["mode"]),
        (&json!(true), &json!("replay"))
    );
    socket.say(&json!({ "resume": true, "speed": 100 }));
    assert_eq!(socket.frame().sequence(), shown.sequence() + 1);
    let time = jiff::Timestamp::from_nanosecond(
        shown.head["capture_time_unix_ns"].as_i64().unwrap().into(),
    )
    .unwrap();
    socket.say(&json!({ "seek": format!("time:{time}") }));
    let back = wait_for("the frame of that time", || {
        let sequence = socket.frame().sequence();
        (sequence.abs_diff(shown.sequence()) <= 1).then_some(sequence)
    });
    assert!(back <= shown.sequence() + 1);
    let end = wait_for("the end", || {
        let record = socket.record();
        (record.head["kind"] == "end").then_some(record)
    });
    assert_eq!(end.head["sequence"], 299);
    socket.say(&json!({ "seek": "live" }));
    let live = wait_for("the live view", || {
        let status = socket.told("status");
        (status["mode"] == "live").then_some(status)
    });
    assert_eq!(live["source"]["state"], "ended");
}

#[test]
fn pictures_behind_references_are_shown_as_if_they_were_there() {
    let input = clip(30);
    let output = format!("{input}.out");
    let (_echo, url) = processor(&["echo"]);
    let args = [
        "--input",
        &input,
        "--output",
        &output,
        "--processor",
        &url,
        "--content",
        "reference",
    ];
    let _broker = Process::start("broker", shared(), &args);
    Follower::new(shared(), &output).wait_for(31);
    let gateway = gateway();
    let mut stream = gateway.mjpeg(&format!(
        "/live/{output}/{input}.mjpg?from=earliest&speed=100"
    ));
    for (id, bytes) in pictures(shared(), &input) {
        let part = stream.next().expect("as many as there are");
        assert!(part.sequence == id.sequence && part.bytes == bytes, "{id}");
    }
    let mut socket = gateway.socket(&format!("/ws/{output}/{input}?from=earliest"));
    let shown = socket.frame();
    assert_eq!(shown.head["results"][0]["processor"], "echo");
    assert_eq!(shown.head["content"], "inline");
}

#[test]
fn what_cannot_be_shown_is_said_and_the_rest_goes_on() {
    let input = topic(shared(), 1);
    publish(shared(), &input, "a", 0..3); // raw pixels, which no browser shows
    publish_raw(shared(), &input, "a", b"\xff\xffno envelope");
    publish(shared(), &input, "a", 4..6);
    let gateway = gateway();
    let mut socket = gateway.socket(&format!("/ws/{input}/a?from=earliest&speed=100"));
    let sequences: Vec<_> = (0..5)
        .map(|_| socket.frame())
        .map(|shown| {
            assert_eq!(
                shown.head["picture"]["media_type"], "image/jpeg",
                "made into something that browsers show"
            );
            assert_eq!(width(&shown.picture), 64);
            shown.sequence()
        })
        .collect();
    assert_eq!(sequences, [0, 1, 2, 4, 5]);
}

#[test]
fn sources_are_found_with_how_they_are() {
    let (_camera, live) = camera(shared(), "160x120@25");
    let (ended, several) = (clip(10), topic(shared(), 4));
    for source in ["left", "right", "up", "down"] {
        publish(shared(), &several, source, 0..5);
    }
    let gateway = gateway();
    let mut viewer = gateway.mjpeg(&format!("/live/{live}/{live}.mjpg"));
    viewer.next().expect("live");
    for source in ["left", "right", "up", "down"] {
        wait_for("all sources of the topic", || {
            gateway.source(&several, source)
        });
    }
    let mut mistyped = gateway.socket(&format!("/ws/{live}/nobody"));
    assert_eq!(mistyped.told("status")["source"]["state"], "waiting");
    assert!(gateway.source(&live, "nobody").is_none(), "it may never be");
    let line = wait_for("the rate", || {
        viewer.next().expect("live");
        let line = gateway.source(&live, &live)?;
        (line["live"]["fps"].as_f64()? > 0.0).then_some(line)
    });
    assert_eq!(
        (
            &line["viewers"],
            &line["live"]["gaps"],
            &line["live"]["state"]
        ),
        (&json!(1), &json!(0), &json!("live"))
    );
    let line = wait_for("the ended source", || gateway.source(&ended, &ended));
    assert!(line["live"].is_null(), "nobody watches it: {line}");
    let detail = gateway.json(&format!("/sources/{ended}/{ended}"));
    assert_eq!(detail["range"]["first_offset"], 0);
    let time = |field: &str| detail["range"][field].as_i64().expect("a time");
    assert!(time("last_unix_ms") > time("first_unix_ms"), "{detail}");
    let mut right = gateway.socket(&format!("/ws/{several}/right"));
    assert_eq!(
        right.frame().head["source"],
        "right",
        "of its own partition, and only of this source"
    );
}

#[test]
fn a_source_that_is_spread_is_watched_live_and_not_replayed() {
    let topic = name();
    let args = ["--pattern", "160x120@60", "--topic", &topic, "--spread"];
    let _camera = Process::start("producer", shared(), &args);
    let gateway = gateway();
    wait_for("the source in several partitions", || {
        let line = gateway.source(&topic, &topic)?;
        (line["partitions"].as_array()?.len() > 1).then_some(())
    });
    let mut socket = gateway.socket(&format!("/ws/{topic}/{topic}"));
    let mut last = socket.frame().sequence();
    let mut partitions = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let shown = socket.frame();
        assert!(shown.sequence() > last);
        last = shown.sequence();
        partitions.insert(shown.head["partition"].as_i64());
    }
    assert!(partitions.len() > 1, "{partitions:?}");
    let replay = gateway.get(&format!("/live/{topic}/{topic}.mjpg?from=earliest"));
    assert_eq!(replay.status, 422, "{}", replay.text());
}

#[test]
fn names_and_wishes_that_cannot_be_are_refused_and_reach_nothing() {
    let gateway = gateway();
    let is_refused = |path: &str, status: u16| {
        let Answer { status: found, .. } = get(&gateway.address, path);
        assert_eq!(found, status, "{path}");
    };
    for (path, status) in [
        ("/live/__consumer_offsets/x.mjpg", 400),
        ("/live/framelane.sources/x.mjpg", 400),
        ("/live/..%2f..%2fetc/passwd.mjpg", 400),
        ("/live/a%00b/x.mjpg", 400),
        ("/live/a%20b/x.mjpg", 400),
        ("/snapshot/t/%2e%2e.jpg", 404),
        ("/live/t/x.exe", 404),
        ("/assets/../src/main.rs", 404),
        ("/assets/..%2f..%2fCargo.toml", 404),
        ("/nothing", 404),
        ("/live/no-such-topic-here/x.mjpg", 404),
        ("/live/t/x.mjpg?from=yesterday", 400),
        ("/live/t/x.mjpg?size=-1", 400),
        ("/live/t/x.mjpg?unknown=1", 400),
        ("/live/t/x.mjpg?rate=0", 400),
        ("/live/t/x.mjpg?rate=NaN", 400),
        ("/live/t/x.mjpg?overlay=maybe", 400),
    ] {
        is_refused(path, status);
    }
    is_refused(&format!("/live/{}/x.mjpg", "x".repeat(250)), 400);
    is_refused(&format!("/{}", "x".repeat(20_000)), 431);
    assert_eq!(gateway.get("/health").status, 200);
    assert!(!gateway.process.log().contains("panicked"));
}
