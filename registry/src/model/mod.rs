//! What can be declared. Serialised, each type is what people write in YAML; the records in Kafka are made in `wire`.

mod consumer;
mod name;
pub mod options;
mod pipeline;
mod processor;
mod schedule;
mod sink;
mod source;

pub use consumer::{Assignment, Consumer, WhenClosed, group_of_consumer};
pub use name::{MAX_NAME_BYTES, Name};
pub use options::Options;
pub use pipeline::{Inputs, Pipeline, Stage, Work};
pub use processor::{Address, Processor};
pub use schedule::{Schedule, WeekSpan};
pub use sink::SinkSpec;
pub use source::{CLOSE_AFTER, Input, Opening, Source};

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Free texts by name, to select by.
pub type Labels = BTreeMap<String, String>;

/// Which write of an object it is: the offset of its record + 1; 0: the object does not exist. Never used twice.
pub type Version = u64;

/// What sort of thing is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    Source,
    Processor,
    Pipeline,
    Consumer,
    Assignment,
}

impl Kind {
    /// In the order in which they refer to each other.
    pub const ALL: [Self; 5] = [
        Self::Source,
        Self::Processor,
        Self::Pipeline,
        Self::Consumer,
        Self::Assignment,
    ];

    /// As in keys: `source`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Processor => "processor",
            Self::Pipeline => "pipeline",
            Self::Consumer => "consumer",
            Self::Assignment => "assignment",
        }
    }

    /// As in YAML: `Source`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Source => "Source",
            Self::Processor => "Processor",
            Self::Pipeline => "Pipeline",
            Self::Consumer => "Consumer",
            Self::Assignment => "Assignment",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Kind {
    type Err = String;

    /// Any case, singular or plural: `Source`, `sources`.
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let word = lower.strip_suffix('s').unwrap_or(&lower);
        Self::ALL
            .into_iter()
            .find(|kind| kind.word() == word)
            .ok_or_else(|| {
                format!("{text:?} is no kind: there are source, processor, pipeline, consumer and assignment")
            })
    }
}

/// Names one object: `source/cam0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    pub name: Name,
}

impl Key {
    pub fn new(kind: Kind, name: Name) -> Self {
        Self { kind, name }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text
            .split_once('/')
            .ok_or_else(|| format!("{text:?} is not KIND/NAME, e.g. source/cam0"))?;
        Ok(Self::new(kind.parse()?, name.parse()?))
    }
}

/// What is declared of a thing; its kind is the variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Spec {
    Source(Source),
    Processor(Processor),
    Pipeline(Pipeline),
    Consumer(Consumer),
    Assignment(Assignment),
}

impl Spec {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Source(_) => Kind::Source,
            Self::Processor(_) => Kind::Processor,
            Self::Pipeline(_) => Kind::Pipeline,
            Self::Consumer(_) => Kind::Consumer,
            Self::Assignment(_) => Kind::Assignment,
        }
    }

    /// What no service would take: the number of the stage that says it, if a stage does, and why.
    pub(crate) fn bad_option(&self) -> Option<(Option<usize>, String)> {
        match self {
            Self::Source(source) => {
                let checked = source.options.check_values(options::OF_SOURCES);
                Some((None, checked.err()?))
            }
            Self::Consumer(consumer) => {
                let checked = consumer.options.check_values(options::OF_CONSUMERS);
                Some((None, checked.err()?))
            }
            Self::Pipeline(pipeline) => {
                let mut stages = pipeline.stages.iter().enumerate();
                stages.find_map(|(number, stage)| {
                    let checked = stage.options.check_values(options::OF_STAGES);
                    Some((Some(number), checked.err()?))
                })
            }
            Self::Processor(_) | Self::Assignment(_) => None,
        }
    }
}

macro_rules! into_spec {
    ($($kind:ident)*) => {$(
        impl From<$kind> for Spec {
            fn from(spec: $kind) -> Self {
                Self::$kind(spec)
            }
        }
    )*};
}
into_spec!(Source Processor Pipeline Consumer Assignment);

/// A declared thing, as it is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub name: Name,
    pub labels: Labels,
    pub spec: Spec,
}

impl Object {
    /// An object without labels.
    pub fn new(name: Name, spec: impl Into<Spec>) -> Self {
        Self {
            name,
            labels: Labels::new(),
            spec: spec.into(),
        }
    }

    pub fn key(&self) -> Key {
        Key::new(self.spec.kind(), self.name.clone())
    }
}

impl Serialize for Object {
    /// `kind`, `name`, `labels` if there are any, `spec`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = 3 + usize::from(!self.labels.is_empty());
        let mut object = serializer.serialize_struct("Object", fields)?;
        object.serialize_field("kind", &self.spec.kind())?;
        object.serialize_field("name", &self.name)?;
        if !self.labels.is_empty() {
            object.serialize_field("labels", &self.labels)?;
        }
        object.serialize_field("spec", &self.spec)?;
        object.end()
    }
}

/// A thing as it is declared now, and which write of it that is.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<T> {
    pub name: Name,
    pub labels: Labels,
    pub version: Version,
    /// Who wrote this version, for people.
    pub written_by: String,
    /// When, by the writer's clock.
    pub written_at: jiff::Timestamp,
    pub spec: T,
}

impl Versioned<Spec> {
    /// As an object would be in this version, which nobody has written.
    pub fn unwritten(object: Object, version: Version) -> Self {
        Self {
            name: object.name,
            labels: object.labels,
            version,
            written_by: String::new(),
            written_at: jiff::Timestamp::UNIX_EPOCH,
            spec: object.spec,
        }
    }
}

impl<T> Versioned<T> {
    /// The same with another spec.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Versioned<U> {
        Versioned {
            name: self.name,
            labels: self.labels,
            version: self.version,
            written_by: self.written_by,
            written_at: self.written_at,
            spec: change(self.spec),
        }
    }

    /// True if it has every one of these labels with that text.
    pub fn has_labels(&self, labels: &Labels) -> bool {
        labels
            .iter()
            .all(|(name, text)| self.labels.get(name) == Some(text))
    }
}

impl Versioned<Source> {
    /// The topic of its frames: the one declared, else its name.
    pub fn topic(&self) -> &Name {
        self.spec.topic.as_ref().unwrap_or(&self.name)
    }

    /// What its frames say they are of: the option `source-id`, or the name.
    pub fn source_id(&self) -> &str {
        let said = self.spec.options.get("source-id");
        said.and_then(|id| id.as_str()).unwrap_or(&self.name)
    }
}

impl Versioned<Spec> {
    pub fn key(&self) -> Key {
        Key::new(self.spec.kind(), self.name.clone())
    }

    /// What was written.
    pub fn object(&self) -> Object {
        Object {
            name: self.name.clone(),
            labels: self.labels.clone(),
            spec: self.spec.clone(),
        }
    }
}

impl Serialize for Versioned<Spec> {
    /// As [`Object`], and `version`, `written-by`, `written-at`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Versioned", 7)?;
        object.serialize_field("kind", &self.spec.kind())?;
        object.serialize_field("name", &self.name)?;
        object.serialize_field("labels", &self.labels)?;
        object.serialize_field("spec", &self.spec)?;
        object.serialize_field("version", &self.version)?;
        object.serialize_field("written-by", &self.written_by)?;
        object.serialize_field("written-at", &self.written_at.to_string())?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            let key = Key::new(kind, "a.b".parse().unwrap());
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        assert_eq!("Sources".parse(), Ok(Kind::Source));
        assert!("cam0".parse::<Key>().is_err());
        assert!("source/a b".parse::<Key>().is_err());
    }
}
