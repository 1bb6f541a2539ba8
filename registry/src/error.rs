//! What can go wrong with the registry, told apart by what the caller does next.

use crate::check::Problem;
use crate::diff::FieldChange;
use crate::model::{Key, Version};
use pipeline::kafka::KafkaFault;
use std::fmt;
use std::time::Duration;

/// Why nothing was written, or read.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Somebody else has changed the objects since: look at what changed and decide anew.
    #[error("{}", lines(.0))]
    Stale(Vec<Stale>),
    /// The objects would not fit together: change them.
    #[error("{}", lines(.0))]
    Refused(Vec<Problem>),
    /// The same object is in one write twice.
    #[error("{0} is in one write twice: say once what is to become of it")]
    Twice(Key),
    /// Kafka does not answer at present: nothing was written, and what runs goes on running.
    #[error("Kafka has not answered since {since}: nothing was written; try again when it is back")]
    Away {
        /// Since when.
        since: jiff::Timestamp,
    },
    /// Other writers came first again and again.
    #[error("other writers came first for {0:?}: nothing was written; try again")]
    Contended(Duration),
    /// The answer to a commit was lost, and nothing said afterwards what became of it.
    #[error(
        "it is unknown whether this was written ({0}): look at the objects, and write again what is missing"
    )]
    Unknown(KafkaFault),
    /// Kafka has ended the write's transaction in the middle.
    #[error(
        "only a part was written: {}; not written, or changed by somebody since: {}; look at the objects, and write \
         again what is missing",
        names(.written),
        names(.missing)
    )]
    Partial {
        /// What is there.
        written: Vec<Key>,
        /// What is not.
        missing: Vec<Key>,
    },
    /// Anything else about Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// The registry was closed meanwhile, or a thread of it has died.
    #[error("the registry is closed")]
    Closed,
}

/// A write that was made for a version which is not the present one.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stale {
    #[serde(serialize_with = "as_text")]
    pub key: Key,
    /// What the writer had seen; 0: no object.
    pub seen: Version,
    /// What is there now; 0: no object.
    pub present: Version,
    /// Who wrote that, for people; empty if that is not known any more.
    pub written_by: String,
    /// When, by the writer's clock; empty if that is not known any more.
    pub written_at: String,
    /// What differs between the two, as far as Kafka still has them.
    pub changes: Vec<FieldChange>,
}

fn as_text<S: serde::Serializer>(key: &Key, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key, seen, present, ..
        } = self;
        match (seen, present) {
            (0, _) => write!(f, "{key} exists already (version {present}")?,
            (_, 0) => write!(
                f,
                "there is no {key} (any more), and version {seen} of it was to be replaced (without `version` it is made"
            )?,
            _ => write!(
                f,
                "{key} was changed since version {seen} (it is {present} now"
            )?,
        }
        if !self.written_by.is_empty() {
            write!(f, ", by {} at {}", self.written_by, self.written_at)?;
        }
        f.write_str(")")?;
        for change in &self.changes {
            write!(f, "\n  {change}")?;
        }
        Ok(())
    }
}

fn names(keys: &[Key]) -> String {
    let names: Vec<String> = keys.iter().map(Key::to_string).collect();
    names.join(", ")
}

fn lines<T: fmt::Display>(items: &[T]) -> String {
    let lines: Vec<String> = items.iter().map(T::to_string).collect();
    lines.join("\n")
}
