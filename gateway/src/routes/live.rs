//! MJPEG: what browsers and players show without any code.

use super::App;
use super::ask::Ask;
use super::viewer::{Viewer, Way};
use crate::access::Pass;
use crate::address::Address;
use crate::refusal::Refusal;
use crate::shot::BOUNDARY;
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use std::convert::Infallible;
use std::sync::Arc;

/// `/live/{topic}/{source}.mjpg`
pub async fn mjpeg(
    State(app): State<Arc<App>>,
    Extension(pass): Extension<Pass>,
    Path((topic, file)): Path<(String, String)>,
    ask: Ask,
) -> Result<Response, Refusal> {
    let source = file
        .strip_suffix(".mjpg")
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "write /live/TOPIC/SOURCE.mjpg"))?;
    let address = Address::new(&topic, source)?;
    let viewer = Viewer::seat(&app, &pass, &address, (Way::Mjpeg, ask.wish()?)).await?;
    let content_type = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
    let headers = [
        (header::CONTENT_TYPE, content_type.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that keep answers back until they are whole would show nothing.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(parts(viewer))).into_response())
}

/// The first boundary, then a part for every picture.
fn parts(viewer: Viewer) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
    enum State {
        Begin(Box<Viewer>),
        Go(Box<Viewer>),
    }
    stream::unfold(State::Begin(Box::new(viewer)), |state| async move {
        let mut viewer = match state {
            State::Begin(viewer) => {
                let begin = Bytes::from(format!("--{BOUNDARY}\r\n"));
                return Some((Ok(begin), State::Go(viewer)));
            }
            State::Go(viewer) => viewer,
        };
        loop {
            match viewer.next().await {
                Ok(given) => {
                    if let Some(part) = given.shot.part() {
                        viewer.count_sent(part.len());
                        return Some((Ok(part), State::Go(viewer)));
                    }
                }
                Err(over) => {
                    tracing::debug!(%over, "a viewer leaves");
                    return None;
                }
            }
        }
    })
}
