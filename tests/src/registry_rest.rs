//! The registry over HTTP, called without a server.

use crate::harness::shared;
use crate::registry_lab::{open, put, registry_name, runtime, source};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use futures::StreamExt;
use registry::rest;
use serde_json::{Value, json};
use std::time::Duration;
use tower::Service;

/// Status, ETag and body.
type Answer = (StatusCode, String, Value);

async fn ask(
    router: &Router,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let answer = router.clone().call(request).await.unwrap();
    let tag = answer
        .headers()
        .get("etag")
        .map(|tag| tag.to_str().unwrap().to_owned());
    let status = answer.status();
    let bytes = to_bytes(answer.into_body(), 64 << 20).await.unwrap();
    let value = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).unwrap()
    };
    (status, tag.unwrap_or_default(), value)
}

const CAM0: &str = "{kind: Source, name: cam0, spec: {host: h, url: 'rtsp://a:b@127.0.0.1:1/x', options: {fps: 30}}}";

#[test]
fn objects_are_made_read_changed_and_deleted_by_their_versions() {
    runtime().block_on(async {
        let registry = open(shared(), &registry_name()).await;
        let router = rest::router(registry);
        let path = "/api/v1/sources/cam0";
        let (status, _, _) = ask(&router, Method::GET, path, &[], "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let (status, _, said) = ask(&router, Method::PUT, path, &[], CAM0).await;
        assert_eq!(status, StatusCode::PRECONDITION_REQUIRED, "{said}");
        let (status, first, said) =
            ask(&router, Method::PUT, path, &[("if-none-match", "*")], CAM0).await;
        assert_eq!(status, StatusCode::CREATED, "{said}");
        let (status, _, said) =
            ask(&router, Method::PUT, path, &[("if-none-match", "*")], CAM0).await;
        assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{said}");

        let (_, tag, shown) = ask(&router, Method::GET, path, &[], "").await;
        assert_eq!(tag, first);
        assert_eq!(shown["spec"]["url"], "rtsp://a:***@127.0.0.1:1/x");
        // What was shown can be changed and sent back: its version is in it.
        let mut next = shown.clone();
        next["spec"]["options"]["fps"] = json!(25);
        let (status, second, said) = ask(&router, Method::PUT, path, &[], &next.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{said}");
        assert_ne!(first, second);

        let (status, _, said) =
            ask(&router, Method::PUT, path, &[("if-match", &first)], CAM0).await;
        assert_eq!(status, StatusCode::PRECONDITION_FAILED);
        assert_eq!(said["stale"][0]["changes"][0]["path"], "spec.options.fps");
        assert_eq!(said["stale"][0]["changes"][0]["new"], 25);

        let patch = r#"{"labels": {"site": "lab"}, "spec": {"options": {"fps": null}}}"#;
        let (status, third, said) = ask(
            &router,
            Method::PATCH,
            path,
            &[("if-match", &second)],
            patch,
        )
        .await;
        assert_eq!(status, StatusCode::OK, "{said}");
        assert_eq!(
            (said["labels"]["site"].as_str(), said["spec"].get("options")),
            (Some("lab"), None)
        );
        let (_, _, list) = ask(
            &router,
            Method::GET,
            "/api/v1/sources?labels=site%3Dlab",
            &[],
            "",
        )
        .await;
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
        let (_, _, list) = ask(
            &router,
            Method::GET,
            "/api/v1/sources?labels=site=home",
            &[],
            "",
        )
        .await;
        assert_eq!(list["items"].as_array().unwrap().len(), 0);

        let (status, _, _) = ask(&router, Method::DELETE, path, &[("if-match", &second)], "").await;
        assert_eq!(status, StatusCode::PRECONDITION_FAILED);
        let (status, _, _) = ask(&router, Method::DELETE, path, &[("if-match", &third)], "").await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    });
}

#[test]
fn a_patch_is_made_of_the_version_seen_although_another_gateway_gave_it() {
    runtime().block_on(async {
        let topic = registry_name();
        let (there, here) = (open(shared(), &topic).await, open(shared(), &topic).await);
        let first = put(&there, source("cam0", 30), 0).await.unwrap();
        let second = put(&there, source("cam0", 25), first).await.unwrap();
        // A write that nobody comes between takes as much of the topic as the one before.
        let third = 2 * second - first;
        let router = rest::router(here.clone());
        let path = "/api/v1/sources/cam0";
        let seen = format!("\"{third}\"");
        let patch = r#"{"labels": {"site": "lab"}}"#;
        let headers = [("if-match", seen.as_str())];
        let patched = ask(&router, Method::PATCH, path, &headers, patch);
        let meanwhile = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            put(&there, source("cam0", 20), second).await.unwrap()
        };
        let ((status, _, said), written) = tokio::join!(patched, meanwhile);
        assert_eq!(written, third, "the version that was asked for");
        assert_eq!(status, StatusCode::OK, "{said}");
        assert_eq!(said["labels"]["site"], "lab");
        assert_eq!(
            said["spec"]["options"]["fps"], 20,
            "the change between is kept"
        );
        // What never comes is not waited for for ever.
        let headers = [("if-match", "\"1000000\"")];
        let (status, _, said) = ask(&router, Method::PATCH, path, &headers, patch).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{said}");
        assert!(
            said["error"].as_str().unwrap().contains("version 1000000"),
            "{said}"
        );
    });
}

#[test]
fn with_a_consumer_goes_what_is_assigned_to_it() {
    runtime().block_on(async {
        let registry = open(shared(), &registry_name()).await;
        let router = rest::router(registry.clone());
        let text = format!(
            "{CAM0}\n---\n{{kind: Consumer, name: m, spec: {{}}}}\n---\n{{kind: Assignment, name: m, spec: {{sources: [cam0]}}}}\n"
        );
        let (status, _, said) = ask(&router, Method::POST, "/api/v1/apply", &[], &text).await;
        assert_eq!(status, StatusCode::OK, "{said}");
        let before = registry.view().revision();
        let path = "/api/v1/consumers/m";
        let (_, tag, _) = ask(&router, Method::GET, path, &[], "").await;
        let (status, _, said) = ask(&router, Method::DELETE, path, &[("if-match", &tag)], "").await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{said}");
        let view = registry.view();
        assert_eq!((view.consumers().count(), view.assignments().count()), (0, 0));
        assert_eq!(view.sources().count(), 1);
        let write = view.revision() - before;
        assert!(write <= 3, "two records and the end of one transaction: {write}");
    });
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    runtime().block_on(async {
        let registry = open(shared(), &registry_name()).await;
        let router = rest::router(registry);
        let new = [("if-none-match", "*")];
        let path = "/api/v1/consumers/m";
        let (status, _, said) = ask(
            &router,
            Method::PUT,
            path,
            &new,
            "kind: Consumer\nname: m\nspec:\n  sink: x\n",
        )
        .await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            (said["line"].as_u64(), said["column"].as_u64()),
            (Some(4), Some(3)),
            "{said}"
        );
        let json =
            "{\n  \"kind\": \"Consumer\",\n  \"name\": \"m\",\n  \"spec\": {\"sinks\": 5}\n}";
        let (status, _, said) = ask(&router, Method::PUT, path, &new, json).await;
        assert_eq!(
            (status, said["line"].as_u64()),
            (StatusCode::UNPROCESSABLE_ENTITY, Some(4)),
            "{said}"
        );
        let (status, _, said) = ask(
            &router,
            Method::PUT,
            path,
            &new,
            "{kind: Consumer, name: n, spec: {}}",
        )
        .await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{said}");
        let wrong = "{kind: Assignment, name: m, spec: {sources: [nothing]}}";
        let (status, _, said) =
            ask(&router, Method::PUT, "/api/v1/assignments/m", &new, wrong).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert_eq!(said["problems"][0]["key"], "assignment/m");
        for path in [
            "/api/v1/sauces",
            "/api/v1/source",
            "/api/v1/sources/a%20b",
            "/api/v1/sources/..",
        ] {
            let (status, _, said) = ask(&router, Method::GET, path, &[], "").await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {said}");
        }
    });
}

#[test]
fn many_documents_are_applied_at_once_or_only_looked_at() {
    runtime().block_on(async {
        let registry = open(shared(), &registry_name()).await;
        let router = rest::router(registry.clone());
        let text = format!("{CAM0}\n---\n{{kind: Consumer, name: m, spec: {{}}}}\n");
        let (status, _, said) = ask(
            &router,
            Method::POST,
            "/api/v1/apply?dry-run=true",
            &[],
            &text,
        )
        .await;
        assert_eq!(
            (status, said["items"][1]["outcome"].as_str()),
            (StatusCode::OK, Some("created")),
            "{said}"
        );
        for slip in ["dry-run=yes", "dry_run=true", "dry-run=true&x=1"] {
            let path = format!("/api/v1/apply?{slip}");
            let (status, _, said) = ask(&router, Method::POST, &path, &[], &text).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{slip}: {said}");
        }
        assert!(registry.view().objects().is_empty());
        let (status, _, _) = ask(&router, Method::POST, "/api/v1/apply", &[], &text).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(registry.view().objects().len(), 2);
    });
}

#[test]
fn every_path_of_the_openapi_document_is_answered() {
    runtime().block_on(async {
        let registry = open(shared(), &registry_name()).await;
        put(&registry, source("x", 30), 0).await.unwrap();
        let router = rest::router(registry);
        let (_, _, document) = ask(&router, Method::GET, "/api/v1/openapi.json", &[], "").await;
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.len() >= 16);
        for (path, operations) in paths {
            for method in operations
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "parameters")
            {
                let uri = path.replace("{name}", "x");
                let request = Request::builder()
                    .method(method.to_uppercase().as_str())
                    .uri(&uri)
                    .body(Body::from("nonsense: ["))
                    .unwrap();
                let status = router.clone().call(request).await.unwrap().status();
                assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {uri}");
                let is_there = status != StatusCode::NOT_FOUND || path.contains("{name}");
                assert!(is_there, "{method} {uri}: {status}");
            }
        }
    });
}

#[test]
fn a_listener_is_told_what_there_is_and_then_what_changes() {
    runtime().block_on(async {
        let registry = open(shared(), &registry_name()).await;
        let version = put(&registry, source("cam0", 30), 0).await.unwrap();
        let request = Request::builder()
            .uri("/api/v1/watch")
            .body(Body::empty())
            .unwrap();
        let answer = rest::router(registry.clone()).call(request).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut stream = answer.into_body().into_data_stream();
        let mut heard = String::new();
        let mut hear = async |word: &str| {
            while !heard.contains(word) {
                let part = tokio::time::timeout(Duration::from_secs(60), stream.next()).await;
                let part = part.unwrap_or_else(|_| panic!("waited for {word} in\n{heard}"));
                heard.push_str(std::str::from_utf8(&part.unwrap().unwrap()).unwrap());
            }
            std::mem::take(&mut heard)
        };
        let first = hear("event: synced").await;
        assert!(first.contains(&format!("\"version\":{version}")), "{first}");
        let next = put(&registry, source("cam0", 25), version).await.unwrap();
        let second = hear("event: object").await;
        assert!(second.contains(&format!("\"version\":{next}")), "{second}");
    });
}
