//! The registry over HTTP: the same objects, checks and versions as everywhere. Who may ask is decided by whoever serves the
//! routes, and so is TLS.
//!
//! An object's version is its ETag. Whoever changes one says which version was seen: `If-Match: "7"`, or
//! `If-None-Match: *` for one that must not exist yet.

mod answer;
mod openapi;
mod precondition;
mod watch;

use crate::flows::FlowKind;
use crate::model::{Key, Kind, Labels, Name, Spec, Version, Versioned};
use crate::objects::Unreadable;
use crate::secrets;
use crate::store::{Change, Registry, preview};
use crate::view::View;
use crate::yaml::{self, MAX_TEXT_BYTES};
use answer::{Fault, json};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::sync::Arc;

/// Who asks, for `written-by`: put into the request's extensions by whoever checks that.
#[derive(Debug, Clone)]
pub struct Author(pub String);

/// All routes below `/api/v1`.
pub fn router(registry: Registry) -> Router {
    Router::new()
        .route(
            "/api/v1/openapi.json",
            get(|| async { json(&openapi::document()) }),
        )
        .route(
            "/api/v1/schema.json",
            get(|| async { json(&yaml::json_schema()) }),
        )
        .route("/api/v1/instances", get(instances))
        .route("/api/v1/flows", get(flows))
        .route("/api/v1/watch", get(watch::watch))
        .route("/api/v1/apply", post(apply))
        .route("/api/v1/{kinds}", get(list))
        .route(
            "/api/v1/{kinds}/{name}",
            get(read).put(put).patch(patch).delete(delete),
        )
        .layer(DefaultBodyLimit::max(MAX_TEXT_BYTES))
        .with_state(registry)
}

/// An object as it is shown: without passwords.
fn shown(mut object: Versioned<Spec>) -> Value {
    secrets::hide_in(&mut object.spec);
    serde_json::to_value(object).unwrap_or_default()
}

fn tagged(object: Versioned<Spec>) -> Response {
    let tag = format!("\"{}\"", object.version);
    ([(header::ETAG, tag)], json(&shown(object))).into_response()
}

fn kind_of(kinds: &str) -> Result<Kind, Fault> {
    let plural = Kind::ALL
        .into_iter()
        .find(|kind| format!("{}s", kind.word()) == kinds);
    plural.ok_or_else(|| {
        Fault::new(
            StatusCode::NOT_FOUND,
            format!("there is nothing called {kinds}"),
        )
    })
}

fn key_of(kinds: &str, name: &str) -> Result<Key, Fault> {
    let kind = kind_of(kinds)?;
    let name: Name = name
        .parse()
        .map_err(|why| Fault::new(StatusCode::NOT_FOUND, why))?;
    Ok(Key::new(kind, name))
}

fn present(view: &View, key: &Key) -> Result<Versioned<Spec>, Fault> {
    view.get(key)
        .ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, format!("there is no {key}")))
}

/// `?labels=site=lab,floor=2`
async fn list(
    State(registry): State<Registry>,
    Path(kinds): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Fault> {
    let kind = kind_of(&kinds)?;
    let labels = labels_of(query.as_deref().unwrap_or_default())?;
    let view = registry.view();
    let objects = view.of_kind(kind).into_iter();
    let chosen: Vec<Value> = objects
        .filter(|one| one.has_labels(&labels))
        .map(shown)
        .collect();
    Ok(json(&json!({
        "items": chosen, "revision": view.revision(), "away-since": away(&view), "unreadable": unreadable(&view, kind),
    })))
}

/// What is in Kafka of this kind and is not shown, or only as it was before.
fn unreadable(view: &View, kind: Kind) -> Vec<Value> {
    let all = view.objects().unreadable.iter();
    let of_kind = all.filter(|(key, _)| key.split('/').next() == Some(kind.word()));
    of_kind
        .map(|(key, one)| json!({"key": key, "version": one.version, "why": one.why}))
        .collect()
}

fn away(view: &View) -> Option<String> {
    view.away_since().map(|since| since.to_string())
}

fn unknown_query(query: &str, known: &str) -> Fault {
    let why = format!("?{query} is not known here: {known}");
    Fault::new(StatusCode::BAD_REQUEST, why)
}

fn labels_of(query: &str) -> Result<Labels, Fault> {
    if query.is_empty() {
        return Ok(Labels::new());
    }
    let list = query
        .strip_prefix("labels=")
        .ok_or_else(|| unknown_query(query, "labels=NAME=TEXT,..."))?;
    let list = list
        .replace("%3D", "=")
        .replace("%3d", "=")
        .replace("%2C", ",")
        .replace("%2c", ",");
    let pairs = list.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, text) = pair.split_once('=').ok_or_else(|| {
            Fault::new(
                StatusCode::BAD_REQUEST,
                format!("{pair:?} is not NAME=TEXT"),
            )
        })?;
        Ok((name.to_owned(), text.to_owned()))
    });
    pairs.collect()
}

async fn read(
    State(registry): State<Registry>,
    Path((kinds, name)): Path<(String, String)>,
) -> Result<Response, Fault> {
    present(&registry.view(), &key_of(&kinds, &name)?).map(tagged)
}

async fn put(
    State(registry): State<Registry>,
    Path((kinds, name)): Path<(String, String)>,
    headers: HeaderMap,
    extensions: Extensions,
    body: String,
) -> Result<Response, Fault> {
    let key = key_of(&kinds, &name)?;
    let document = one_document(&body, &key)?;
    let seen = precondition::seen(&headers, document.replaces, &registry.view(), &key)?;
    let status = if seen == 0 {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    write(
        &registry,
        &[Change::put(document.object, seen)],
        &extensions,
    )
    .await?;
    let object = present(&registry.view(), &key)?;
    Ok((status, tagged(object)).into_response())
}

/// JSON merge patch (RFC 7396) of `labels` and `spec`.
async fn patch(
    State(registry): State<Registry>,
    Path((kinds, name)): Path<(String, String)>,
    headers: HeaderMap,
    extensions: Extensions,
    body: String,
) -> Result<Response, Fault> {
    let key = key_of(&kinds, &name)?;
    let view = registry.view();
    let seen = precondition::seen(&headers, None, &view, &key)?;
    let view = as_new_as(&registry, view, &key, seen).await?;
    let patch: Value = serde_json::from_str(&body).map_err(|cause| {
        Fault::at(
            cause.line() as u64,
            cause.column() as u64,
            format!("the patch is no JSON: {cause}"),
        )
    })?;
    if let Some(Unreadable { version, why }) = view.objects().unreadable(&key) {
        let why = format!(
            "version {version} of {key} cannot be read here ({why}): write it as a whole, or use the release that wrote it"
        );
        return Err(Fault::new(StatusCode::CONFLICT, why));
    }
    let mut value = serde_json::to_value(present(&view, &key)?.object()).unwrap_or_default();
    merge(&mut value, &patch);
    let document = one_document(&value.to_string(), &key).map_err(Fault::without_place)?;
    write(
        &registry,
        &[Change::put(document.object, seen)],
        &extensions,
    )
    .await?;
    present(&registry.view(), &key).map(tagged)
}

/// The view, once it has the version that the asker has seen, from another gateway maybe: what is made of an older one and
/// written as if it were this one would undo the changes between.
async fn as_new_as(
    registry: &Registry,
    view: Arc<View>,
    key: &Key,
    seen: Version,
) -> Result<Arc<View>, Fault> {
    if view.revision() >= seen {
        return Ok(view);
    }
    registry.view_from(seen).await.ok_or_else(|| {
        let why = format!(
            "version {seen} of {key} is not known here yet (only what came up to {}): nothing was written; ask again",
            registry.view().revision()
        );
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else {
        return;
    };
    for (name, value) in patch {
        match value.is_null() {
            true => drop(target.remove(name)),
            false => merge(target.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

async fn delete(
    State(registry): State<Registry>,
    Path((kinds, name)): Path<(String, String)>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, Fault> {
    let key = key_of(&kinds, &name)?;
    let view = registry.view();
    let seen = precondition::seen(&headers, None, &view, &key)?;
    let view = as_new_as(&registry, view, &key, seen).await?;
    if view.objects().version(&key) == 0 {
        return Err(Fault::new(
            StatusCode::NOT_FOUND,
            format!("there is no {key}"),
        ));
    }
    let keys = [key.clone()];
    let mut changes = vec![Change::delete(key, seen)];
    changes.extend(Change::delete_assignments(view.objects(), &keys));
    write(&registry, &changes, &extensions).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Any number of documents, as `framelane apply`; `?dry-run=true` only looks.
async fn apply(
    State(registry): State<Registry>,
    RawQuery(query): RawQuery,
    extensions: Extensions,
    body: String,
) -> Result<Response, Fault> {
    // Nothing may be written because of a slip in how it was asked not to be.
    let is_dry = match query.as_deref().unwrap_or_default() {
        "" | "dry-run=false" => false,
        "dry-run=true" => true,
        other => return Err(unknown_query(other, "dry-run=true or dry-run=false")),
    };
    let documents = yaml::parse_documents(&body, "body").map_err(Fault::of_text)?;
    let view = registry.view();
    let change = |document: yaml::Document| {
        let present = view.objects().version(&document.object.key());
        Change::put(document.object, document.replaces.unwrap_or(present))
    };
    let changes: Vec<Change> = documents.into_iter().map(change).collect();
    let written = match is_dry {
        true => preview(view.objects(), &changes).map_err(Fault::of_problems)?,
        false => {
            registry
                .write_as(&changes, &author(&registry, &extensions))
                .await?
        }
    };
    Ok(json(&json!({"items": written, "dry-run": is_dry})))
}

/// The one document that the text must be, about this object.
fn one_document(text: &str, key: &Key) -> Result<yaml::Document, Fault> {
    let mut documents = yaml::parse_documents(text, "body")
        .map_err(Fault::of_text)?
        .into_iter();
    let (Some(document), None) = (documents.next(), documents.next()) else {
        return Err(Fault::at(
            0,
            0,
            "the body has to be exactly one document".to_owned(),
        ));
    };
    match document.object.key() == *key {
        true => Ok(document),
        false => {
            let about = document.object.key();
            Err(Fault::at(
                document.line,
                1,
                format!("the document is about {about}, the address about {key}"),
            ))
        }
    }
}

async fn write(
    registry: &Registry,
    changes: &[Change],
    extensions: &Extensions,
) -> Result<(), Fault> {
    registry
        .write_as(changes, &author(registry, extensions))
        .await?;
    Ok(())
}

fn author(registry: &Registry, extensions: &Extensions) -> String {
    let given = extensions.get::<Author>().map(|Author(name)| name.clone());
    given.unwrap_or_else(|| format!("{} (web)", registry.author()))
}

async fn instances(State(registry): State<Registry>) -> Response {
    let view = registry.view();
    let all: Vec<_> = view.instances().collect();
    json(&json!({"items": all, "away-since": away(&view)}))
}

/// What the pipelines do, resolved to topics.
async fn flows(State(registry): State<Registry>) -> Response {
    let view = registry.view();
    let flow = |flow: &crate::flows::Flow| {
        let processor = match &flow.kind {
            FlowKind::Process { processor } => Some(processor.as_str()),
            FlowKind::Join => None,
        };
        json!({
            "pipeline": flow.pipeline, "stage": flow.stage.name, "version": flow.stage.version,
            "inputs": flow.inputs, "topics": flow.topics, "output": flow.output, "processor": processor,
        })
    };
    let all: Vec<Value> = view.flows().iter().map(flow).collect();
    json(&json!({"items": all, "revision": view.revision()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_changes_adds_and_removes() {
        let mut value = json!({"spec": {"a": 1, "b": {"c": 2, "d": 3}, "l": [1]}});
        merge(
            &mut value,
            &json!({"spec": {"a": null, "b": {"c": 5}, "l": [2, 3], "n": {"x": null, "y": 1}}}),
        );
        assert_eq!(
            value,
            json!({"spec": {"b": {"c": 5, "d": 3}, "l": [2, 3], "n": {"y": 1}}})
        );
    }

    #[test]
    fn labels_are_read_from_a_query() {
        let found = labels_of("labels=site%3Dlab,floor=2").unwrap();
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [
                ("floor".to_owned(), "2".to_owned()),
                ("site".to_owned(), "lab".to_owned()),
            ]
        );
        assert!(labels_of("labels=site").is_err());
        assert!(labels_of("label=site%3Dlab").is_err(), "a slip shows all");
    }
}
