//! The OpenAPI document of the routes.

use crate::model::Kind;
use crate::schema;
use serde_json::{Map, Value, json};

/// OpenAPI 3.1: its schemas are JSON schemas, the same as those of the YAML.
pub(super) fn document() -> Value {
    let (documents, mut schemas) = schema::parts("#/components/schemas");
    for (kind, document) in documents {
        schemas.insert(format!("{}Document", kind.title()), document);
    }
    schemas.insert("Fault".to_owned(), fault());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Framelane registry",
            "version": "1",
            "description": "What is declared and what runs. An object's version is its ETag; whoever changes one says which \
                            version was seen.",
        },
        "paths": paths(),
        "components": {"schemas": schemas},
    })
}

fn fault() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {"type": "string", "description": "What is wrong and what to do"},
            "line": {"type": "integer", "description": "Of the body, from 1"},
            "column": {"type": "integer", "description": "From 1"},
            "problems": {
                "type": "array",
                "items": {"type": "object", "properties": {"key": {"type": "string"}, "text": {"type": "string"}}},
            },
            "stale": {
                "type": "array",
                "description": "For each object: the version seen, the present one, by whom and when, and what differs",
                "items": {"type": "object"},
            },
        },
    })
}

fn paths() -> Map<String, Value> {
    let mut paths = Map::new();
    for kind in Kind::ALL {
        let kinds = format!("{}s", kind.word());
        paths.insert(format!("/api/v1/{kinds}"), json!({"get": list(kind)}));
        paths.insert(format!("/api/v1/{kinds}/{{name}}"), one(kind));
    }
    let simple = [
        ("instances", "All processes that report, live or lost"),
        ("flows", "What the pipelines do, resolved to topics"),
        ("openapi.json", "This document"),
        ("schema.json", "The JSON schema of the documents"),
    ];
    for (name, summary) in simple {
        let get = json!({"summary": summary, "responses": {"200": answer("It", json!({"type": "object"}))}});
        paths.insert(format!("/api/v1/{name}"), json!({"get": get}));
    }
    let events = json!({"description": "Server-sent events: object, instance, kafka, and once synced",
        "content": {"text/event-stream": {"schema": {"type": "string"}}}});
    paths.insert(
        "/api/v1/watch".to_owned(),
        json!({"get": {
        "summary": "Everything at first, then every change", "responses": {"200": events}}}),
    );
    paths.insert("/api/v1/apply".to_owned(), json!({"post": apply()}));
    paths
}

fn schema_of(kind: Kind) -> Value {
    json!({"$ref": format!("#/components/schemas/{}Document", kind.title())})
}

fn answer(description: &str, schema: Value) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

fn refusal(description: &str) -> Value {
    answer(description, json!({"$ref": "#/components/schemas/Fault"}))
}

fn body(schema: &Value) -> Value {
    json!({"required": true, "content": {
        "application/json": {"schema": schema},
        "application/yaml": {"schema": schema},
    }})
}

fn list(kind: Kind) -> Value {
    let items = json!({"type": "object", "properties": {"items": {"type": "array", "items": schema_of(kind)}}});
    json!({
        "summary": format!("All of the kind {}", kind.title()),
        "parameters": [{"name": "labels", "in": "query", "schema": {"type": "string"}, "example": "site=lab",
            "description": "Only those with all of these labels: NAME=TEXT,..."}],
        "responses": {"200": answer("By name", items)},
    })
}

fn one(kind: Kind) -> Value {
    let title = kind.title();
    let document = schema_of(kind);
    let shown = || answer("It, with its version as ETag", document.clone());
    let writes = |verb: &str, mut responses: Value, more: Value| {
        for (status, text) in [
            ("404", "There is none"),
            ("409", "It would not fit together with the other objects"),
            (
                "412",
                "It is of another version: the body says what changed",
            ),
            ("422", "The body is wrong: with line and column"),
            ("428", "The request does not say which version was seen"),
            (
                "503",
                "Kafka does not answer, or the version seen is not known here yet",
            ),
        ] {
            responses[status] = refusal(text);
        }
        let mut operation = json!({
            "summary": format!("{verb} a {title}"),
            "parameters": [
                {"name": "If-Match", "in": "header", "schema": {"type": "string"}, "example": "\"7\""},
                {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}, "example": "*"},
            ],
            "responses": responses,
        });
        if !more.is_null() {
            operation["requestBody"] = more;
        }
        operation
    };
    let patch = json!({"required": true, "content": {"application/merge-patch+json": {"schema": {"type": "object"}}}});
    json!({
        "parameters": [{"name": "name", "in": "path", "required": true,
            "schema": {"$ref": "#/components/schemas/Name"}}],
        "get": {
            "summary": format!("One {title}"),
            "responses": {"200": shown(), "404": refusal("There is none")},
        },
        "put": writes("Create or replace", json!({"200": shown(), "201": shown()}), body(&document)),
        "patch": writes("Change parts of", json!({"200": shown()}), patch),
        "delete": writes("Delete", json!({"204": {"description": "It is deleted"}}), Value::Null),
    })
}

fn apply() -> Value {
    let documents = json!({"type": "string", "description": "Documents separated by ---"});
    json!({
        "summary": "All of these documents, or none",
        "parameters": [{"name": "dry-run", "in": "query", "schema": {"type": "boolean"}}],
        "requestBody": {"required": true, "content": {"application/yaml": {"schema": documents}}},
        "responses": {
            "200": answer("What became of each", json!({"type": "object"})),
            "409": refusal("They would not fit together"),
            "412": refusal("A document names a version that is not the present one"),
            "422": refusal("The text is wrong: with line and column"),
            "503": refusal("Kafka does not answer"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_to_a_schema() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        let references: Vec<&str> = text.split("\"$ref\":\"").skip(1).collect();
        assert!(references.len() > 20);
        for reference in references {
            let (path, _) = reference.split_once('"').unwrap();
            let name = path.strip_prefix("#/components/schemas/").expect(path);
            assert!(schemas.contains_key(name), "{name} is not defined");
        }
    }
}
