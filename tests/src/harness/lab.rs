//! A registry of a test's own, and the managed processes that follow it.

use super::{Lines, Process, name, wait_for};
use pipeline::kafka::KafkaConfig;
use registry::instance::{Instance, RunningSource, SourceState};
use registry::model::Key;
use registry::{Change, Registry, View, yaml};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// A registry, and a folder for what consumers write.
pub struct Lab {
    pub servers: String,
    /// The registry's topic.
    pub topic: String,
    registry: Registry,
    runtime: Runtime,
    dir: tempfile::TempDir,
}

impl Lab {
    /// A registry that nobody else follows.
    pub fn new(servers: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let topic = name();
        let config = KafkaConfig::new(servers).expect("a usable address");
        let registry = runtime.block_on(Registry::open(&config, &topic));
        Self {
            servers: servers.to_owned(),
            topic,
            registry: registry.expect("a registry"),
            runtime,
            dir: tempfile::tempdir().expect("a folder"),
        }
    }

    /// What is declared and seen now.
    pub fn view(&self) -> Arc<View> {
        self.registry.view()
    }

    /// Declares what a YAML text says, in place of what there is of these names.
    pub fn apply(&self, text: &str) {
        let objects = yaml::parse(text, "test").unwrap_or_else(|why| panic!("{why}\n{text}"));
        let view = self.view();
        let changes = objects.into_iter().map(|object| {
            let seen = view.objects().version(&object.key());
            Change::put(object, seen)
        });
        self.write(&changes.collect::<Vec<_>>());
    }

    /// Declares a thing no more.
    pub fn delete(&self, key: &str) {
        let key: Key = key.parse().expect("KIND/NAME");
        let seen = self.view().objects().version(&key);
        self.write(&[Change::delete(key, seen)]);
    }

    fn write(&self, changes: &[Change]) {
        let written = self.runtime.block_on(self.registry.write(changes));
        written.expect("written");
    }

    /// The source of a pattern, on host lab1: `more` are lines of its spec.
    pub fn apply_pattern(&self, source: &str, more: &str) {
        self.apply_pattern_on("lab1", source, more);
    }

    /// As above, on another host.
    pub fn apply_pattern_on(&self, host: &str, source: &str, more: &str) {
        self.apply(&format!(
            "kind: Source\nname: {source}\nspec:\n  host: {host}\n  pattern: 160x120@20\n{more}\n"
        ));
    }

    /// A consumer with these sinks, assigned to these sources.
    pub fn apply_consumer(
        &self,
        consumer: &str,
        when_closed: &str,
        sinks: &[String],
        sources: &[&str],
    ) {
        self.apply(&format!(
            "kind: Consumer\nname: {consumer}\nspec:\n  sinks: {sinks:?}\n  when-closed: {when_closed}\n"
        ));
        self.assign(consumer, sources);
    }

    /// Assigns sources to a consumer.
    pub fn assign(&self, consumer: &str, sources: &[&str]) {
        self.apply(&format!(
            "kind: Assignment\nname: {consumer}\nspec:\n  sources: {sources:?}\n"
        ));
    }

    /// Starts a producer of host lab1.
    pub fn producer(&self) -> Process {
        let args = ["--managed", "--host", "lab1", "--registry", &self.topic];
        Process::start("producer", &self.servers, &args)
    }

    /// Starts a consumer.
    pub fn consumer(&self, name: &str) -> Process {
        self.consumer_with(name, &[])
    }

    /// As above, with more on its command line.
    pub fn consumer_with(&self, name: &str, more: &[&str]) -> Process {
        let args = ["--managed", "--name", name, "--registry", &self.topic];
        Process::start("consumer", &self.servers, &[&args, more].concat())
    }

    /// A place for what a consumer writes.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is said of a source by a producer that is heard.
    pub fn said(&self, source: &str) -> Option<RunningSource> {
        let view = self.view();
        let mut said = view.live().flat_map(|seen| &seen.instance.sources);
        said.find(|said| said.name == source).cloned()
    }

    /// Waits until a source is in a state, and returns what is said of it then.
    pub fn wait_for_state(&self, source: &str, state: SourceState) -> RunningSource {
        let mut last = None;
        let what = format!("{source} to be {state}");
        wait_for(&what, || {
            let said = self.said(source);
            if last != said.as_ref().map(|said| (said.state, said.text.clone())) {
                last = said.as_ref().map(|said| (said.state, said.text.clone()));
                eprintln!("{source}: {last:?}"); // read when the wait is in vain
            }
            said.filter(|said| said.state == state)
        })
    }

    /// Waits until this version of an assignment, or a later one, is what its consumer goes by.
    pub fn wait_until_assigned(&self, consumer: &str) {
        let key: Key = format!("assignment/{consumer}").parse().expect("KIND/NAME");
        let version = self.view().objects().version(&key);
        wait_for("the assignment to be taken up", || {
            let view = self.view();
            let taken_up = view.applied_by(&key, version).next().is_some();
            taken_up.then_some(())
        });
    }

    /// Waits until an instance is as it should be.
    pub fn wait_for_instance(&self, what: &str, is_it: impl Fn(&Instance) -> bool) -> Instance {
        wait_for(what, || {
            let view = self.view();
            let mut live = view.live().map(|seen| &seen.instance);
            live.find(|one| is_it(one)).cloned()
        })
    }
}

/// The whole lines of a file that is being written; none before it is there.
pub fn lines_so_far(path: &Path) -> Lines {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let line = |line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
    Lines(whole.lines().map(line).collect())
}
