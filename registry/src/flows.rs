//! Pipelines resolved: which topics each stage reads, and which it writes.

use crate::model::{Inputs, Name, Stage, Versioned, Work};
use crate::objects::Objects;
use std::collections::{BTreeMap, BTreeSet};

/// One piece of work: it reads these topics and writes that one.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    pub pipeline: Name,
    /// The version of the object that says so.
    pub pipeline_version: crate::model::Version,
    pub stage: Stage,
    pub kind: FlowKind,
    /// Names, as declared.
    pub inputs: Vec<Name>,
    /// Their topics, in the same order.
    pub topics: Vec<Name>,
    pub output: Name,
}

/// What becomes of the inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowKind {
    /// Each frame goes through the processor of this name.
    Process { processor: Name },
    /// Frames of the same id become one.
    Join,
}

impl Flow {
    /// PIPELINE/STAGE.
    pub fn place(&self) -> String {
        format!("{}/{}", self.pipeline, self.stage.name)
    }
}

/// What a name stands for wherever a source is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A source writes it.
    Source,
    /// A stage writes it: PIPELINE/STAGE.
    Stage(String),
}

/// Everything that the pipelines do, in the order of their names. Inputs that are not known are taken for topics of that
/// name: `check` refuses them.
pub fn flows(objects: &Objects) -> Vec<Flow> {
    let mut flows = Vec::new();
    for pipeline in objects.pipelines.values() {
        for stage in &pipeline.spec.stages {
            let flow = |kind, inputs: Vec<Name>, output| Flow {
                pipeline: pipeline.name.clone(),
                pipeline_version: pipeline.version,
                stage: stage.clone(),
                kind,
                topics: inputs.iter().map(|name| topic_of(objects, name)).collect(),
                inputs,
                output,
            };
            match &stage.work {
                Work::Join { inputs } => {
                    let output = stage.to.clone();
                    // A join without an output is refused where it is read.
                    let outputs = output.into_iter();
                    flows.extend(outputs.map(|to| flow(FlowKind::Join, inputs.clone(), to)));
                }
                Work::Process { from, processor } => {
                    let processor = processor.clone();
                    let kind = FlowKind::Process { processor };
                    let inputs = inputs_of(objects, from);
                    match &stage.to {
                        Some(to) if !inputs.is_empty() => {
                            flows.push(flow(kind, inputs, to.clone()))
                        }
                        Some(_) => {}
                        None => {
                            let each = inputs.into_iter().filter_map(|input| {
                                let output = default_output(&input, stage)?;
                                Some(flow(kind.clone(), vec![input], output))
                            });
                            flows.extend(each);
                        }
                    }
                }
            }
        }
    }
    flows
}

fn inputs_of(objects: &Objects, from: &Inputs) -> Vec<Name> {
    match from {
        Inputs::Names(names) => names.clone(),
        Inputs::Labels { labels } => {
            let sources = objects.sources.values();
            let chosen = sources.filter(|source| source.has_labels(labels));
            chosen.map(|source| source.name.clone()).collect()
        }
    }
}

/// INPUT.STAGE; None if that is too long for a topic.
pub(crate) fn default_output(input: &Name, stage: &Stage) -> Option<Name> {
    format!("{input}.{}", stage.name).parse().ok()
}

/// The topic that a name stands for.
fn topic_of(objects: &Objects, name: &Name) -> Name {
    let source = objects.sources.get(name);
    source.map_or_else(|| name.clone(), |source| Versioned::topic(source).clone())
}

/// Every name that may stand where a source is named, with its topic.
pub fn names(objects: &Objects) -> BTreeMap<Name, (Name, Origin)> {
    let mut names: BTreeMap<Name, (Name, Origin)> = flows(objects)
        .into_iter()
        .map(|flow| {
            let place = flow.place();
            (flow.output.clone(), (flow.output, Origin::Stage(place)))
        })
        .collect();
    for source in objects.sources.values() {
        let topic = source.topic().clone();
        names.insert(source.name.clone(), (topic, Origin::Source));
    }
    names
}

/// The sources that a name's frames come from in the end, through any number of stages.
pub fn roots(objects: &Objects, flows: &[Flow], name: &Name) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![name.clone()];
    while let Some(name) = open.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        if objects.sources.contains_key(&name) {
            found.insert(name);
            continue;
        }
        let makers = flows.iter().filter(|flow| flow.output == name);
        open.extend(makers.flat_map(|flow| flow.inputs.iter().cloned()));
    }
    found
}

/// What a name's frames have their order from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trunk<'a> {
    /// One source, whose order every stage keeps.
    Source(&'a Name),
    /// A stage that makes one topic of several: in which order it meets their frames is its own.
    Merge(&'a Flow),
}

/// The last place, on the way to this name, where its frames got the order that they have; None if the name is not declared.
/// There must be no cycles.
pub fn trunk<'a>(objects: &'a Objects, flows: &'a [Flow], name: &'a Name) -> Option<Trunk<'a>> {
    let mut name = name;
    loop {
        if let Some(source) = objects.sources.get(name) {
            return Some(Trunk::Source(&source.name));
        }
        let flow = flows.iter().find(|flow| flow.output == *name)?;
        if flow.kind != FlowKind::Join && merges(flow) {
            return Some(Trunk::Merge(flow));
        }
        // A join has the order of its first branch.
        name = flow.inputs.first()?;
    }
}

/// Labels choose one source today and may choose two tomorrow.
fn merges(flow: &Flow) -> bool {
    let is_by_label = |work: &Work| matches!(work, Work::Process { from, .. } if matches!(from, Inputs::Labels { .. }));
    flow.inputs.len() > 1 || (flow.stage.to.is_some() && is_by_label(&flow.stage.work))
}

/// The declared sources that frames with this source id in this topic are of: frames keep their id on their way through
/// stages. Nobody knows what is in a topic that is not declared, so there it is every source with that id.
pub fn sources_at<'a>(
    objects: &'a Objects,
    flows: &[Flow],
    topic: &str,
    source_id: &str,
) -> Vec<&'a Name> {
    let mut here: BTreeSet<Name> = BTreeSet::new();
    let sources = || objects.sources.values();
    here.extend(
        sources()
            .filter(|source| **source.topic() == *topic)
            .map(|source| source.name.clone()),
    );
    let makers = flows.iter().filter(|flow| *flow.output == *topic);
    let inputs = makers.flat_map(|flow| &flow.inputs);
    here.extend(inputs.flat_map(|input| roots(objects, flows, input)));
    sources()
        .filter(|source| source.source_id() == source_id)
        .filter(|source| here.is_empty() || here.contains(&source.name))
        .map(|source| &source.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_of_the_source_that_says_their_id() {
        let text = "{kind: Source, name: camA, spec: {host: h, camera: 0, options: {source-id: door}}}\n---\n\
                    {kind: Source, name: camB, spec: {host: h, camera: 1, topic: yard, options: {source-id: door}}}\n---\n\
                    {kind: Source, name: door, spec: {host: h, camera: 2}}\n---\n\
                    {kind: Processor, name: p, spec: {addresses: ['http://a:1']}}\n---\n\
                    {kind: Pipeline, name: x, spec: {stages: [{name: people, from: [camB], processor: p}]}}\n";
        let mut objects = Objects::default();
        for object in crate::yaml::parse(text, "x").unwrap() {
            objects.insert(Versioned {
                name: object.name,
                labels: object.labels,
                version: 1,
                written_by: String::new(),
                written_at: jiff::Timestamp::UNIX_EPOCH,
                spec: object.spec,
            });
        }
        let flows = flows(&objects);
        for (topic, id, expected) in [
            ("camA", "door", &["camA"][..]),
            ("camA", "camA", &[]),
            ("yard", "door", &["camB"]),
            ("camB.people", "door", &["camB"]),
            ("door", "door", &["door"]),
            ("yard", "camB", &[]),
            ("by-hand", "door", &["camA", "camB", "door"]),
        ] {
            let found = sources_at(&objects, &flows, topic, id);
            let found: Vec<_> = found.into_iter().map(Name::as_str).collect();
            assert_eq!(found, expected, "{topic}/{id}");
        }
    }
}
