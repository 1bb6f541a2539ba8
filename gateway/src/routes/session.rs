//! A token as a cookie: pages cannot put headers on pictures and WebSockets, and a token in an address would be in every
//! log. The cookie is the token itself, so any gateway behind the same address knows it.

use super::App;
use super::guard::bearer;
use crate::refusal::Refusal;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use std::sync::Arc;

/// The cookie's name.
pub const COOKIE: &str = "framelane-token";

/// `POST /session` with `Authorization: Bearer TOKEN`.
pub async fn begin(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Refusal> {
    let Some(tokens) = &app.tokens else {
        return Ok(StatusCode::NO_CONTENT.into_response()); // nobody needs one
    };
    let refused = || {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "this token opens nothing (any more)",
        )
    };
    let token = bearer(&headers).ok_or_else(refused)?;
    tokens.pass(token, Timestamp::now()).ok_or_else(refused)?;
    Ok((
        [(header::SET_COOKIE, cookie(&app, token, ""))],
        StatusCode::NO_CONTENT,
    )
        .into_response())
}

/// `DELETE /session`
pub async fn end(State(app): State<Arc<App>>) -> Response {
    let gone = cookie(&app, "", "; Max-Age=0");
    ([(header::SET_COOKIE, gone)], StatusCode::NO_CONTENT).into_response()
}

fn cookie(app: &App, value: &str, more: &str) -> String {
    let secure = if app.is_secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}")
}
