use super::*;
use crate::model::Versioned;

fn objects(text: &str) -> Objects {
    let mut objects = Objects::default();
    for (version, object) in (1..).zip(crate::yaml::parse(text, "x").unwrap()) {
        objects.insert(Versioned::unwritten(object, version));
    }
    objects
}

const BASE: &str = "
kind: Source
name: cam0
labels: {site: lab}
spec: {host: h, camera: 0}
---
kind: Source
name: cam1
labels: {site: lab}
spec: {host: h, camera: 1, topic: video1}
---
kind: Processor
name: p
spec: {addresses: ['http://a:1']}
";

fn said(more: &str) -> Vec<String> {
    let all = format!("{BASE}---\n{more}");
    problems(&objects(&all))
        .iter()
        .map(Problem::to_string)
        .collect()
}

fn pipeline(name: &str, stages: &str) -> String {
    format!("kind: Pipeline\nname: {name}\nspec:\n  stages:\n{stages}")
}

#[test]
fn what_fits_together_has_no_problems() {
    let stages = "  - {name: a, from: {labels: {site: lab}}, processor: p}\n\
                  \u{20} - {name: b, from: [cam0.a], processor: p}\n\
                  \u{20} - {name: c, from: [cam0], processor: p}\n\
                  \u{20} - {name: j, join: [cam0.a.b, cam0.c], to: all}\n";
    let consumer = "---\nkind: Consumer\nname: m\nspec: {}\n---\nkind: Assignment\nname: m\nspec: {sources: [all, cam1, cam1.a]}\n";
    assert_eq!(said(&(pipeline("x", stages) + consumer)), [""; 0]);
}

#[test]
fn flows_say_what_each_stage_reads_and_writes() {
    let stages = "  - {name: a, from: {labels: {site: lab}}, processor: p}\n\
                  \u{20} - {name: b, from: [cam0.a, cam1], processor: p, to: both}\n";
    let all = format!("{BASE}---\n{}", pipeline("x", stages));
    let objects = objects(&all);
    let flows: Vec<String> = flows::flows(&objects)
        .iter()
        .map(|flow| {
            format!(
                "{} {:?} -> {}",
                flow.place(),
                flow.topics.iter().map(Name::as_str).collect::<Vec<_>>(),
                flow.output
            )
        })
        .collect();
    let expected = [
        "x/a [\"cam0\"] -> cam0.a",
        "x/a [\"video1\"] -> cam1.a",
        "x/b [\"cam0.a\", \"video1\"] -> both",
    ];
    assert_eq!(flows, expected);
    assert_eq!(
        flows::names(&objects)[&"cam1".parse::<Name>().unwrap()].0,
        "video1"
    );
}

#[test]
fn names_that_are_not_declared_are_refused() {
    let said = said(
        &(pipeline("x", "  - {name: a, from: [cam], processor: q}\n")
            + "---\nkind: Assignment\nname: m\nspec: {sources: [cam0, nothing]}\n"),
    );
    let expected = [
        "pipeline/x: stage a: there is no processor q (did you mean p?): declare it, or mend the name",
        "pipeline/x: stage a: there is no source or stage output cam (did you mean cam0?): declare it, or mend the name",
        "assignment/m: there is no consumer m: declare it too",
        "assignment/m: there is no source or stage output nothing: declare it, or mend the name",
    ];
    assert_eq!(said, expected);
}

#[test]
fn two_writers_of_one_topic_are_refused() {
    let stages = "  - {name: a, from: [cam0], processor: p, to: cam0}\n\
                  \u{20} - {name: b, from: [cam0], processor: p, to: t}\n\
                  \u{20} - {name: c, from: [cam1], processor: p, to: t}\n\
                  \u{20} - {name: c, from: [cam1], processor: p, to: cam1}\n";
    let said = said(&pipeline("x", stages)).join("\n");
    for expected in [
        "stage x/a writes to topic cam0, and so does source cam0",
        "stage x/c writes to topic t, and so does stage x/b",
        "two stages are called c",
        "stage x/c writes to topic cam1, which is also the name of a source (of topic video1)",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
}

#[test]
fn cycles_are_refused_with_the_way_round() {
    let one = pipeline("x", "  - {name: a, from: [z], processor: p, to: y}\n");
    let two = pipeline("w", "  - {name: b, from: [y, cam0], processor: p, to: z}\n");
    let said = said(&format!("{one}---\n{two}"));
    let way = "frames would go round for ever: y -> [w/b] -> z -> [x/a] -> y";
    assert_eq!(
        said,
        [format!("pipeline/w: {way}"), format!("pipeline/x: {way}")]
    );
}

#[test]
fn a_stage_that_reads_what_it_writes_is_a_cycle() {
    let said = said(&pipeline(
        "x",
        "  - {name: a, from: [t, cam0], processor: p, to: t}\n",
    ));
    assert_eq!(
        said,
        ["pipeline/x: frames would go round for ever: t -> [x/a] -> t"]
    );
}

#[test]
fn a_long_chain_is_no_cycle() {
    let stages: String = (1..2000)
        .map(|n| {
            format!(
                "  - {{name: s{n}, from: [t{}], processor: p, to: t{n}}}\n",
                n - 1
            )
        })
        .collect();
    let first = "  - {name: s0, from: [cam0], processor: p, to: t0}\n";
    assert_eq!(said(&pipeline("x", &format!("{first}{stages}"))), [""; 0]);
}

#[test]
fn results_for_different_sources_are_not_joined() {
    let stages = "  - {name: a, from: [cam0, cam1], processor: p}\n\
                  \u{20} - {name: j, join: [cam0.a, cam1.a], to: all}\n";
    let said = said(&pipeline("x", stages));
    assert_eq!(said.len(), 1);
    assert!(
        said[0].contains("cam0.a comes from cam0, cam1.a from cam1"),
        "{said:?}"
    );
}

#[test]
fn branches_that_merge_the_same_sources_each_for_itself_are_not_joined() {
    let refused = |stages: &str| {
        let said = said(&pipeline("x", stages)).join("\n");
        assert!(said.contains("stage all: X has"), "{said}");
        assert!(said.contains("Y has"), "{said}");
        assert!(said.contains("Merge once"), "{said}");
        said
    };
    let all = "  - {name: all, join: [X, Y], to: Z}\n";
    let one = "  - {name: one, from: [cam0, cam1], processor: p, to: X}\n";
    let two = "  - {name: two, from: [cam0, cam1], processor: p, to: Y}\n";
    let text = refused(&format!("{one}{two}{all}"));
    assert!(text.contains("x/one merges cam0, cam1"), "{text}");
    let labels = two.replace("[cam0, cam1]", "{labels: {site: lab}}");
    let text = refused(&format!("{one}{labels}{all}"));
    assert!(
        text.contains("x/two merges what it selects by label"),
        "{text}"
    );
    // Through any number of stages, and though there is only one source.
    let through = two.replace("to: Y", "to: V");
    let behind = "  - {name: v, from: [V], processor: p, to: Y}\n";
    refused(&format!("{one}{through}{behind}{all}"));
    let again = "  - {name: a, from: [cam0], processor: p}\n\
                 \u{20} - {name: one, from: [cam0, cam0.a], processor: p, to: X}\n\
                 \u{20} - {name: two, from: [cam0, cam0.a], processor: p, to: Y}\n";
    refused(&format!("{again}{all}"));
}

#[test]
fn branches_that_part_behind_what_is_merged_once_are_joined() {
    for from in ["[cam0, cam1]", "{labels: {site: lab}}"] {
        let stages = format!(
            "  - {{name: m, from: {from}, processor: p, to: both}}\n\
             \u{20} - {{name: a, from: [both], processor: p}}\n\
             \u{20} - {{name: b, from: [both], processor: p}}\n\
             \u{20} - {{name: j, join: [both.a, both.b], to: once}}\n\
             \u{20} - {{name: k, join: [both, once], to: all}}\n"
        );
        assert_eq!(said(&pipeline("x", &stages)), [""; 0]);
    }
}

#[test]
fn nobody_writes_frames_among_the_records_of_kafka_or_the_registry() {
    let source =
        "kind: Source\nname: q\nspec: {host: h, camera: 2, topic: framelane.registry}\n---\n";
    let stage = pipeline(
        "x",
        "  - {name: a, from: [cam0], processor: p, to: __consumer_offsets}\n",
    );
    let own = "is Kafka's or Framelane's own: choose another";
    assert_eq!(
        said(&(source.to_owned() + &stage)),
        [
            format!("source/q: topic framelane.registry {own}"),
            format!("pipeline/x: stage a: topic __consumer_offsets {own}"),
        ]
    );
}

#[test]
fn who_needs_what_is_deleted_is_named() {
    let stages = "  - {name: a, from: [cam0], processor: p}\n  - {name: b, from: [cam0.a, cam1], processor: p, to: b}\n";
    let consumer = "---\nkind: Consumer\nname: m\nspec: {}\n---\nkind: Assignment\nname: m\nspec: {sources: [b, cam1]}\n";
    let before = objects(&format!("{BASE}---\n{}{consumer}", pipeline("x", stages)));
    for (gone, users) in [
        ("source/cam0", &["stage x/a"][..]),
        ("source/cam1", &["stage x/b", "consumer m"]),
        ("processor/p", &["stage x/a", "stage x/b"]),
        ("pipeline/x", &["consumer m"]),
        ("consumer/m", &[]),
    ] {
        let key: Key = gone.parse().unwrap();
        let mut after = before.clone();
        after.remove(&key);
        assert_eq!(users_left_behind(&before, &after, &key), users, "{gone}");
    }
}
