//! A service's options by name, without the dashes: what would stand on its command line.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Options of `producer` that a source may have; the others are said beside them. All lists here are compared with the
/// programs by a test.
pub const OF_SOURCES: &[&str] = &[
    "codec",
    "count",
    "fps",
    "label",
    "loop",
    "no-create",
    "overload",
    "pace",
    "partitions",
    "quality",
    "reconnect-for",
    "replication",
    "resize",
    "resume",
    "retention",
    "source-id",
    "spread",
    "stall-timeout",
];

/// Options of `broker` that a stage may have; the others follow from the stage, or are for all stages of a broker.
pub const OF_STAGES: &[&str] = &[
    "attempts",
    "backoff",
    "commit-linger",
    "content",
    "dead-letter",
    "deadline",
    "delivery",
    "drain",
    "from",
    "in-flight",
    "membership",
    "no-create",
    "on-failure",
    "processor-ca",
    "processor-cert",
    "processor-key",
    "session-timeout",
    "watchdog",
    "window",
    "window-mib",
];

/// Options of `consumer` that a consumer may have; sinks and topics are said elsewhere.
pub const OF_CONSUMERS: &[&str] = &[
    "content",
    "cooldown",
    "do",
    "for",
    "fps",
    "from",
    "group",
    "instance",
    "output",
    "overlay",
    "overwrite",
    "rate",
    "reorder",
    "reorder-time",
    "reorder-window",
    "report",
    "track",
    "until",
    "verify-picture",
    "when",
];

/// Texts, numbers, booleans, or lists of these, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Value>")]
pub struct Options(BTreeMap<String, Value>);

impl Options {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The texts of one option: its value, or the items of its list.
    pub(crate) fn texts_mut(&mut self, name: &str) -> impl Iterator<Item = &mut String> {
        let items = match self.0.get_mut(name) {
            Some(Value::Array(items)) => items.as_mut_slice(),
            Some(value) => std::slice::from_mut(value),
            None => &mut [],
        };
        items.iter_mut().filter_map(|item| match item {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// As words of a command line: `--fps 30`, a bare `--loop` for true, nothing for false and null, and the option again
    /// for each item of a list. A value that begins with a dash stays with its option.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (name, value) in &self.0 {
            match value {
                Value::Array(items) => {
                    items.iter().for_each(|item| push(&mut words, name, item));
                }
                value => push(&mut words, name, value),
            }
        }
        words
    }

    /// Refuses names that are not among these.
    pub(super) fn check(&self, program: &str, known: &[&str]) -> Result<(), String> {
        let mut names = self.0.keys().map(String::as_str);
        match names.find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => Err(format!(
                "options.{name}: {program} has no such option, or it is said in another way here; there are {}",
                known.join(", ")
            )),
        }
    }
}

fn push(words: &mut Vec<String>, name: &str, value: &Value) {
    match value {
        Value::Null | Value::Bool(false) => {}
        Value::Bool(true) => words.push(format!("--{name}")),
        Value::String(text) => words.push(format!("--{name}={text}")),
        other => words.push(format!("--{name}={other}")),
    }
}

impl TryFrom<BTreeMap<String, Value>> for Options {
    type Error = String;

    fn try_from(options: BTreeMap<String, Value>) -> Result<Self, String> {
        let is_plain = |value: &Value| !value.is_array() && !value.is_object();
        for (name, value) in &options {
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.starts_with('-') || !name.chars().all(is_name) {
                return Err(format!(
                    "{name}: write an option's name as on the command line, without the dashes in front"
                ));
            }
            let is_good = match value {
                Value::Array(items) => items.iter().all(is_plain),
                value => is_plain(value),
            };
            if !is_good {
                return Err(format!(
                    "{name}: an option is a text, a number, true or false, or a list of these"
                ));
            }
        }
        Ok(Self(options))
    }
}

impl JsonSchema for Options {
    fn schema_name() -> Cow<'static, str> {
        "Options".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let plain = serde_json::json!(["string", "number", "boolean", "null"]);
        json_schema!({
            "description": "The service's options by name, without the dashes in front",
            "type": "object",
            "propertyNames": {"pattern": "^[a-z0-9][a-z0-9-]*$"},
            "additionalProperties": {"anyOf": [
                {"type": plain.clone()},
                {"type": "array", "items": {"type": plain}},
            ]},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_become_words_of_a_command_line() {
        let options: Options = serde_json::from_value(json!({
            "fps": 30, "loop": true, "resume": false, "label": ["a=1", "b=-2"], "pace": "max",
        }))
        .unwrap();
        let expected = [
            "--fps=30",
            "--label=a=1",
            "--label=b=-2",
            "--loop",
            "--pace=max",
        ];
        assert_eq!(options.words(), expected);
    }

    #[test]
    fn what_cannot_stand_on_a_command_line_is_refused() {
        for bad in [
            json!({"--fps": 30}),
            json!({"a": {}}),
            json!({"": 1}),
            json!({"a": [[1]]}),
        ] {
            assert!(
                serde_json::from_value::<Options>(bad.clone()).is_err(),
                "{bad}"
            );
        }
    }
}
