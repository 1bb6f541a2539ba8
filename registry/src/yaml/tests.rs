use super::*;
use crate::model::{Input, Inputs, Opening, WhenClosed, Work};

const LANES: &str = r#"
kind: Source
name: cam0
labels: {site: lab}
spec:
  host: lab1
  file: /videos/a.mp4
  options: {fps: 30, pace: realtime, loop: true, label: [a=1, b=2]}
  open: on-demand
  close-after: 5s
---
kind: Processor
name: people
spec: {addresses: ["http://127.0.0.1:50051"], version: 2}
---
kind: Pipeline
name: lobby
spec:
  stages:
    - name: people
      from: [cam0]
      processor: people
      options: {in-flight: 16}
    - name: faces
      from: {labels: {site: lab}}
      processor: people
      version: "2"
    - {name: joined, join: [cam0.people, cam0.faces], to: cam0.all}
---
kind: Consumer
name: monitor1
spec:
  sinks: ["jsonl:/data/m1.jsonl"]
  when-closed: next
---
kind: Assignment
name: monitor1
spec: {sources: [cam0, cam0.all]}
"#;

#[test]
fn documents_become_objects() {
    let documents = parse_documents(LANES, "lanes.yaml").unwrap();
    let lines: Vec<u64> = documents.iter().map(|one| one.line).collect();
    assert_eq!(lines, [2, 12, 16, 30, 36]);
    let objects: Vec<Object> = documents.into_iter().map(|one| one.object).collect();
    let Spec::Source(source) = &objects[0].spec else {
        panic!("{:?}", objects[0]);
    };
    assert_eq!(source.input, Input::File("/videos/a.mp4".to_owned()));
    let close_after = std::time::Duration::from_secs(5);
    assert_eq!(source.opening, Opening::OnDemand { close_after });
    let Spec::Pipeline(pipeline) = &objects[2].spec else {
        panic!("{:?}", objects[2]);
    };
    assert!(matches!(
        &pipeline.stages[1].work,
        Work::Process { from: Inputs::Labels { labels }, .. } if labels["site"] == "lab"
    ));
    assert!(matches!(&objects[3].spec, Spec::Consumer(one) if one.when_closed == WhenClosed::Next));
}

#[test]
fn objects_are_written_as_they_are_read() {
    let objects = parse(LANES, "").unwrap();
    let text = write(&objects).unwrap();
    assert_eq!(parse(&text, "").unwrap(), objects, "{text}");
    for object in &objects {
        let json = serde_json::to_string(object).unwrap();
        assert_eq!(
            parse(&json, "").unwrap(),
            std::slice::from_ref(object),
            "{json}"
        );
    }
}

/// Asserts that a text is refused at exactly this place, with these words among others.
#[track_caller]
fn refused(text: &str, line: u64, column: u64, word: &str) {
    let error = parse(text, "x.yaml").expect_err("it was accepted");
    assert_eq!(
        (error.line, error.column),
        (line, column),
        "{error}\n{text}"
    );
    assert!(error.message.contains(word), "{word:?} is not in: {error}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("x.yaml:{line}:{column}: "))
    );
}

#[test]
fn keys_that_are_not_known_are_refused_where_they_stand() {
    refused(
        "kind: Consumer\nname: a\nspecs: {}\nspec: {}\n",
        3,
        1,
        "unknown field `specs`",
    );
    refused(
        "kind: Consumer\nname: a\nspec:\n  sinks: []\n  sink: []\n",
        5,
        3,
        "unknown field `sink`",
    );
    let stage = "kind: Pipeline\nname: p\nspec:\n  stages:\n  - name: a\n    from: [x]\n    processor: y\n    out: z\n";
    refused(stage, 8, 5, "unknown field `out`");
    let labels = "kind: Pipeline\nname: p\nspec:\n  stages:\n  - name: a\n    from: {label: {}}\n    processor: y\n";
    refused(labels, 6, 12, "unknown field `label`");
    let second =
        "kind: Consumer\nname: a\nspec: {}\n---\nkind: Consumer\nname: b\nspec:\n  when: wait\n";
    refused(second, 8, 3, "unknown field `when`");
}

#[test]
fn values_that_cannot_be_are_refused_where_they_stand() {
    let sinks = "kind: Consumer\nname: a\nspec:\n  sinks:\n  - jsonl:/data/a.jsonl\n  - paper:x\n";
    refused(sinks, 6, 5, "\"paper:x\" is no sink: expected window,");
    refused("kind: Sauce\nname: a\nspec: {}\n", 1, 7, "no kind");
    refused("name: a\nspec: {}\n", 1, 1, "kind");
    refused("kind: Consumer\nname: a b\nspec: {}\n", 2, 7, "characters");
    refused(
        "kind: Consumer\nname: a\nspec:\n  when-closed: stop\n",
        4,
        16,
        "when-closed: unknown variant `stop`, expected one of `wait`,",
    );
    refused(
        "kind: Source\nname: a\nspec: {host: h, camera: zero}\n",
        3,
        25,
        "camera: invalid type: string \"zero\", expected a whole number from 0",
    );
    refused(
        "kind: Assignment\nname: a\nspec: {sources: [ok, 'not ok']}\n",
        3,
        22,
        "characters",
    );
    refused(
        "kind: Assignment\nname: a\nspec: {sources: x}\n",
        3,
        17,
        "sequence",
    );
    refused(
        "kind: Consumer\nname: a\nlabels: {x: 5}\nspec: {}\n",
        3,
        13,
        "string",
    );
    refused(
        "kind: Processor\nname: a\nspec:\n  addresses:\n  - http://a:1\n  - b:2\n",
        6,
        5,
        "http://HOST:PORT",
    );
    refused(
        "kind: Processor\nname: a\nspec:\n  version: 1\n",
        3,
        1,
        "missing field `addresses`",
    );
    refused("kind: Consumer\nname: a\n", 1, 1, "missing field `spec`");
}

#[test]
fn values_that_do_not_go_together_are_refused_at_one_of_them() {
    let source = |more: &str| format!("kind: Source\nname: a\nspec:\n  host: h\n{more}");
    refused(&source("  file: a.mp4\n  camera: 0\n"), 3, 1, "exactly one");
    refused(&source(""), 3, 1, "exactly one");
    refused(&source("  url: ftp://x\n"), 5, 3, "rtsp://");
    refused(&source("  pattern: 640@30\n"), 5, 3, "WIDTHxHEIGHT@FPS");
    refused(
        &source("  camera: 0\n  close-after: 5s\n"),
        6,
        3,
        "on-demand",
    );
    refused(
        &source("  camera: 0\n  open: on-demand\n  close-after: soon\n"),
        7,
        3,
        "time",
    );
    refused(
        &source("  camera: 0\n  open: schedule\n  schedule: [Mon]\n"),
        7,
        3,
        "span of a week",
    );
    refused(
        &source(
            "  camera: 0\n  open: schedule\n  time-zone: Mars/A\n  schedule: [daily 00:00-01:00]\n",
        ),
        7,
        3,
        "Mars",
    );
    refused(
        &source("  camera: 0\n  options:\n    fps: {a: 1}\n"),
        7,
        5,
        "list of these",
    );
    refused(
        &source("  camera: 0\n  options: {fps: 5, topic: x}\n"),
        6,
        21,
        "another way",
    );
    refused(
        &source("  camera: 0\n  options:\n    fsp: 30\n"),
        7,
        5,
        "no such option",
    );
    refused(
        "kind: Consumer\nname: a\nspec:\n  options:\n    track: true\n    sink: x\n",
        6,
        5,
        "no such option",
    );
}

#[test]
fn stages_that_cannot_be_are_refused_where_they_say_so() {
    let stage =
        |more: &str| format!("kind: Pipeline\nname: p\nspec:\n  stages:\n  - name: a\n{more}");
    refused(
        &stage("    from: [x]\n    processor: y\n    options: {group: g}\n"),
        8,
        15,
        "another way",
    );
    refused(&stage("    from: [x]\n"), 5, 5, "processor");
    refused(
        &stage("    from: []\n    processor: y\n"),
        6,
        5,
        "at least one",
    );
    refused(&stage("    join: [x, y]\n"), 5, 5, "topic");
    refused(&stage("    join: [x]\n    to: y\n"), 6, 5, "two topics");
    refused(
        &stage("    join: [x, y]\n    to: y\n    processor: z\n"),
        6,
        5,
        "either",
    );
}

#[test]
fn texts_that_are_no_yaml_are_refused_where_they_break() {
    for (text, line) in [
        ("kind: Consumer\nname: a\nspec: {sinks: [}\n", 3),
        ("kind: Consumer\n  name: a\n", 2),
        ("kind: Consumer\nkind: Consumer\nname: a\nspec: {}\n", 2),
        ("kind: \"Consumer\nname: a\n", 1),
    ] {
        let error = parse(text, "x.yaml").expect_err("it was accepted");
        assert!(error.line >= line, "{error}");
        assert!(!error.message.contains('\n'), "{error}");
    }
}

#[test]
fn an_object_that_comes_twice_is_refused() {
    let text = "kind: Consumer\nname: a\nspec: {}\n---\nkind: Consumer\nname: a\nspec: {}\n";
    refused(text, 5, 1, "first in line 1");
}

#[test]
fn an_empty_text_has_no_objects() {
    for text in ["", "\n", "# nothing\n"] {
        assert_eq!(parse(text, ""), Ok(Vec::new()), "{text:?}");
    }
}
