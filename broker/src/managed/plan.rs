//! From what the registry declares to what this broker is to run. Pure but for the files that options name.

use super::processors::{ProcessorKey, ProcessorSettings};
use crate::args::{Args, StageConfig, StageWork};
use crate::calls::TlsArgs;
use clap::Parser;
use registry::flows::{Flow, FlowKind};
use registry::model::{Key, Kind, Processor, Versioned};
use registry::objects::Objects;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One piece of work: a stage with one output.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// PIPELINE/STAGE.
    pub place: Arc<str>,
    /// The objects that say so.
    pub objects: Arc<[Key]>,
    pub inputs: Arc<[String]>,
    pub output: Arc<str>,
    /// How far the registry is with what is said here; it only grows.
    pub revision: u64,
    /// An error says what is missing or wrong.
    pub work: Result<Ready, String>,
}

/// Work that can be begun.
#[derive(Debug, Clone)]
pub struct Ready {
    pub config: Arc<StageConfig>,
    /// None: a join.
    pub processor: Option<ProcessorSettings>,
    /// What cannot change while the stage runs.
    pub essence: Essence,
}

/// Two of the same essence are the same stage: only addresses may differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Essence {
    /// The command line that it would have, without addresses.
    words: Vec<String>,
    version: String,
    processor: Option<ProcessorKey>,
}

/// Everything that is to run, by its consumer group.
pub fn plan(flows: &[Flow], objects: &Objects, process: &Args) -> BTreeMap<String, Wanted> {
    let flows = flows.iter();
    let wanted = flows.map(|flow| (group(flow, process), wanted(flow, objects, process)));
    wanted.collect()
}

/// One for each stage with an output of its own, and for each input of those that have one per input. Names have no slash,
/// so no two stages share a group, also if several registries share a Kafka.
fn group(flow: &Flow, process: &Args) -> String {
    let (registry, place) = (&process.managed.registry.registry, flow.place());
    match (&flow.stage.to, &flow.inputs[..]) {
        (None, [input]) => format!("{registry}/{place}/{input}"),
        _ => format!("{registry}/{place}"),
    }
}

fn wanted(flow: &Flow, objects: &Objects, process: &Args) -> Wanted {
    let processor = match &flow.kind {
        FlowKind::Process { processor } => objects.processors.get(processor).map(|one| &**one),
        FlowKind::Join => None,
    };
    let version = processor.map_or(0, |processor| processor.version);
    Wanted {
        place: flow.place().into(),
        objects: objects_of(flow),
        inputs: flow.topics.iter().map(ToString::to_string).collect(),
        output: flow.output.as_str().into(),
        revision: flow.pipeline_version.max(version),
        work: ready(flow, processor, process),
    }
}

fn objects_of(flow: &Flow) -> Arc<[Key]> {
    let pipeline = Key::new(Kind::Pipeline, flow.pipeline.clone());
    let processor = match &flow.kind {
        FlowKind::Process { processor } => Some(Key::new(Kind::Processor, processor.clone())),
        FlowKind::Join => None,
    };
    [pipeline].into_iter().chain(processor).collect()
}

fn ready(
    flow: &Flow,
    processor: Option<&Versioned<Processor>>,
    process: &Args,
) -> Result<Ready, String> {
    if let (FlowKind::Process { processor: name }, None) = (&flow.kind, processor) {
        return Err(format!("processor {name} is not declared: it waits for it"));
    }
    let addresses = processor
        .iter()
        .flat_map(|processor| &processor.spec.addresses);
    let addresses: Vec<String> = addresses
        .map(|address| format!("--processor={}", address.as_str()))
        .collect();
    let words = words(flow, process);
    let config = config(words.iter().chain(&addresses), process)?;
    let settings = processor.map(|processor| settings(processor, &config));
    Ok(Ready {
        essence: Essence {
            words,
            version: flow.stage.version.clone(),
            processor: settings.as_ref().map(|settings| settings.key.clone()),
        },
        processor: settings,
        config: Arc::new(config),
    })
}

/// The command line that a broker of this stage alone would have.
fn words(flow: &Flow, process: &Args) -> Vec<String> {
    let option = match flow.kind {
        FlowKind::Process { .. } => "input",
        FlowKind::Join => "join",
    };
    let mut words = vec!["broker".to_owned()];
    words.extend(
        flow.topics
            .iter()
            .map(|topic| format!("--{option}={topic}")),
    );
    words.push(format!("--output={}", flow.output));
    words.push(format!("--group={}", group(flow, process)));
    words.push(format!("--memory-mib={}", process.memory_mib));
    words.extend(
        process
            .instance
            .iter()
            .map(|name| format!("--instance={name}")),
    );
    words.extend(flow.stage.options.words());
    words
}

fn config<'a>(
    words: impl Iterator<Item = &'a String>,
    process: &Args,
) -> Result<StageConfig, String> {
    let mut args = Args::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        first.trim_start_matches("error: ").to_owned()
    })?;
    args.kafka = process.kafka.clone();
    args.telemetry = process.telemetry.clone();
    let own = &args.processor_tls;
    let is_tls = args
        .processor
        .iter()
        .any(|address| address.starts_with("https://"));
    let says_nothing = *own == TlsArgs::default() || *own == process.processor_tls;
    if says_nothing {
        // What the process was given is for those stages that can use it.
        args.processor_tls = match is_tls {
            true => process.processor_tls.clone(),
            false => TlsArgs::default(),
        };
    }
    StageConfig::try_from(args).map_err(|error| format!("{error:#}"))
}

fn settings(processor: &Versioned<Processor>, config: &StageConfig) -> ProcessorSettings {
    let targets = match &config.work {
        StageWork::Process(targets) => targets.clone(),
        StageWork::Join(_) => Vec::new(),
    };
    ProcessorSettings {
        key: ProcessorKey {
            name: processor.name.to_string(),
            version: processor.spec.version.clone(),
            limit: config.args.in_flight,
            tls: config.args.processor_tls.clone(),
        },
        targets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::flows::flows;
    use registry::{Versioned, yaml};

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
spec: {addresses: ['http://127.0.0.1:1', 'http://127.0.0.1:2'], version: 3}
---
kind: Pipeline
name: x
spec:
  stages:
";

    /// What is to run, if these are the stages, one a line. The n-th object has version n.
    fn planned(stages: &str) -> BTreeMap<String, Wanted> {
        let stages = stages
            .lines()
            .map(|line| format!("    - {}\n", line.trim()));
        let text = format!("{BASE}{}", stages.collect::<String>());
        let mut objects = Objects::default();
        for (version, object) in (1..).zip(yaml::parse(&text, "x").unwrap()) {
            objects.insert(Versioned::unwritten(object, version));
        }
        let process = Args::try_parse_from(["broker", "--managed", "--instance", "i"]).unwrap();
        plan(&flows(&objects), &objects, &process)
    }

    fn ready(stages: &str) -> Ready {
        let mut planned = planned(stages).into_values();
        let one = planned.next().expect("a stage");
        assert!(planned.next().is_none());
        one.work.unwrap_or_else(|why| panic!("{why}"))
    }

    #[test]
    fn each_output_has_a_group_of_its_own() {
        let planned = planned(
            "{name: a, from: {labels: {site: lab}}, processor: p}
             {name: b, from: [cam0.a, cam1], processor: p, to: both}
             {name: j, join: [cam0.a, cam0], to: all}",
        );
        let found: Vec<_> = planned
            .iter()
            .map(|(group, wanted)| {
                (
                    group.as_str(),
                    wanted.inputs.join(","),
                    &*wanted.output,
                    wanted.revision,
                )
            })
            .collect();
        let expected = [
            (
                "framelane.registry/x/a/cam0",
                "cam0".to_owned(),
                "cam0.a",
                4,
            ),
            (
                "framelane.registry/x/a/cam1",
                "video1".to_owned(),
                "cam1.a",
                4,
            ),
            (
                "framelane.registry/x/b",
                "cam0.a,video1".to_owned(),
                "both",
                4,
            ),
            ("framelane.registry/x/j", "cam0.a,cam0".to_owned(), "all", 4),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn options_are_the_brokers_own_and_checked_as_on_its_command_line() {
        let ready = ready(
            "{name: a, from: [cam0], processor: p, options: {in-flight: 3, on-failure: drop, window: 9}}",
        );
        let args = &ready.config.args;
        assert_eq!(
            (args.in_flight, args.window, args.instance.as_deref()),
            (Some(3), 9, Some("i"))
        );
        assert_eq!(ready.config.group, "framelane.registry/x/a/cam0");
        assert_eq!(
            ready.processor.map(|settings| settings.targets.len()),
            Some(2)
        );
        for (options, named) in [
            ("window: 0", "--window must be at least 1"),
            ("from: yesterday", "--from"),
            ("dead-letter: d", "--on-failure"),
            ("processor-ca: /nowhere/ca.pem", "https://"),
        ] {
            let stages = format!("{{name: a, from: [cam0], processor: p, options: {{{options}}}}}");
            let wanted = planned(&stages).into_values().next().expect("a stage");
            let why = wanted.work.expect_err(options);
            assert!(why.contains(named), "{options}: {why}");
        }
    }

    #[test]
    fn only_addresses_may_change_while_a_stage_runs() {
        let stage =
            |more: &str| ready(&format!("{{name: a, from: [cam0], processor: p{more}}}")).essence;
        let first = stage("");
        assert_eq!(first, stage(", version: 1"));
        assert_ne!(first, stage(", version: 2"));
        assert_ne!(first, stage(", options: {window: 9}"));
        assert_ne!(first, stage(", to: elsewhere"));
    }

    #[test]
    fn a_processor_that_is_not_declared_is_waited_for() {
        let planned = planned("{name: a, from: [cam0], processor: q}");
        let why = planned["framelane.registry/x/a/cam0"]
            .work
            .as_ref()
            .expect_err("it runs");
        assert!(why.contains("processor q is not declared"), "{why}");
    }
}
