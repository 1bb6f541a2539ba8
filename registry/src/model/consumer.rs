//! Consumers and what they are assigned.

use super::{Name, Options, SinkSpec, options};
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// Where frames go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Consumer {
    /// As of `consumer --sink`, e.g. jsonl:/data/m1.jsonl
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "known_sinks"
    )]
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

/// A sink that can be read as one.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct KnownSink(String);

impl TryFrom<String> for KnownSink {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse::<SinkSpec>() {
            Ok(_) => Ok(Self(text)),
            Err(why) => Err(format!("{text:?} is no sink: {why}")),
        }
    }
}

fn known_sinks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let sinks = Vec::<KnownSink>::deserialize(deserializer)?;
    Ok(sinks.into_iter().map(|sink| sink.0).collect())
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
    format!("{registry}/consumer.{name}")
}
