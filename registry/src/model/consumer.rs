//! Consumers and what they are assigned.

use super::{Name, Options, options};
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// Where frames go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Consumer {
    /// As of `consumer --sink`, e.g. jsonl:/data/m1.jsonl
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<String>,
    #[serde(
        default,
        skip_serializing_if = "Options::is_empty",
        deserialize_with = "known_options"
    )]
    pub options: Options,
    #[serde(default)]
    pub when_closed: WhenClosed,
}

fn known_options<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Options, D::Error> {
    let options = Options::deserialize(deserializer)?;
    options
        .check("consumer", options::OF_CONSUMERS)
        .map_err(D::Error::custom)?;
    Ok(options)
}

/// What a consumer does when a source of its closes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenClosed {
    /// Waits for it to open again
    #[default]
    Wait,
    /// Ends when all of them have closed
    Exit,
    /// Goes on with the next one of the assignment that is open
    Next,
    /// Shows a picture that says so until it opens again
    Placeholder,
}

/// What the consumer of the same name reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Assignment {
    /// Names of sources or of stages' outputs, in order of preference
    pub sources: Vec<Name>,
}

/// The consumer group of a managed consumer.
pub fn group_of_consumer(registry: &str, name: &super::Name) -> String {
    format!("{registry}.consumer.{name}")
}
