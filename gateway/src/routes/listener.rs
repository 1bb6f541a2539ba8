//! Whoever listens to the registry: on a seat as every viewer, until its token expires or the gateway stops.

use super::App;
use super::viewer::{Stay, Way};
use crate::access::Pass;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use std::sync::Arc;

/// The only answer of the registry that does not end by itself.
const WATCH: &str = "/api/v1/watch";

/// In front of the registry's addresses; all but one pass.
pub async fn bound(
    State(app): State<Arc<App>>,
    Extension(pass): Extension<Pass>,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().path() != WATCH {
        return next.run(request).await;
    }
    let stay = match Stay::begin(&app, &pass, Way::Registry) {
        Ok(stay) => stay,
        Err(refusal) => return refusal.into_response(),
    };
    let (head, body) = next.run(request).await.into_parts();
    let over = async move {
        let over = stay.over().await;
        tracing::debug!(%over, "a listener to the registry leaves");
    };
    let events = body.into_data_stream().take_until(Box::pin(over));
    Response::from_parts(head, Body::from_stream(events))
}
