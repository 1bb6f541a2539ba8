//! All declared things at one moment.

use crate::model::{
    Assignment, Consumer, Key, Kind, Name, Pipeline, Processor, Source, Spec, Version, Versioned,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The things of one kind by name.
pub type Map<T> = BTreeMap<Name, Arc<Versioned<T>>>;

/// All declared things, each as it was written last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    pub sources: Map<Source>,
    pub processors: Map<Processor>,
    pub pipelines: Map<Pipeline>,
    pub consumers: Map<Consumer>,
    pub assignments: Map<Assignment>,
    /// Newest records that say nothing that this release understands, by the keys in Kafka. An object of such a key is as it
    /// was when it could be read last.
    pub unreadable: BTreeMap<String, Unreadable>,
}

/// A record that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub version: Version,
    pub why: String,
}

impl Objects {
    /// Puts one in, in place of the one of the same kind and name.
    pub fn insert(&mut self, object: Versioned<Spec>) {
        self.unreadable.remove(&object.key().to_string());
        self.place(object);
    }

    fn place(&mut self, object: Versioned<Spec>) {
        let name = object.name.clone();
        let Versioned { spec, .. } = &object;
        match spec.clone() {
            Spec::Source(spec) => put(&mut self.sources, name, object, spec),
            Spec::Processor(spec) => put(&mut self.processors, name, object, spec),
            Spec::Pipeline(spec) => put(&mut self.pipelines, name, object, spec),
            Spec::Consumer(spec) => put(&mut self.consumers, name, object, spec),
            Spec::Assignment(spec) => put(&mut self.assignments, name, object, spec),
        }
    }

    /// The newest record of this object, if it cannot be read.
    pub fn unreadable(&self, key: &Key) -> Option<&Unreadable> {
        self.unreadable.get(&key.to_string())
    }

    /// Keeps what was known before of objects that cannot be read now, where nothing older of them is left in Kafka either.
    pub(crate) fn keep_unreadable(&mut self, before: &Self) {
        let keys = self.unreadable.keys().filter_map(|key| key.parse().ok());
        let lost: Vec<Key> = keys.filter(|key| self.get(key).is_none()).collect();
        for object in lost.iter().filter_map(|key| before.get(key)) {
            self.place(object);
        }
    }

    /// Takes one out; nothing happens if it is not there.
    pub fn remove(&mut self, key: &Key) {
        self.unreadable.remove(&key.to_string());
        let name = &key.name;
        match key.kind {
            Kind::Source => drop(self.sources.remove(name)),
            Kind::Processor => drop(self.processors.remove(name)),
            Kind::Pipeline => drop(self.pipelines.remove(name)),
            Kind::Consumer => drop(self.consumers.remove(name)),
            Kind::Assignment => drop(self.assignments.remove(name)),
        }
    }

    /// The object, whatever its kind.
    pub fn get(&self, key: &Key) -> Option<Versioned<Spec>> {
        let name = &key.name;
        match key.kind {
            Kind::Source => self.sources.get(name).map(|one| widen(one)),
            Kind::Processor => self.processors.get(name).map(|one| widen(one)),
            Kind::Pipeline => self.pipelines.get(name).map(|one| widen(one)),
            Kind::Consumer => self.consumers.get(name).map(|one| widen(one)),
            Kind::Assignment => self.assignments.get(name).map(|one| widen(one)),
        }
    }

    /// The version of an object, which is that of its newest record, readable or not; 0 if there is none.
    pub fn version(&self, key: &Key) -> Version {
        if let Some(unreadable) = self.unreadable(key) {
            return unreadable.version;
        }
        let name = &key.name;
        let known = match key.kind {
            Kind::Source => self.sources.get(name).map(|one| one.version),
            Kind::Processor => self.processors.get(name).map(|one| one.version),
            Kind::Pipeline => self.pipelines.get(name).map(|one| one.version),
            Kind::Consumer => self.consumers.get(name).map(|one| one.version),
            Kind::Assignment => self.assignments.get(name).map(|one| one.version),
        };
        known.unwrap_or(0)
    }

    /// All of one kind, by name.
    pub fn of_kind(&self, kind: Kind) -> Vec<Versioned<Spec>> {
        match kind {
            Kind::Source => self.sources.values().map(|one| widen(one)).collect(),
            Kind::Processor => self.processors.values().map(|one| widen(one)).collect(),
            Kind::Pipeline => self.pipelines.values().map(|one| widen(one)).collect(),
            Kind::Consumer => self.consumers.values().map(|one| widen(one)).collect(),
            Kind::Assignment => self.assignments.values().map(|one| widen(one)).collect(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sources.len()
            + self.processors.len()
            + self.pipelines.len()
            + self.consumers.len()
            + self.assignments.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn put<T>(map: &mut Map<T>, name: Name, object: Versioned<Spec>, spec: T) {
    map.insert(name, Arc::new(object.map(|_| spec)));
}

fn widen<T: Clone + Into<Spec>>(object: &Versioned<T>) -> Versioned<Spec> {
    object.clone().map(Into::into)
}
