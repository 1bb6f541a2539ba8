//! Server-sent events: what is known of each frame, without its picture.

use super::App;
use super::ask::Ask;
use super::viewer::{Viewer, Way};
use crate::access::Pass;
use crate::address::Address;
use crate::refusal::Refusal;
use crate::supply::From;
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use pipeline::kafka::Position;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// A comment, so that nobody between takes the silence of a source for a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon a browser asks again by itself.
const BEGIN: &str = "retry: 1000\n\n";

/// `/events/{topic}/{source}`
pub async fn open(
    State(app): State<Arc<App>>,
    Extension(pass): Extension<Pass>,
    Path((topic, source)): Path<(String, String)>,
    headers: HeaderMap,
    ask: Ask,
) -> Result<Response, Refusal> {
    let address = Address::new(&topic, &source)?;
    let mut wish = ask.wish()?;
    if let (From::At(_), Some(offset)) = (wish.from, last_offset(&headers)) {
        wish.from = From::At(Position::Offset(offset + 1)); // a replay goes on where it was cut off
    }
    let viewer = Viewer::seat(&app, &pass, &address, (Way::Events, wish)).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(events(viewer))).into_response())
}

/// `PARTITION:OFFSET`, as we sent it.
fn last_offset(headers: &HeaderMap) -> Option<i64> {
    let id = headers.get("last-event-id")?.to_str().ok()?;
    let (_, offset) = id.split_once(':')?;
    offset
        .parse()
        .ok()
        .filter(|offset| (0..i64::MAX).contains(offset))
}

fn events(viewer: Viewer) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
    let first = stream::iter([Ok(Bytes::from_static(BEGIN.as_bytes()))]);
    let rest = stream::unfold(Box::new(viewer), |mut viewer| async move {
        match tokio::time::timeout(KEEP_ALIVE, viewer.next()).await {
            Err(_) => Some((Ok(Bytes::from_static(b":\n\n")), viewer)),
            Ok(Ok(given)) => {
                let event = given.shot.event();
                viewer.count_sent(event.len());
                Some((Ok(event), viewer))
            }
            Ok(Err(over)) => {
                tracing::debug!(%over, "a viewer leaves");
                None
            }
        }
    });
    futures::StreamExt::chain(first, rest)
}
