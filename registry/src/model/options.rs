//! A service's options by name, without the dashes: what would stand on its command line.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What an option's value looks like. The program may be stricter: what it does not take, it says in its heartbeat.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// On the command line it stands alone.
    Flag,
    Number,
    /// A number of things.
    Whole,
    /// `500ms`, `10s`, `24h`.
    Time,
    /// One of these.
    Word(&'static [&'static str]),
    /// Anything, or a list of it for an option that may be repeated.
    Text,
}

impl Kind {
    /// Null is no value: the program's default counts.
    fn takes(self, value: &Value) -> bool {
        let text = match value {
            Value::Null => return true,
            Value::Bool(value) => return matches!(self, Self::Flag) || !value,
            Value::Array(items) => {
                return matches!(self, Self::Text) && items.iter().all(|item| self.takes(item));
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self {
            Self::Flag => false,
            Self::Number => text.parse::<f64>().is_ok_and(f64::is_finite),
            Self::Whole => text.parse::<u64>().is_ok(),
            Self::Time => humantime::parse_duration(&text).is_ok(),
            Self::Word(words) => words.contains(&text.as_str()),
            Self::Text => true,
        }
    }

    fn description(self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Whole => "a whole number".to_owned(),
            Self::Time => "a time: write e.g. 500ms, 10s, 24h".to_owned(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Text => "a text".to_owned(),
        }
    }
}

/// Options of `producer` that a source may have; the others are said beside them. All lists here are compared with the
/// programs by a test.
pub const OF_SOURCES: &[(&str, Kind)] = &[
    ("codec", Kind::Word(&["jpeg", "png", "raw"])),
    ("count", Kind::Whole),
    ("fps", Kind::Number),
    ("label", Kind::Text),
    ("loop", Kind::Flag),
    ("no-create", Kind::Flag),
    ("overload", Kind::Text),
    ("pace", Kind::Word(&["realtime", "max"])),
    ("partitions", Kind::Whole),
    ("quality", Kind::Whole),
    ("reconnect-for", Kind::Time),
    ("replication", Kind::Whole),
    ("resize", Kind::Text),
    ("resume", Kind::Flag),
    ("retention", Kind::Time),
    ("source-id", Kind::Text),
    ("spread", Kind::Flag),
    ("stall-timeout", Kind::Time),
];

/// Options of `broker` that a stage may have; the others follow from the stage, or are for all stages of a broker.
pub const OF_STAGES: &[(&str, Kind)] = &[
    ("attempts", Kind::Whole),
    ("backoff", Kind::Time),
    ("commit-linger", Kind::Time),
    ("content", Kind::Word(&["inline", "reference"])),
    ("dead-letter", Kind::Text),
    ("deadline", Kind::Time),
    ("delivery", Kind::Word(&["exactly-once", "at-least-once"])),
    ("drain", Kind::Time),
    ("from", Kind::Text),
    ("in-flight", Kind::Whole),
    ("membership", Kind::Word(&["static", "dynamic"])),
    ("no-create", Kind::Flag),
    (
        "on-failure",
        Kind::Word(&["error-result", "dead-letter", "drop", "halt"]),
    ),
    ("processor-ca", Kind::Text),
    ("processor-cert", Kind::Text),
    ("processor-key", Kind::Text),
    ("session-timeout", Kind::Time),
    ("watchdog", Kind::Time),
    ("window", Kind::Whole),
    ("window-mib", Kind::Whole),
];

/// Options of `consumer` that a consumer may have; sinks and topics are said elsewhere.
pub const OF_CONSUMERS: &[(&str, Kind)] = &[
    ("content", Kind::Word(&["inline", "reference"])),
    ("cooldown", Kind::Time),
    ("do", Kind::Text),
    ("for", Kind::Time),
    ("fps", Kind::Number),
    ("from", Kind::Text),
    ("group", Kind::Text),
    ("instance", Kind::Text),
    ("output", Kind::Text),
    ("overlay", Kind::Flag),
    ("overwrite", Kind::Flag),
    ("rate", Kind::Text),
    ("reorder", Kind::Flag),
    ("reorder-time", Kind::Time),
    ("reorder-window", Kind::Whole),
    ("report", Kind::Text),
    ("track", Kind::Flag),
    ("until", Kind::Text),
    ("verify-picture", Kind::Flag),
    ("when", Kind::Text),
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
    pub(super) fn check(&self, program: &str, known: &[(&str, Kind)]) -> Result<(), String> {
        let is_known = |name: &&String| known.iter().any(|(known, _)| known == name);
        let Some(name) = self.0.keys().find(|name| !is_known(name)) else {
            return Ok(());
        };
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        Err(format!(
            "options.{name}: {program} has no such option, or it is said in another way here; there are {}",
            names.join(", ")
        ))
    }

    /// Refuses values that are not of their kind. Only asked of what is to be written: what was taken once is still read, and
    /// the service says what it does not take.
    pub(super) fn check_values(&self, known: &[(&str, Kind)]) -> Result<(), String> {
        let kind_of = |name: &str| known.iter().find(|(known, _)| *known == name);
        for (name, value) in &self.0 {
            if let Some((_, kind)) = kind_of(name).filter(|(_, kind)| !kind.takes(value)) {
                return Err(format!(
                    "options.{name}: {value} is not {}",
                    kind.description()
                ));
            }
        }
        Ok(())
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
    fn values_that_the_program_cannot_take_are_refused_with_what_it_takes() {
        let check = |options: Value| {
            let options: Options = serde_json::from_value(options).unwrap();
            options.check_values(OF_SOURCES)
        };
        for good in [
            json!({"fps": 12.5, "count": "7", "loop": false, "retention": "1m 5s", "codec": "png", "quality": null}),
            json!({"label": ["a=1", "b=2"], "resize": "640x480", "fps": "30"}),
        ] {
            assert_eq!(check(good.clone()), Ok(()), "{good}");
        }
        for (bad, hint) in [
            (
                json!({"fps": "fast"}),
                "options.fps: \"fast\" is not a number",
            ),
            (json!({"fps": true}), "not a number"),
            (json!({"fps": [1, 2]}), "not a number"),
            (json!({"count": -1}), "not a whole number"),
            (json!({"loop": "yes"}), "not true or false"),
            (json!({"retention": 24}), "500ms"),
            (json!({"codec": "gif"}), "jpeg, png, raw"),
            (json!({"label": [true]}), "not a text"),
        ] {
            let said = check(bad.clone()).expect_err(&bad.to_string());
            assert!(said.contains(hint), "{said}");
        }
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
