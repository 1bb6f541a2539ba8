//! `framelane`: what people type, and what they are told.

use crate::harness::shared;
use crate::registry_lab::{
    file, framelane, framelane_ok, open, put, registry_name, runtime, source,
};
use serde_json::Value;

const LANES: &str = "
kind: Source
name: cam0
labels: {site: lab}
spec:
  host: lab1
  url: rtsp://admin:s3cret@127.0.0.1:1/live
  options: {fps: 30}
---
kind: Processor
name: people
spec: {addresses: ['http://127.0.0.1:1']}
---
kind: Pipeline
name: lobby
spec:
  stages:
    - {name: people, from: [cam0], processor: people}
---
kind: Consumer
name: monitor1
spec: {sinks: ['null']}
";

#[test]
fn what_is_applied_is_shown_changed_assigned_and_deleted() {
    let topic = registry_name();
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| framelane_ok(shared(), &topic, args);
    let lanes = file(&folder, "lanes.yaml", LANES);

    let dry = run(&["apply", "-f", &lanes, "--dry-run"]);
    assert!(dry.contains("source/cam0 would be created"), "{dry}");
    assert!(run(&["get"]).contains("nothing found in registry"));

    let said = run(&["apply", "-f", &lanes]);
    for key in [
        "source/cam0",
        "processor/people",
        "pipeline/lobby",
        "consumer/monitor1",
    ] {
        assert!(said.contains(&format!("{key} created (version ")), "{said}");
    }
    let again = run(&["apply", "-f", &lanes]);
    assert_eq!(again.matches(" unchanged\n").count(), 4, "{again}");

    let slower = file(&folder, "slower.yaml", &LANES.replace("fps: 30", "fps: 25"));
    let dry = run(&["apply", "-f", &slower, "--dry-run"]);
    assert!(
        dry.contains("source/cam0 would be changed\n  spec.options.fps: 30 -> 25\n"),
        "{dry}"
    );
    let said = run(&["apply", "-f", &slower, "-o", "json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["items"][0]["outcome"], "changed");

    assert!(
        run(&["assign", "monitor1", "cam0.people", "cam0"]).contains("assignment/monitor1 created")
    );
    let described = run(&["describe", "source/cam0"]);
    for expected in [
        "read by stage lobby/people -> cam0.people",
        "assigned to consumer monitor1 (not running)",
        "nothing runs on lab1",
        "written by ",
    ] {
        assert!(
            described.contains(expected),
            "{expected:?} is not in\n{described}"
        );
    }
    let table = run(&["get", "sources", "--label", "site=lab"]);
    assert!(
        table.contains("cam0") && table.contains("nobody runs it"),
        "{table}"
    );
    assert!(!run(&["get", "sources", "--label", "site=home"]).contains("cam0"));
    assert!(run(&["get", "pipelines"]).contains("nobody runs it"));
    assert!(run(&["get", "processors"]).contains("not called"));
    assert!(run(&["top", "--once"]).contains("SOURCE"));

    let (code, said) = framelane(shared(), &topic, &["delete", "processor", "people"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("processor/people: it is used by stage lobby/people"),
        "{said}"
    );
    let said = run(&["delete", "consumer", "monitor1"]);
    assert!(said.contains("assignment/monitor1 deleted"), "{said}");
    let said = run(&["delete", "pipeline", "lobby"]);
    assert_eq!(said, "pipeline/lobby deleted\n");
    let said = run(&["delete", "processor/people"]);
    assert_eq!(said, "processor/people deleted\n");
}

#[test]
fn what_get_writes_is_what_apply_reads() {
    let topic = registry_name();
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| framelane_ok(shared(), &topic, args);
    run(&["apply", "-f", &file(&folder, "lanes.yaml", LANES)]);
    let shown = run(&["get", "-o", "yaml"]);
    assert!(
        !shown.contains("s3cret") && shown.contains("admin:***@"),
        "{shown}"
    );
    // A hidden password stays what it is.
    let again = run(&["apply", "-f", &file(&folder, "shown.yaml", &shown)]);
    assert_eq!(again.matches(" unchanged\n").count(), 4, "{again}");
    let open = run(&["get", "source/cam0", "-o", "json", "--show-secrets"]);
    let open: Value = serde_json::from_str(&open).unwrap();
    assert_eq!(open["spec"]["url"], "rtsp://admin:s3cret@127.0.0.1:1/live");
    // What was shown with its version goes in too, as long as it is that version.
    let one = file(
        &folder,
        "one.json",
        &run(&["get", "consumer", "monitor1", "-o", "json"]),
    );
    assert!(run(&["apply", "-f", &one]).contains("unchanged"));
}

#[test]
fn wrong_documents_are_refused_with_file_line_and_column() {
    let topic = registry_name();
    let folder = tempfile::tempdir().unwrap();
    for (text, place, words) in [
        (
            "kind: Source\nname: a\nspec:\n  hosts: x\n",
            "x.yaml:4:3: ",
            "unknown field `hosts`",
        ),
        (
            "kind: Source\nname: a b\nspec: {}\n",
            "x.yaml:2:7: ",
            "characters",
        ),
        ("kind: Sauce\n", "x.yaml:1:7: ", "no kind"),
        ("kind: [\n", "x.yaml:1:7: ", "unclosed"),
        (
            "kind: Consumer\nname: m\nspec: {}\n---\nkind: Assignment\nname: m\nspec: {sources: [nothing]}\n",
            "x.yaml:5: ",
            "assignment/m: there is no source or stage output nothing",
        ),
    ] {
        let path = file(&folder, "x.yaml", text);
        let (code, said) = framelane(shared(), &topic, &["apply", "-f", &path]);
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains(place) && said.contains(words),
            "{place:?} {words:?}\n{said}"
        );
    }
    assert!(framelane_ok(shared(), &topic, &["get"]).contains("nothing found in registry"));
}

#[test]
fn a_stale_document_is_refused_and_says_who_changed_what() {
    let topic = registry_name();
    let folder = tempfile::tempdir().unwrap();
    let text = "{kind: Consumer, name: m, spec: {sinks: ['null']}}";
    framelane_ok(
        shared(),
        &topic,
        &["apply", "-f", &file(&folder, "m.yaml", text)],
    );
    let shown = framelane_ok(shared(), &topic, &["get", "consumer", "m", "-o", "json"]);
    let changed = text.replace("null", "stats");
    framelane_ok(
        shared(),
        &topic,
        &["apply", "-f", &file(&folder, "m.yaml", &changed)],
    );
    let (code, said) = framelane(
        shared(),
        &topic,
        &["apply", "-f", &file(&folder, "old.json", &shown)],
    );
    assert_eq!(code, Some(1), "{said}");
    for expected in [
        "consumer/m was changed since version",
        "by ",
        "spec.sinks: [\"null\"] -> [\"stats\"]",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
}

#[test]
fn commands_that_cannot_be_done_say_why() {
    let topic = registry_name();
    runtime().block_on(async {
        let registry = open(shared(), &topic).await;
        put(&registry, source("cam0", 30), 0).await.unwrap();
    });
    for (args, code, words) in [
        (&["get", "sauces"][..], 2, "is no kind"),
        (&["get", "source", "cam1"], 1, "there is no source/cam1"),
        (
            &["describe", "source", "cam1"],
            1,
            "there is no source/cam1",
        ),
        (&["delete", "source", "cam1"], 1, "there is no source/cam1"),
        (
            &["delete", "source", "cam0", "--version", "99"],
            1,
            "since version 99",
        ),
        (
            &["assign", "monitor1", "cam0"],
            2,
            "there is no consumer monitor1",
        ),
        (&["apply", "-f", "/nowhere/x.yaml"], 2, "/nowhere/x.yaml"),
        (&["top"], 2, "--once"),
        (&["--bootstrap-servers", "nonsense", "get"], 2, "HOST:PORT"),
    ] {
        let (found, said) = framelane(shared(), &topic, args);
        assert_eq!(found, Some(code), "{args:?}\n{said}");
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
}

#[test]
fn the_schema_is_printed_without_a_kafka() {
    let said = framelane_ok("127.0.0.1:1", "unused", &["schema"]);
    let schema: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(schema["oneOf"].as_array().unwrap().len(), 5);
}

#[test]
fn the_options_that_objects_may_have_are_options_of_the_programs() {
    use registry::model::options::{Kind, OF_CONSUMERS, OF_SOURCES, OF_STAGES};
    for (program, known) in [
        ("producer", OF_SOURCES),
        ("broker", OF_STAGES),
        ("consumer", OF_CONSUMERS),
    ] {
        let (code, help) = crate::harness::run(program, shared(), &["--help"]);
        assert_eq!(code, Some(0), "{help}");
        let words: Vec<&str> = help.split_whitespace().collect();
        for (name, kind) in known {
            let option = format!("--{name}");
            assert!(words.contains(&&*option), "{program} has no {option}");
            let takes_value = words
                .windows(2)
                .any(|pair| pair[0] == option && pair[1].starts_with('<'));
            assert_eq!(takes_value, !matches!(kind, Kind::Flag), "{option}");
        }
    }
}
