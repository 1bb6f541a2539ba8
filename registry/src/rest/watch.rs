//! Everything at first, then every change, as server-sent events.
//!
//! A listener that is slow misses steps between, never the state that they led to: each event is made from what it was
//! told last and what is there now, when it has room for it.

use super::shown;
use crate::fleet::{Liveness, Seen};
use crate::model::{Key, Kind, Version};
use crate::store::Registry;
use crate::view::View;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// Without news, a comment: whoever has gone is noticed, and nothing between gives the connection up.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// `object` {key, version, object (null: deleted)}, `instance` {id, instance (null: gone)}, `kafka` {away-since}, and once
/// `synced`, when everything that there was has been told.
pub(super) async fn watch(State(registry): State<Registry>) -> Response {
    let listener = Listener {
        changes: registry.changes(),
        told: Told::default(),
    };
    let stream = futures::stream::unfold(listener, |mut listener| async move {
        let events = listener.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(events)), listener))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::from_stream(stream)).into_response()
}

struct Listener {
    changes: Receiver<Arc<View>>,
    told: Told,
}

impl Listener {
    /// None when the registry is closed.
    async fn next(&mut self) -> Option<String> {
        loop {
            let view = Arc::clone(&self.changes.borrow_and_update());
            let events = self.told.events(&view);
            if !events.is_empty() {
                return Some(events);
            }
            match tokio::time::timeout(KEEP_ALIVE, self.changes.changed()).await {
                Ok(changed) => changed.ok()?,
                Err(_) => return Some(": still here\n\n".to_owned()),
            }
        }
    }
}

/// What a listener knows.
#[derive(Default)]
struct Told {
    objects: BTreeMap<Key, Version>,
    instances: BTreeMap<String, (jiff::Timestamp, Liveness)>,
    away_since: Option<jiff::Timestamp>,
    is_synced: bool,
    revision: Option<u64>,
}

impl Told {
    fn events(&mut self, view: &View) -> String {
        let mut events = String::new();
        if self.revision.replace(view.revision()) != Some(view.revision()) {
            self.objects(view, &mut events);
        }
        self.instances(view, &mut events);
        if self.away_since != view.away_since() {
            self.away_since = view.away_since();
            let since = self.away_since.map(|since| since.to_string());
            event(&mut events, "kafka", &json!({"away-since": since}));
        }
        if !std::mem::replace(&mut self.is_synced, true) {
            event(&mut events, "synced", &json!({"revision": view.revision()}));
        }
        events
    }

    fn objects(&mut self, view: &View, events: &mut String) {
        let mut gone = std::mem::take(&mut self.objects);
        for kind in Kind::ALL {
            for object in view.of_kind(kind) {
                let (key, version) = (object.key(), object.version);
                if gone.remove(&key) != Some(version) {
                    let data = json!({"key": key.to_string(), "version": version, "object": shown(object)});
                    event(events, "object", &data);
                }
                self.objects.insert(key, version);
            }
        }
        for key in gone.keys() {
            let data = json!({"key": key.to_string(), "version": 0, "object": null});
            event(events, "object", &data);
        }
    }

    fn instances(&mut self, view: &View, events: &mut String) {
        let mut gone = std::mem::take(&mut self.instances);
        for seen in view.instances() {
            let Seen {
                last_seen,
                liveness,
                instance,
                ..
            } = seen;
            let said = (*last_seen, *liveness);
            if gone.remove(&instance.id) != Some(said) {
                event(
                    events,
                    "instance",
                    &json!({"id": instance.id, "instance": seen}),
                );
            }
            self.instances.insert(instance.id.clone(), said);
        }
        for id in gone.keys() {
            event(events, "instance", &json!({"id": id, "instance": null}));
        }
    }
}

fn event(events: &mut String, name: &str, data: &Value) {
    // JSON has no line breaks of its own.
    events.push_str(&format!("event: {name}\ndata: {data}\n\n"));
}
