//! What differs between two states of an object, field by field.

use crate::model::Object;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One field, before and after.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FieldChange {
    /// `spec.options.fps`, `spec.stages[1].to`.
    pub path: String,
    /// None: it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// None: it is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path)?;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{old} -> {new}"),
            (None, Some(new)) => write!(f, "+ {new}"),
            (Some(old), None) => write!(f, "- {old}"),
            (None, None) => f.write_str("the same"),
        }
    }
}

/// Every field that differs, in the order of the paths. None stands for no object.
pub fn changes(old: Option<&Object>, new: Option<&Object>) -> Vec<FieldChange> {
    let (old, new) = (fields(old), fields(new));
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    paths
        .into_iter()
        .filter(|path| old.get(*path) != new.get(*path))
        .map(|path| FieldChange {
            path: path.clone(),
            old: old.get(path).cloned(),
            new: new.get(path).cloned(),
        })
        .collect()
}

fn fields(object: Option<&Object>) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    let value = object.and_then(|object| serde_json::to_value(object).ok());
    if let Some(Value::Object(map)) = value {
        for (name, value) in map {
            // They say which object it is, not what it is like.
            if name != "kind" && name != "name" {
                collect(name, value, &mut fields);
            }
        }
    }
    fields
}

fn collect(path: String, value: Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                collect(format!("{path}.{name}"), value, fields);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (n, value) in items.into_iter().enumerate() {
                collect(format!("{path}[{n}]"), value, fields);
            }
        }
        value => {
            fields.insert(path, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        crate::yaml::parse(text, "x").unwrap().remove(0)
    }

    #[test]
    fn fields_that_differ_are_named_with_both_values() {
        let old = object(
            "kind: Source\nname: a\nspec: {host: h, camera: 0, options: {fps: 30, loop: true}}",
        );
        let new = object(
            "kind: Source\nname: a\nlabels: {x: y}\nspec: {host: h, camera: 0, options: {fps: 25}}",
        );
        let said: Vec<String> = changes(Some(&old), Some(&new))
            .iter()
            .map(FieldChange::to_string)
            .collect();
        let expected = [
            "labels.x: + \"y\"",
            "spec.options.fps: 30 -> 25",
            "spec.options.loop: - true",
        ];
        assert_eq!(said, expected);
        assert_eq!(changes(Some(&old), Some(&old)), []);
        assert!(!changes(None, Some(&old)).is_empty());
    }
}
