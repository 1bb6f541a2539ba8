//! In front of every address: whose page asks, by which name, and with which token. And the headers of every answer.

use super::App;
use super::session::COOKIE;
use crate::access::{Asker, Pass, RegistryRight};
use crate::refusal::Refusal;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use std::sync::Arc;

/// The page loads nothing from elsewhere, and nobody frames it.
const CONTENT_POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; \
                              form-action 'self'; frame-ancestors 'self'";
/// The longest token that is looked at.
const LONGEST_TOKEN: usize = 1_024;

/// See the module.
pub async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let allowed = match check_page(&app, request.headers()) {
        Ok(allowed) => allowed,
        Err(refusal) => return with_headers(&app, refusal.into_response(), None),
    };
    let response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        match check_token(&app, &request) {
            Ok(pass) => {
                // In whose name the registry is written.
                let author = registry::rest::Author(pass.name.to_string());
                request.extensions_mut().insert(author);
                request.extensions_mut().insert(pass);
                next.run(request).await
            }
            Err(refusal) => refusal.into_response(),
        }
    };
    with_headers(&app, response, allowed)
}

/// The origin that was allowed by name, if that is who asks.
fn check_page(app: &App, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let (origin, host) = (text(header::ORIGIN), text(header::HOST));
    // A name that we do not know can only do harm where no token is asked for.
    if app.tokens.is_none() && !app.origins.knows_host(host) {
        let why = "this gateway does not know itself by this name: start it with --allow-origin and the page's address";
        return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, why));
    }
    if headers.contains_key(header::ORIGIN) && origin.is_none() {
        return Err(Refusal::bad("the header Origin is no text"));
    }
    match app.origins.asker(origin, host) {
        Asker::Own => Ok(None),
        Asker::Allowed(_) => Ok(headers.get(header::ORIGIN).cloned()),
        Asker::Stranger => {
            let why = "pages of this origin may not use this gateway: start it with --allow-origin and the page's origin";
            Err(Refusal::new(StatusCode::FORBIDDEN, why))
        }
    }
}

/// What the visitor may see, once it is clear that it may see this.
fn check_token(app: &App, request: &Request) -> Result<Pass, Refusal> {
    let path = request.uri().path();
    let is_public = path == "/"
        || path.starts_with("/assets/")
        || matches!(path, "/health" | "/ready" | "/session");
    let Some(tokens) = app.tokens.as_ref().filter(|_| !is_public) else {
        check_anybody(&app.anybody, path, request.method())?;
        return Ok(app.anybody.clone());
    };
    let headers = request.headers();
    let token = bearer(headers).or_else(|| cookie(headers)).ok_or_else(|| {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "a token is needed: Authorization: Bearer TOKEN",
        )
    })?;
    let pass = tokens
        .pass(token, Timestamp::now())
        .cloned()
        .ok_or_else(|| {
            metrics::counter!("framelane_gateway_tokens_refused_total").increment(1);
            Refusal::new(
                StatusCode::UNAUTHORIZED,
                "this token opens nothing (any more)",
            )
        })?;
    check_topic(&pass, path, request.method())?;
    Ok(pass)
}

/// What is declared runs on other machines, so writing it takes more than reaching this port.
fn check_anybody(anybody: &Pass, path: &str, method: &Method) -> Result<(), Refusal> {
    let is_registry = path.split('/').nth(1) == Some("api");
    match !is_registry || anybody.registry >= needed_in_registry(method) {
        true => Ok(()),
        false => {
            let why = "without tokens a gateway that is reached from other machines does not write the registry: start it \
                       with --tokens, and give the writer's token registry: write";
            Err(Refusal::new(StatusCode::FORBIDDEN, why))
        }
    }
}

fn needed_in_registry(method: &Method) -> RegistryRight {
    match *method {
        Method::GET | Method::HEAD => RegistryRight::Read,
        _ => RegistryRight::Write,
    }
}

/// By the path as it came.
fn check_topic(pass: &Pass, path: &str, method: &Method) -> Result<(), Refusal> {
    let mut words = path.split('/').skip(1);
    let refuse = |why: String| Err(Refusal::new(StatusCode::FORBIDDEN, why));
    match (words.next().unwrap_or_default(), words.next()) {
        // Written in another way it could look like a name that the token opens. Legal names need no other way.
        ("live" | "ws" | "events" | "snapshot" | "sources", Some(topic))
            if topic.contains('%') || !pass.allows(topic) =>
        {
            refuse(format!("the token {} does not open this topic", pass.name))
        }
        ("api", _) => match pass.registry >= needed_in_registry(method) {
            true => Ok(()),
            false => refuse(format!(
                "the token {} does not open the registry for this",
                pass.name
            )),
        },
        _ => Ok(()),
    }
}

/// The token of `Authorization: Bearer TOKEN`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer"))
        .then_some(token.trim())
        .filter(|token| is_token(token))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter();
    let mut pairs = all
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, token) = pairs.find(|(name, _)| *name == COOKIE)?;
    is_token(token).then_some(token)
}

fn is_token(text: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(is_legal)
}

fn with_headers(app: &App, mut response: Response, allowed: Option<HeaderValue>) -> Response {
    let headers = response.headers_mut();
    let mut say = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    say(header::REFERRER_POLICY, "no-referrer");
    say(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    let resources = match app.origins.is_empty() {
        true => "same-origin",
        false => "cross-origin", // other pages were allowed, and a picture does not say for whom it is asked
    };
    say(
        HeaderName::from_static("cross-origin-resource-policy"),
        resources,
    );
    if let Some(origin) = allowed {
        say(header::VARY, "Origin");
        say(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, last-event-id",
        );
        say(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, POST, PUT, DELETE",
        );
        say(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn tokens_come_as_a_header_or_as_a_cookie() {
        for (value, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("Bearer a b", None),
            ("Bearer \"", None),
        ] {
            assert_eq!(
                bearer(&headers(header::AUTHORIZATION, value)),
                expected,
                "{value}"
            );
        }
        for (value, expected) in [
            ("framelane-token=abc", Some("abc")),
            ("x=1; framelane-token=abc; y=2", Some("abc")),
            ("framelane-token=", None),
            ("xframelane-token=abc", None),
        ] {
            assert_eq!(cookie(&headers(header::COOKIE, value)), expected, "{value}");
        }
        assert_eq!(
            bearer(&headers(
                header::AUTHORIZATION,
                &format!("Bearer {}", "x".repeat(2_000))
            )),
            None
        );
    }
}
