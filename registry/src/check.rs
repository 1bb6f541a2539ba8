//! Rules about all declared things together. Pure: the same objects always have the same problems.

use crate::flows::{self, Flow, FlowKind, Trunk, default_output};
use crate::model::{Inputs, Key, Kind, Name, Work};
use crate::objects::Objects;
use pipeline::kafka::is_internal_topic;
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
    internal_topics(objects, &flows, &mut found);
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

/// Frames among the records of Kafka, or of what is declared, would be the end of those.
fn internal_topics(objects: &Objects, flows: &[Flow], found: &mut Vec<Problem>) {
    let sources = objects.sources.values();
    let sources = sources.map(|one| (Kind::Source, &one.name, String::new(), one.topic()));
    let stages = flows.iter().map(|flow| {
        let place = format!("stage {}: ", flow.stage.name);
        (Kind::Pipeline, &flow.pipeline, place, &flow.output)
    });
    for (kind, name, place, topic) in sources.chain(stages) {
        if is_internal_topic(topic) {
            let text =
                format!("{place}topic {topic} is Kafka's or Framelane's own: choose another");
            found.push(problem(kind, name, text));
        }
    }
}

/// What would be missing without this object, which is no more: those that refer to it.
pub fn users_left_behind(before: &Objects, after: &Objects, gone: &Key) -> Vec<String> {
    let still_there = flows::names(after);
    let names: Vec<Name> = match gone.kind {
        Kind::Source => vec![gone.name.clone()],
        Kind::Pipeline => {
            let flows = flows::flows(before).into_iter();
            let own = flows.filter(|flow| flow.pipeline == gone.name);
            own.map(|flow| flow.output).collect()
        }
        Kind::Processor | Kind::Consumer | Kind::Assignment => Vec::new(),
    };
    let is_gone = |name: &Name| names.contains(name) && !still_there.contains_key(name);
    let mut users = Vec::new();
    for pipeline in after.pipelines.values() {
        for stage in &pipeline.spec.stages {
            let (inputs, processor) = match &stage.work {
                Work::Process {
                    from: Inputs::Names(inputs),
                    processor,
                    ..
                } => (inputs.as_slice(), Some(processor)),
                Work::Process { processor, .. } => (&[][..], Some(processor)),
                Work::Join { inputs } => (inputs.as_slice(), None),
            };
            let calls_it = gone.kind == Kind::Processor && processor == Some(&gone.name);
            if calls_it || inputs.iter().any(is_gone) {
                users.push(format!("stage {}/{}", pipeline.name, stage.name));
            }
        }
    }
    let assignments = after.assignments.values();
    let assigned = assignments.filter(|one| one.spec.sources.iter().any(is_gone));
    users.extend(assigned.map(|one| format!("consumer {}", one.name)));
    users
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

/// Only results for the same frames can be joined: the inputs have to come from the same sources, and to have their frames
/// in the same order.
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
        } else {
            found.extend(branches_of_several_orders(objects, flows, flow));
        }
    }
}

/// Two stages that merge the same topics meet their frames in different orders, so no merge of these has each frame once.
fn branches_of_several_orders(objects: &Objects, flows: &[Flow], join: &Flow) -> Option<Problem> {
    let trunk = |name| Some((name, flows::trunk(objects, flows, name)?));
    let mut trunks = join.inputs.iter().filter_map(trunk);
    let first = trunks.next()?;
    let other = trunks.find(|(_, trunk)| *trunk != first.1)?;
    let order = |(branch, trunk): (&Name, Trunk<'_>)| match trunk {
        Trunk::Source(source) => format!("{branch} has its frames in the order of source {source}"),
        Trunk::Merge(flow) => format!(
            "{branch} has its frames in the order in which stage {} merges {}",
            flow.place(),
            match &flow.stage.work {
                Work::Process {
                    from: Inputs::Labels { .. },
                    ..
                } => "what it selects by label".to_owned(),
                _ => flow
                    .inputs
                    .iter()
                    .map(Name::as_str)
                    .collect::<Vec<_>>()
                    .join(", "),
            }
        ),
    };
    let text = format!(
        "stage {}: {}, {}: such frames cannot be put together one by one. Merge once, in one stage with `to`, and let the \
         branches of the join begin with its output",
        join.stage.name,
        order(first),
        order(other)
    );
    Some(problem(Kind::Pipeline, &join.pipeline, text))
}

#[cfg(test)]
mod tests;
