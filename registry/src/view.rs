//! Everything that is declared and everything that runs, at one moment. Immutable.

use crate::check::{self, Problem};
use crate::fleet::Seen;
use crate::flows::{self, Flow, Origin};
use crate::model::{
    Assignment, Consumer, Key, Kind, Name, Pipeline, Processor, Source, Spec, Version, Versioned,
};
use crate::objects::Objects;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};

/// A moment. Cheap to clone; parts that did not change are shared between moments.
#[derive(Debug, Clone)]
pub struct View {
    desired: Arc<Desired>,
    pub(crate) instances: Arc<[Arc<Seen>]>,
    pub(crate) away_since: Option<jiff::Timestamp>,
}

#[derive(Debug)]
struct Desired {
    objects: Objects,
    revision: u64,
    /// Made when somebody asks.
    flows: OnceLock<Vec<Flow>>,
    names: OnceLock<BTreeMap<Name, (Name, Origin)>>,
}

impl View {
    /// Nothing is known yet.
    pub(crate) fn empty() -> Self {
        static NOBODY: LazyLock<Arc<[Arc<Seen>]>> = LazyLock::new(|| Arc::from([]));
        Self {
            desired: Arc::new(Desired::new(Objects::default(), 0)),
            instances: Arc::clone(&NOBODY),
            away_since: None,
        }
    }

    pub(crate) fn set_objects(&mut self, mut objects: Objects, revision: u64) {
        objects.keep_unreadable(&self.desired.objects);
        self.desired = Arc::new(Desired::new(objects, revision));
    }

    /// Grows with every change of what is declared, and with nothing else: the offset behind the last record of it.
    pub fn revision(&self) -> u64 {
        self.desired.revision
    }

    /// Since when Kafka does not answer; None: it does. Everything here is as it was then.
    pub fn away_since(&self) -> Option<jiff::Timestamp> {
        self.away_since
    }

    pub fn objects(&self) -> &Objects {
        &self.desired.objects
    }

    /// The object, whatever its kind.
    pub fn get(&self, key: &Key) -> Option<Versioned<Spec>> {
        self.objects().get(key)
    }

    /// All of one kind, by name.
    pub fn of_kind(&self, kind: Kind) -> Vec<Versioned<Spec>> {
        self.objects().of_kind(kind)
    }

    pub fn source(&self, name: &str) -> Option<&Versioned<Source>> {
        self.objects().sources.get(name).map(|one| &**one)
    }

    pub fn sources(&self) -> impl Iterator<Item = &Versioned<Source>> {
        self.objects().sources.values().map(|one| &**one)
    }

    pub fn processor(&self, name: &str) -> Option<&Versioned<Processor>> {
        self.objects().processors.get(name).map(|one| &**one)
    }

    pub fn processors(&self) -> impl Iterator<Item = &Versioned<Processor>> {
        self.objects().processors.values().map(|one| &**one)
    }

    pub fn pipeline(&self, name: &str) -> Option<&Versioned<Pipeline>> {
        self.objects().pipelines.get(name).map(|one| &**one)
    }

    pub fn pipelines(&self) -> impl Iterator<Item = &Versioned<Pipeline>> {
        self.objects().pipelines.values().map(|one| &**one)
    }

    pub fn consumer(&self, name: &str) -> Option<&Versioned<Consumer>> {
        self.objects().consumers.get(name).map(|one| &**one)
    }

    pub fn consumers(&self) -> impl Iterator<Item = &Versioned<Consumer>> {
        self.objects().consumers.values().map(|one| &**one)
    }

    /// What the consumer of this name is assigned.
    pub fn assignment(&self, consumer: &str) -> Option<&Versioned<Assignment>> {
        self.objects().assignments.get(consumer).map(|one| &**one)
    }

    pub fn assignments(&self) -> impl Iterator<Item = &Versioned<Assignment>> {
        self.objects().assignments.values().map(|one| &**one)
    }

    /// Everything that the pipelines do: which topics each stage reads, and which it writes.
    pub fn flows(&self) -> &[Flow] {
        let desired = &self.desired;
        desired.flows.get_or_init(|| flows::flows(&desired.objects))
    }

    /// What a name stands for wherever a source is named: its topic, and who writes that.
    pub fn origin(&self, name: &str) -> Option<(&Name, &Origin)> {
        let desired = &self.desired;
        let names = desired.names.get_or_init(|| flows::names(&desired.objects));
        names.get(name).map(|(topic, origin)| (topic, origin))
    }

    /// The topic of a source or of a stage's output.
    pub fn topic_of(&self, name: &str) -> Option<&Name> {
        self.origin(name).map(|(topic, _)| topic)
    }

    /// The sources that a name's frames come from in the end: itself, or those that its stages read.
    pub fn roots(&self, name: &Name) -> std::collections::BTreeSet<Name> {
        flows::roots(self.objects(), self.flows(), name)
    }

    /// The declared sources that frames with this source id in this topic are of.
    pub fn sources_at(&self, topic: &str, source_id: &str) -> Vec<&Name> {
        flows::sources_at(self.objects(), self.flows(), topic, source_id)
    }

    /// All processes that report, live or lost, by id.
    pub fn instances(&self) -> impl Iterator<Item = &Seen> {
        self.instances.iter().map(|one| &**one)
    }

    /// Live ones only.
    pub fn live(&self) -> impl Iterator<Item = &Seen> {
        self.instances().filter(|one| one.is_live())
    }

    /// How many live instances want this source to be open.
    pub fn watchers(&self, source: &str) -> usize {
        let watches = |one: &&Seen| one.instance.watches.iter().any(|name| name == source);
        self.live().filter(watches).count()
    }

    /// The live instances that have taken up this version of an object or a later one.
    pub fn applied_by(&self, key: &Key, version: Version) -> impl Iterator<Item = &Seen> {
        let key = key.to_string();
        self.live().filter(move |one| {
            one.instance
                .applied
                .get(&key)
                .is_some_and(|has| *has >= version)
        })
    }

    /// What is wrong with what is declared. Writes are checked, so usually nothing.
    pub fn problems(&self) -> Vec<Problem> {
        check::problems(self.objects())
    }
}

impl Desired {
    fn new(objects: Objects, revision: u64) -> Self {
        Self {
            objects,
            revision,
            flows: OnceLock::new(),
            names: OnceLock::new(),
        }
    }
}
