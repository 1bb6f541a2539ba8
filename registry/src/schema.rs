//! The JSON schema of the documents, for editors and other programs. It says less than the checks: those know how values
//! go together.

use crate::model::{Assignment, Consumer, Kind, Name, Pipeline, Processor, Source};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// The schema of one document (JSON Schema 2020-12).
pub fn json_schema() -> Value {
    let (documents, definitions) = parts("#/$defs");
    let of_kinds: Vec<Value> = documents.into_iter().map(|(_, schema)| schema).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A document of `framelane apply`",
        "oneOf": of_kinds,
        "$defs": definitions,
    })
}

/// The schema of each kind's document, and the definitions that they refer to below this path.
pub(crate) fn parts(path: &'static str) -> (Vec<(Kind, Value)>, Map<String, Value>) {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = path.into();
    });
    let mut generator = settings.into_generator();
    let documents = Kind::ALL
        .into_iter()
        .map(|kind| {
            let spec = match kind {
                Kind::Source => spec_of::<Source>(&mut generator),
                Kind::Processor => spec_of::<Processor>(&mut generator),
                Kind::Pipeline => spec_of::<Pipeline>(&mut generator),
                Kind::Consumer => spec_of::<Consumer>(&mut generator),
                Kind::Assignment => spec_of::<Assignment>(&mut generator),
            };
            let name = spec_of::<Name>(&mut generator);
            (kind, document(kind, &name, &spec))
        })
        .collect();
    (documents, generator.take_definitions(true))
}

fn spec_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn document(kind: Kind, name: &Value, spec: &Value) -> Value {
    json!({
        "title": kind.title(),
        "type": "object",
        "properties": {
            "kind": {"const": kind.title()},
            "name": name,
            "labels": {
                "description": "Free texts by name, to select by",
                "type": "object",
                "additionalProperties": {"type": "string"},
            },
            "version": {
                "description": "If given: write only if this is the present version; 0: only if there is none",
                "type": "integer",
                "minimum": 0,
            },
            "written-by": {"description": "As shown; without effect", "type": "string"},
            "written-at": {"description": "As shown; without effect", "type": "string"},
            "spec": spec,
        },
        "required": ["kind", "name", "spec"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_to_a_definition() {
        let schema = json_schema();
        let text = schema.to_string();
        let defined = schema["$defs"].as_object().unwrap();
        let mut references = 0;
        for part in text.split("\"$ref\":\"#/$defs/").skip(1) {
            let (name, _) = part.split_once('"').unwrap();
            assert!(defined.contains_key(name), "{name} is not defined");
            references += 1;
        }
        assert!(references >= 5, "{text}");
        for key in ["close-after", "when-closed", "in-flight", "labels"] {
            let is_there = text.contains(&format!("\"{key}\""));
            assert_eq!(is_there, key != "in-flight", "{key}");
        }
    }
}
