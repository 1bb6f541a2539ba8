//! Rules about all declared things together. Pure: the same objects always have the same problems.

use crate::flows::{self, Flow, FlowKind, default_output};
use crate::model::{Inputs, Key, Kind, Name, Work};
use crate::objects::Objects;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Something that cannot work, and the object that says so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub key: Key,
    /// What is wrong and what to do.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

/// Everything that is wrong, in a fixed order.
pub fn problems(objects: &Objects) -> Vec<Problem> {
    let flows = flows::flows(objects);
    let mut found = Vec::new();
    stages(objects, &mut found);
    unknown_names(objects, &mut found);
    two_writers(objects, &flows, &mut found);
    let has_cycle = cycles(objects, &flows, &mut found);
    if !has_cycle {
        joins(objects, &flows, &mut found);
    }
    found.sort();
    found.dedup();
    found
}

fn problem(kind: Kind, name: &Name, text: String) -> Problem {
    let key = Key::new(kind, name.clone());
    Problem { key, text }
}

/// Stages of one pipeline have names of their own, and outputs that can be topics.
fn stages(objects: &Objects, found: &mut Vec<Problem>) {
    for pipeline in objects.pipelines.values() {
        let mut names = BTreeSet::new();
        for stage in &pipeline.spec.stages {
            if !names.insert(&stage.name) {
                let text = format!(
                    "two stages are called {}: give each its own name",
                    stage.name
                );
                found.push(problem(Kind::Pipeline, &pipeline.name, text));
            }
            let Work::Process {
                from: Inputs::Names(inputs),
                ..
            } = &stage.work
            else {
                continue;
            };
            let is_long =
                |input: &&Name| stage.to.is_none() && default_output(input, stage).is_none();
            if let Some(input) = inputs.iter().find(is_long) {
                let text = format!(
                    "stage {}: {input}.{} is too long for a topic: say another with `to`",
                    stage.name, stage.name
                );
                found.push(problem(Kind::Pipeline, &pipeline.name, text));
            }
        }
    }
}

/// Whatever is named has to be declared.
fn unknown_names(objects: &Objects, found: &mut Vec<Problem>) {
    let names = flows::names(objects);
    let unknown = |name: &Name| {
        let hint = nearest(name, names.keys());
        format!("there is no source or stage output {name}{hint}: declare it, or mend the name")
    };
    for pipeline in objects.pipelines.values() {
        for stage in &pipeline.spec.stages {
            let mut wrong = |text: String| {
                let text = format!("stage {}: {text}", stage.name);
                found.push(problem(Kind::Pipeline, &pipeline.name, text));
            };
            let inputs = match &stage.work {
                Work::Process {
                    from: Inputs::Names(inputs),
                    ..
                }
                | Work::Join { inputs } => inputs.as_slice(),
                Work::Process { .. } => &[],
            };
            inputs
                .iter()
                .filter(|name| !names.contains_key(*name))
                .for_each(|name| wrong(unknown(name)));
            if let Work::Process { processor, .. } = &stage.work
                && !objects.processors.contains_key(processor)
            {
                let hint = nearest(processor, objects.processors.keys());
                wrong(format!(
                    "there is no processor {processor}{hint}: declare it, or mend the name"
                ));
            }
        }
    }
    for assignment in objects.assignments.values() {
        let mut wrong = |text| found.push(problem(Kind::Assignment, &assignment.name, text));
        if !objects.consumers.contains_key(&assignment.name) {
            wrong(format!(
                "there is no consumer {}: declare it too",
                assignment.name
            ));
        }
        let sources = assignment.spec.sources.iter();
        sources
            .filter(|name| !names.contains_key(*name))
            .for_each(|name| wrong(unknown(name)));
    }
}

/// A known name that differs in one or two letters, as a question.
fn nearest<'a>(name: &Name, known: impl Iterator<Item = &'a Name>) -> String {
    let best = known.map(|one| (distance(name, one), one)).min();
    match best {
        Some((1 | 2, one)) => format!(" (did you mean {one}?)"),
        _ => String::new(),
    }
}

/// How many letters have to be put in, left out or changed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Each topic is written by one source or one piece of work only, and a name stands for one thing only.
fn two_writers(objects: &Objects, flows: &[Flow], found: &mut Vec<Problem>) {
    let mut writers: BTreeMap<&Name, Vec<(Kind, &Name, String)>> = BTreeMap::new();
    for source in objects.sources.values() {
        let writer = (
            Kind::Source,
            &source.name,
            format!("source {}", source.name),
        );
        writers.entry(source.topic()).or_default().push(writer);
    }
    for flow in flows {
        let words = format!("stage {}", flow.place());
        let writer = (Kind::Pipeline, &flow.pipeline, words);
        writers.entry(&flow.output).or_default().push(writer);
    }
    for (topic, writers) in writers {
        if let [(.., first), others @ ..] = writers.as_slice() {
            for (kind, name, words) in others {
                let text = format!(
                    "{words} writes to topic {topic}, and so does {first}: give each its own"
                );
                found.push(problem(*kind, name, text));
            }
        }
    }
    for flow in flows {
        let Some(source) = objects.sources.get(&flow.output) else {
            continue;
        };
        if *source.topic() != flow.output {
            let text = format!(
                "stage {} writes to topic {}, which is also the name of a source (of topic {}): choose another `to`",
                flow.place(),
                flow.output,
                source.topic()
            );
            found.push(problem(Kind::Pipeline, &flow.pipeline, text));
        }
    }
}

/// What a stage writes must not come back to it. Says so with the whole way round; true if there is any.
fn cycles(objects: &Objects, flows: &[Flow], found: &mut Vec<Problem>) -> bool {
    let mut readers: BTreeMap<&Name, Vec<usize>> = BTreeMap::new();
    for (n, flow) in flows.iter().enumerate() {
        for topic in &flow.topics {
            readers.entry(topic).or_default().push(n);
        }
    }
    let none = Vec::new();
    let next = |n: usize| readers.get(&flows[n].output).unwrap_or(&none);
    let mut is_done = vec![false; flows.len()];
    let mut has_cycle = false;
    for start in 0..flows.len() {
        // Depth first, with a stack of its own: pipelines may be chains of any length.
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((n, child)) = path.last().copied() {
            let followers = next(n);
            if is_done[n] || child == followers.len() {
                is_done[n] = true;
                path.pop();
                continue;
            }
            path.last_mut().expect("it was just there").1 += 1;
            let follower = followers[child];
            if let Some(begin) = path.iter().position(|(n, _)| *n == follower) {
                has_cycle = true;
                let round: Vec<&Flow> = path[begin..].iter().map(|(n, _)| &flows[*n]).collect();
                found.extend(cycle(objects, &round));
            } else if !is_done[follower] {
                path.push((follower, 0));
            }
        }
    }
    has_cycle
}

/// One problem for each pipeline that has a part in the cycle.
fn cycle(objects: &Objects, round: &[&Flow]) -> Vec<Problem> {
    // Begins with the smallest place, so that the same cycle always has the same words.
    let smallest = round
        .iter()
        .map(|flow| flow.place())
        .enumerate()
        .min_by(|a, b| a.1.cmp(&b.1));
    let begin = smallest.map_or(0, |(n, _)| n);
    let turned: Vec<&Flow> = round[begin..]
        .iter()
        .chain(&round[..begin])
        .copied()
        .collect();
    let mut way = String::new();
    if let Some(last) = turned.last() {
        way.push_str(&last.output);
    }
    for flow in &turned {
        way.push_str(&format!(" -> [{}] -> {}", flow.place(), flow.output));
    }
    let pipelines: BTreeSet<&Name> = turned.iter().map(|flow| &flow.pipeline).collect();
    let known = pipelines
        .into_iter()
        .filter(|name| objects.pipelines.contains_key(*name));
    known
        .map(|name| {
            let text = format!("frames would go round for ever: {way}");
            problem(Kind::Pipeline, name, text)
        })
        .collect()
}

/// Only results for the same frames can be joined: the inputs have to come from the same source.
fn joins(objects: &Objects, flows: &[Flow], found: &mut Vec<Problem>) {
    let is_join = |flow: &&Flow| flow.kind == FlowKind::Join;
    for flow in flows.iter().filter(is_join) {
        let roots = |name: &Name| flows::roots(objects, flows, name);
        let all: Vec<(&Name, BTreeSet<Name>)> =
            flow.inputs.iter().map(|name| (name, roots(name))).collect();
        let Some((first, others)) = all.split_first() else {
            continue;
        };
        let list = |names: &BTreeSet<Name>| {
            names
                .iter()
                .map(Name::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        };
        // A name that is not declared is another problem, and said elsewhere.
        let differs = |(_, roots): &&(&Name, BTreeSet<Name>)| {
            !roots.is_empty() && !first.1.is_empty() && *roots != first.1
        };
        if let Some(other) = others.iter().find(differs) {
            let text = format!(
                "stage {}: {} comes from {}, {} from {}: only results for the same frames can be joined",
                flow.stage.name,
                first.0,
                list(&first.1),
                other.0,
                list(&other.1)
            );
            found.push(problem(Kind::Pipeline, &flow.pipeline, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Versioned;

    fn objects(text: &str) -> Objects {
        let mut objects = Objects::default();
        for (n, object) in crate::yaml::parse(text, "x")
            .unwrap()
            .into_iter()
            .enumerate()
        {
            objects.insert(Versioned {
                name: object.name,
                labels: object.labels,
                version: n as u64 + 1,
                written_by: String::new(),
                written_at: jiff::Timestamp::UNIX_EPOCH,
                spec: object.spec,
            });
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
}
