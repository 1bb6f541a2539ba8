//! Processors written in Python: the examples of `sdk/python`, driven by the real broker.
//!
//! They need the environment that `cargo xtask test` makes (`target/python/venv`), or another's interpreter in
//! `FRAMELANE_PYTHON`; without one they say that they cannot run.

use crate::harness::{
    Follower, Lines, Process, assert_complete, broker, clip, consume, frame, name, publish_records,
    read_committed, run_ok, shared, topic, wait_for,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter, or None after having said that `test` cannot run.
fn python(test: &str) -> Option<PathBuf> {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/venv/bin/python");
    let python = std::env::var_os("FRAMELANE_PYTHON").map_or(made, PathBuf::from);
    if !python.exists() {
        let reason = "no Python environment: `cargo xtask test` makes one, FRAMELANE_PYTHON names another's interpreter";
        kafka_node::skipped(test, reason);
        return None;
    }
    Some(python)
}

/// Starts an example of the SDK on a free port; returns it with its URL.
fn example(python: &Path, file: &str, more: &[&str]) -> (Process, String) {
    let dir = tempfile::tempdir().unwrap();
    let port_file = dir.path().join("port");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/python/examples");
    let mut command = Command::new(python);
    command
        .arg(examples.join(file))
        .args(["--listen", "127.0.0.1:0", "--port-file"])
        .arg(&port_file)
        .args(more);
    let mut process = Process::spawn(file, command);
    let address = wait_for("the example's port file", || {
        assert!(!process.has_ended(), "{}", process.log());
        std::fs::read_to_string(&port_file).ok()
    });
    (process, format!("http://{address}"))
}

/// The only result of a frame, which must be OK and of this processor.
fn result<'a>(line: &'a Value, processor: &str) -> &'a Value {
    let results = line["results"].as_array().unwrap();
    assert_eq!(results.len(), 1, "{line}");
    let who = (&results[0]["processor"], &results[0]["status"]);
    assert_eq!(who, (&processor.into(), &"ok".into()), "{line}");
    &results[0]
}

/// What a consumer shows of the broker's output once it is complete.
fn complete(broker: Process, input: &str, records: usize) -> Lines {
    let output = format!("{input}.out");
    Follower::new(shared(), &output).wait_for(records);
    assert!(broker.stop().success());
    consume(shared(), &output, &[])
}

#[test]
fn fifteen_lines_of_python_see_what_moves_and_a_replica_that_stops_in_the_middle_loses_nothing() {
    let Some(python) = python("python::fifteen_lines_of_python_see_what_moves") else {
        return;
    };
    let input = name();
    let (clip, pace) = (clip(), ["--pace", "max", "--resize", "320x240"]);
    let args = [&["--file", &clip, "--topic", &input][..], &pace].concat();
    run_ok("producer", shared(), &args);
    let (first, first_url) = example(&python, "motion_in_15_lines.py", &[]);
    let (second, second_url) = example(&python, "motion_in_15_lines.py", &[]);
    let broker = broker(shared(), &input, &[&first_url, &second_url], &[]);
    Follower::new(shared(), &format!("{input}.out")).wait_for(40);
    assert!(first.stop().success()); // drained: its calls were answered
    let lines = complete(broker, &input, 221);
    assert!(second.stop().success());
    lines.assert_run(&input, 1, 220, "finished");
    let mut moving = 0;
    for line in &lines.kind("frame").0 {
        let result = result(line, "motion");
        let seen = result["detections"].as_array().unwrap();
        assert!(seen.iter().all(|one| one["label"] == "moving"), "{line}");
        moving += usize::from(!seen.is_empty());
    }
    assert!(
        moving >= 100,
        "something moved in {moving} frames of 220 of a busy street"
    );
}

/// Paints signs as a person with OpenCV would: `python -c SIGNS FOLDER`.
const SIGNS: &str = r#"
import sys
import cv2
import numpy as np
for number, words in enumerate([("PLATFORM 7", "TO NORWICH"), ("EXIT 42", "MIND THE GAP"), ()]):
    sign = np.full((270, 640, 3), (120, 70, 30), np.uint8)
    for line, text in enumerate(words):
        cv2.putText(sign, text, (60, 130 + 80 * line), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (245, 245, 245), 4, cv2.LINE_AA)
    cv2.imwrite(f"{sys.argv[1]}/sign{number}.png", sign)
"#;

#[test]
fn text_in_pictures_is_read_and_shown_where_it_stands() {
    let Some(python) = python("python::text_in_pictures_is_read") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let painted = Command::new(&python).args(["-c", SIGNS, folder]).status();
    assert!(painted.unwrap().success());
    let input = name();
    run_ok(
        "producer",
        shared(),
        &["--images", folder, "--pace", "max", "--topic", &input],
    );
    let (reader, url) = example(&python, "read_text.py", &["--threads", "1"]);
    // Its networks warm up in the first call, which takes long on a busy machine.
    let broker = broker(shared(), &input, &[&url], &["--deadline", "60s"]);
    let lines = complete(broker, &input, 4);
    assert!(reader.stop().success());

    let signs = [
        &["PLATFORM 7", "TO NORWICH"][..],
        &["EXIT 42", "MIND THE GAP"],
        &[],
    ];
    let frames = lines.kind("frame").0;
    assert_eq!(frames.len(), signs.len());
    for (frame, sign) in frames.iter().zip(signs) {
        let seen = result(frame, "text")["detections"].as_array().unwrap();
        let read: BTreeSet<String> = seen
            .iter()
            .map(|one| one["text"].as_str().unwrap().replace(' ', ""))
            .collect();
        let painted = sign.iter().map(|text| text.replace(' ', "")).collect();
        assert_eq!(read, painted, "{frame}");
        for one in seen {
            let line = sign
                .iter()
                .position(|text| one["text"].as_str().unwrap().starts_with(&text[..2]));
            let baseline = 130.0 + 80.0 * line.unwrap() as f64;
            let (top, height) = (
                one["box"][1].as_f64().unwrap(),
                one["box"][3].as_f64().unwrap(),
            );
            assert!(
                top < baseline && baseline < top + height + 25.0,
                "not where it was painted: {one}"
            );
        }
    }
    let first = &result(&frames[0], "text")["detections"][0];
    assert_overlay_shows(&python, &input, first, dir.path());
}

/// How many pixels above a box differ between a picture and the same with its results drawn: `python -c DRAWN PICTURE
/// OVERLAY X Y`. That is where captions stand.
const DRAWN: &str = r#"
import sys
import cv2
import numpy as np
plain, overlay = (cv2.imread(path).astype(int) for path in sys.argv[1:3])
x, y = (int(float(word)) for word in sys.argv[3:5])
area = slice(y - 18, y - 4), slice(x, x + 200)
print(int((np.abs(plain[area] - overlay[area]).max(axis=2) > 80).sum()))
"#;

/// Asserts that the consumer writes a caption above this detection of the first frame.
fn assert_overlay_shows(python: &Path, input: &str, seen: &Value, dir: &Path) {
    let output = format!("{input}.out");
    let stills = |name: &str, more: &[&str]| {
        let kept = std::env::var_os("FRAMELANE_STILLS").map_or(dir.to_owned(), PathBuf::from);
        let folder = kept.join(name);
        let sink = format!("jpeg:{}", folder.display());
        let args = [
            &["--topic", &output, "--until", "end", "--sink", &sink][..],
            more,
        ]
        .concat();
        run_ok("consumer", shared(), &args);
        folder.join("Frame00001.jpg")
    };
    let mut drawn = Command::new(python);
    drawn.args(["-c", DRAWN]);
    drawn.args([stills("plain", &[]), stills("overlay", &["--overlay"])]);
    drawn.args([0, 1].map(|side| seen["box"][side].to_string()));
    let answer = drawn.output().unwrap();
    let said = String::from_utf8_lossy(&answer.stdout);
    let pixels: u32 = said.trim().parse().unwrap_or_else(|_| panic!("{answer:?}"));
    assert!(pixels > 200, "a caption has more than {pixels} pixels");
}

/// A program of a batch function that says how many pictures it got at once.
const TOGETHER: &str = r#"
from framelane_processor import Image, Result, batch_processor

@batch_processor(name="together", size=4, max_wait_s=2.0)
def together(images: list[Image]) -> list[Result]:
    return [Result(attributes={"frames": len(images)}) for _ in images]

together.serve()
"#;

#[test]
fn a_batch_function_gets_frames_of_several_sources_at_once() {
    let Some(python) = python("python::a_batch_function_gets_frames_of_several_sources") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("together.py");
    std::fs::write(&program, TOGETHER).unwrap();
    let input = topic(shared(), 1);
    let sources = ["a", "b"];
    let frames = (0..8).flat_map(|sequence| sources.map(|source| frame(&input, source, sequence)));
    publish_records(shared(), frames.collect::<Vec<_>>());
    let (processor, url) = example(&python, program.to_str().unwrap(), &[]);
    let broker = broker(shared(), &input, &[&url], &[]);
    let lines = complete(broker, &input, 16);
    assert!(processor.stop().success());
    assert_complete(
        &read_committed(shared(), &format!("{input}.out")),
        &sources,
        8,
    );
    let counts: Vec<f64> = lines
        .0
        .iter()
        .map(|line| {
            result(line, "together")["attributes"]["frames"]
                .as_f64()
                .unwrap()
        })
        .collect();
    // The frames of both sources come in turn, so two that go together are of both.
    assert!(counts.iter().any(|count| *count >= 2.0), "{counts:?}");
}
