//! The newest picture.

use super::App;
use super::ask::Ask;
use crate::access::Pass;
use crate::address::Address;
use crate::live::{Decoded, decode, resolve};
use crate::pictures::Variant;
use crate::refusal::Refusal;
use crate::shot::Shot;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// `/snapshot/{topic}/{source}.jpg`: of a source that is watched what its viewers see, else what Kafka has.
pub async fn newest(
    State(app): State<Arc<App>>,
    Extension(_): Extension<Pass>,
    Path((topic, file)): Path<(String, String)>,
    ask: Ask,
) -> Result<Response, Refusal> {
    let not_found = |why: String| Refusal::new(StatusCode::NOT_FOUND, why);
    let source = file
        .strip_suffix(".jpg")
        .ok_or_else(|| not_found("write /snapshot/TOPIC/SOURCE.jpg".to_owned()))?;
    let address = Address::new(&topic, source)?;
    let variant = ask.wish()?.variant;
    let live = app.sources.live.hub(&address).and_then(|hub| hub.newest());
    let shot = match live.filter(|shot| shot.picture().is_some()) {
        Some(shot) => shot,
        None => stored(&app, &address)
            .await?
            .ok_or_else(|| not_found(format!("{address} has no frame")))?,
    };
    let shot = app.sources.live.tools().painter.one(shot, variant).await;
    let (media_type, picture) = match shot.shown() {
        Some(shown) => shown,
        None => {
            return Err(not_found(format!(
                "the newest frame of {address} has no picture"
            )));
        }
    };
    let id = shot.frame().and_then(|frame| frame.id.as_ref());
    let headers = [
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (
            HeaderName::from_static("x-frame"),
            id.map(ToString::to_string).unwrap_or_default(),
        ),
    ];
    Ok((headers, picture.bytes.clone()).into_response())
}

async fn stored(app: &App, address: &Address) -> Result<Option<Arc<Shot>>, Refusal> {
    let Some(record) = app.sources.places.newest(address).await? else {
        return Ok(None);
    };
    let Decoded { mut content, .. } = decode(&record);
    resolve(&app.sources.live.tools().resolver, &mut content).await;
    let shot = Arc::new(Shot::new(&record.lane, record.offset, content));
    let painter = &app.sources.live.tools().painter;
    Ok(Some(painter.one(shot, Variant::ORIGINAL).await))
}
