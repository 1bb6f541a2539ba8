//! The addresses.

mod ask;
mod events;
mod guard;
mod listener;
mod live;
mod page;
mod probes;
mod session;
mod snapshot;
mod sources;
mod viewer;
mod websocket;

use crate::access::{Origins, Pass, TokenFile};
use crate::supply::Sources;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use viewer::Seats;

/// What every request may need.
#[derive(Debug)]
pub struct App {
    pub sources: Sources,
    pub tokens: Option<Arc<TokenFile>>,
    /// Of those who bring none.
    pub anybody: Pass,
    pub origins: Origins,
    pub seats: Seats,
    /// True if what we set as a cookie travels by HTTPS only.
    pub is_secure: bool,
    pub shutdown: CancellationToken,
}

/// All of them, and those of the registry.
pub fn router(app: Arc<App>) -> Router {
    let registered = app.sources.registered.as_ref();
    let registry = registered.map_or_else(Router::new, |registered| {
        let bound = from_fn_with_state(Arc::clone(&app), listener::bound);
        registered.router().layer(bound)
    });
    let router = Router::new()
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/sources", get(sources::all))
        .route("/sources/{topic}/{source}", get(sources::one))
        .route("/live/{topic}/{file}", get(live::mjpeg))
        .route("/ws/{topic}/{source}", get(websocket::open))
        .route("/events/{topic}/{source}", get(events::open))
        .route("/snapshot/{topic}/{file}", get(snapshot::newest))
        .route("/session", post(session::begin).delete(session::end))
        .route("/health", get(probes::health))
        .route("/ready", get(probes::ready))
        .fallback(page::nothing)
        .with_state(Arc::clone(&app));
    router
        .merge(registry)
        .layer(from_fn_with_state(app, guard::guard))
}

pub use viewer::Seats as ViewerSeats;
