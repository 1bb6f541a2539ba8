//! Names from a URL. What is not the name of a topic and of a source reaches nothing.

use pipeline::envelope::is_source_id;
use pipeline::kafka::is_internal_topic;
use std::fmt;
use std::sync::Arc;

/// The longest name that Kafka takes for a topic.
const MAX_TOPIC_BYTES: usize = 249;

/// Where frames are watched: a source, as a topic holds it. `{topic}/{source}` in URLs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    pub topic: Arc<str>,
    pub source: Arc<str>,
}

/// No topic or source can have such a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} cannot be: write 1 to 249 characters of A-Z, a-z, 0-9, '.', '_' and '-'")]
pub struct BadName {
    what: &'static str,
    name: String,
}

impl Address {
    /// Checks both names.
    pub fn new(topic: &str, source: &str) -> Result<Self, BadName> {
        let bad = |what, name: &str| BadName {
            what,
            name: name.chars().take(80).collect(),
        };
        if !is_topic(topic) {
            return Err(bad("a topic named", topic));
        }
        if !is_source_id(source) {
            return Err(bad("a source named", source));
        }
        Ok(Self {
            topic: topic.into(),
            source: source.into(),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.source)
    }
}

/// True for names that Kafka takes, except those of its own topics and of ours that hold no frames.
pub fn is_topic(name: &str) -> bool {
    let is_legal = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    (1..=MAX_TOPIC_BYTES).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(is_legal)
        && !is_internal_topic(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_reach_what_they_name_and_nothing_else() {
        let address = Address::new("cam0.people", "left-door_1").expect("plain names");
        assert_eq!(address.to_string(), "cam0.people/left-door_1");
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a\0",
            "ä",
            "__consumer_offsets",
            "framelane.sources",
            "^cam",
            "*",
            &"x".repeat(250),
        ] {
            assert!(Address::new(bad, "s").is_err(), "topic {bad:?}");
        }
        for bad in ["", "a/b", "a\nb", "..%2f"] {
            assert!(Address::new("t", bad).is_err(), "source {bad:?}");
        }
        let error = Address::new(&"x".repeat(100_000), "s").expect_err("too long");
        assert!(
            error.to_string().len() < 300,
            "a hostile name is not repeated in full"
        );
    }
}
