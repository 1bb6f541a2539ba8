//! For supervisors and load balancers.

use super::App;
use crate::refusal::Refusal;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// An answer of Kafka's that is no older than this is good enough.
const FRESH: Duration = Duration::from_secs(10);

/// `/health`: the process runs.
pub async fn health() -> Json<Value> {
    Json(json!({ "healthy": true }))
}

/// `/ready`: Kafka answers, and there is room for viewers.
pub async fn ready(State(app): State<Arc<App>>) -> Result<Json<Value>, Refusal> {
    let not_ready = |why: String| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why);
    if app.shutdown.is_cancelled() {
        return Err(not_ready("the gateway stops".to_owned()));
    }
    let (viewers, most) = (app.seats.taken(), app.seats.most());
    if viewers >= most {
        return Err(not_ready(format!("all {most} seats are taken")));
    }
    match app.sources.places.answers(FRESH).await {
        Ok(()) => Ok(Json(
            json!({ "ready": true, "viewers": viewers, "max_viewers": most }),
        )),
        Err(why) => Err(not_ready(why)),
    }
}
