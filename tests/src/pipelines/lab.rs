//! A registry of a test's own, and what is said in it.

use crate::harness::{Process, Seen, name, shared, wait_for};
use crate::registry_lab::framelane_ok;
use pipeline::envelope::Kind;
use pipeline::kafka::KafkaConfig;
use registry::{Change, Object, Registry, RegistryError, RunningSource, SourceState, yaml};
use std::collections::BTreeMap;

/// A registry, and a prefix for names in it that nobody else uses.
pub struct Lab {
    runtime: tokio::runtime::Runtime,
    registry: Registry,
    /// Begins the names of topics, pipelines and processors.
    pub prefix: String,
}

impl Lab {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let prefix = name();
        let kafka = KafkaConfig::new(shared()).expect("a usable address");
        let topic = format!("{prefix}.registry");
        let opening = Registry::open(&kafka, &topic);
        let registry = runtime.block_on(opening).expect("a registry");
        Self {
            runtime,
            registry,
            prefix,
        }
    }

    /// Declares what the text says, with PRE for the prefix.
    pub fn try_apply(&self, text: &str) -> Result<(), RegistryError> {
        let text = text.replace("PRE", &self.prefix);
        let objects = yaml::parse(&text, "test").unwrap_or_else(|why| panic!("{why}\n{text}"));
        let view = self.registry.view();
        let change = |object: Object| {
            let seen = view.objects().version(&object.key());
            Change::put(object, seen)
        };
        let changes: Vec<_> = objects.into_iter().map(change).collect();
        let written = self.runtime.block_on(self.registry.write(&changes));
        written.map(drop)
    }

    pub fn apply(&self, text: &str) {
        self.try_apply(text)
            .unwrap_or_else(|why| panic!("{why}\n{text}"));
    }

    /// A source that a test publishes itself.
    pub fn source(&self, topic: &str) {
        self.apply(&format!(
            "kind: Source\nname: {topic}\nlabels: {{test: PRE}}\nspec: {{host: nobody, camera: 0}}\n"
        ));
    }

    /// Waits until a table of `framelane` has a row with both of these cells.
    pub fn wait_for_row(&self, args: &[&str], one: &str, other: &str) {
        let topic = format!("{}.registry", self.prefix);
        wait_for(&format!("{one} and {other} in {args:?}"), || {
            let table = framelane_ok(shared(), &topic, args);
            // Cells are two spaces apart.
            let cells = |row: &str| row.split("  ").map(|cell| cell.trim().to_owned()).collect();
            let mut rows = table.lines().map(cells);
            let has = |row: Vec<String>| {
                [one, other]
                    .iter()
                    .all(|cell| row.iter().any(|it| it == cell))
            };
            rows.any(has).then_some(())
        });
    }

    pub fn processor(&self, name: &str, url: &str) {
        self.apply(&format!(
            "kind: Processor\nname: {name}\nspec: {{addresses: [\"{url}\"]}}\n"
        ));
    }

    pub fn pipeline(&self, name: &str, stages: &str) {
        self.apply(&Self::pipeline_text(name, stages));
    }

    /// One stage a line.
    pub fn pipeline_text(name: &str, stages: &str) -> String {
        let stages = stages
            .trim()
            .lines()
            .map(|line| format!("    - {}\n", line.trim()));
        format!(
            "kind: Pipeline\nname: {name}\nspec:\n  stages:\n{}",
            stages.collect::<String>()
        )
    }

    /// A managed broker that is known again when it comes back.
    pub fn broker(&self, instance: &str) -> Process {
        let registry = format!("{}.registry", self.prefix);
        let instance = format!("{}-{instance}", self.prefix);
        let args = [
            "--managed",
            "--registry",
            &registry,
            "--instance",
            &instance,
        ];
        Process::start("broker", shared(), &args)
    }

    /// What live brokers say of a stage's output.
    pub fn said(&self, output: &str) -> Vec<RunningSource> {
        let view = self.registry.view();
        let sources = view.live().flat_map(|seen| &seen.instance.sources);
        sources
            .filter(|source| source.name == output)
            .cloned()
            .collect()
    }

    /// Waits until a broker says this of a stage's output.
    pub fn wait_until(&self, output: &str, state: SourceState, text: &str) {
        wait_for(
            &format!("{output} {state} with {text:?}: {:?}", self.said(output)),
            || {
                let said = self.said(output);
                let is_it = |one: &RunningSource| one.state == state && one.text.contains(text);
                said.iter().any(is_it).then_some(())
            },
        );
    }

    /// Waits until a broker has taken the present pipeline up.
    pub fn wait_until_applied(&self, pipeline: &str) {
        let version = self
            .registry
            .view()
            .pipeline(pipeline)
            .expect("declared")
            .version;
        let key = format!("pipeline/{pipeline}");
        wait_for(
            &format!("{key} of version {version} to be taken up"),
            || {
                let view = self.registry.view();
                let mut applied = view
                    .live()
                    .filter_map(|seen| seen.instance.applied.get(&key));
                applied.any(|has| *has >= version).then_some(())
            },
        );
    }
}

/// What each record stands for: epoch, sequence, kind.
pub fn places(seen: &[Seen]) -> BTreeMap<i32, Vec<(u64, u64, &'static str)>> {
    let mut places: BTreeMap<i32, Vec<_>> = BTreeMap::new();
    for one in seen {
        let id = one.message.id().expect("records of ours have ids");
        let place = (id.epoch, id.sequence, one.message.word());
        places
            .entry(one.record.lane.partition)
            .or_default()
            .push(place);
    }
    places
}

/// Asserts that every frame has these results, all ok.
pub fn assert_results(seen: &[Seen], processors: &[&str]) {
    for one in seen {
        if let Kind::Frame(frame) = &one.message {
            let results = frame.results.iter();
            let found: Vec<_> = results
                .map(|result| (result.processor.as_str(), result.status().word()))
                .collect();
            let expected: Vec<_> = processors.iter().map(|name| (*name, "ok")).collect();
            assert_eq!(found, expected, "{:?}", frame.id);
        }
    }
}
