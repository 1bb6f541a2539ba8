//! The page: files in the binary, shown as they are.

use crate::refusal::Refusal;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Name, type, content.
const ASSETS: [(&str, &str, &str); 10] = [
    ("style.css", CSS, include_str!("../../page/style.css")),
    ("icon.svg", SVG, include_str!("../../page/icon.svg")),
    ("main.js", JS, include_str!("../../page/main.js")),
    ("stream.js", JS, include_str!("../../page/stream.js")),
    ("canvas.js", JS, include_str!("../../page/canvas.js")),
    ("wall.js", JS, include_str!("../../page/wall.js")),
    ("tile.js", JS, include_str!("../../page/tile.js")),
    ("large.js", JS, include_str!("../../page/large.js")),
    ("registry.js", JS, include_str!("../../page/registry.js")),
    ("words.js", JS, include_str!("../../page/words.js")),
];

/// `/`
pub async fn index() -> Response {
    serve(HTML, include_str!("../../page/index.html"))
}

/// `/assets/{name}`
pub async fn asset(Path(name): Path<String>) -> Result<Response, Refusal> {
    let found = ASSETS.iter().find(|(asset, _, _)| *asset == name);
    let (_, media_type, content) = found.ok_or_else(not_there)?;
    Ok(serve(media_type, content))
}

/// Anything else.
pub async fn nothing() -> Refusal {
    not_there()
}

fn not_there() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "there is nothing here; / is the page, gateway --help lists the addresses",
    )
}

fn serve(media_type: &'static str, content: &'static str) -> Response {
    // They are of this version of the gateway: asked for anew each time, they are never of two.
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}
