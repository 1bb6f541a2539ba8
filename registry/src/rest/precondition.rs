//! Which version the asker has seen.

use super::answer::Fault;
use crate::model::{Key, Version};
use crate::view::View;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};

/// From `If-Match` or `If-None-Match`, else from the document itself. Without any of them a change is refused: it could undo
/// one that the asker has not seen.
pub(super) fn seen(
    headers: &HeaderMap,
    of_document: Option<Version>,
    view: &View,
    key: &Key,
) -> Result<Version, Fault> {
    let present = view.objects().version(key);
    match (
        text(headers, &header::IF_MATCH)?,
        text(headers, &header::IF_NONE_MATCH)?,
        of_document,
    ) {
        (Some("*"), None, _) if present == 0 => Err(Fault::new(
            StatusCode::PRECONDITION_FAILED,
            format!("there is no {key}"),
        )),
        (Some("*"), None, _) => Ok(present),
        (Some(tag), None, _) => version(tag),
        (None, Some("*"), _) => Ok(0),
        (None, None, Some(version)) => Ok(version),
        (None, None, None) => Err(Fault::new(
            StatusCode::PRECONDITION_REQUIRED,
            "say which version is to be replaced: If-Match: \"VERSION\" (the ETag), or If-None-Match: * for a new object",
        )),
        _ => Err(Fault::new(
            StatusCode::BAD_REQUEST,
            "give If-Match: \"VERSION\", or If-None-Match: *, and not both",
        )),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Fault> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value.to_str().map(str::trim);
    text.map(Some)
        .map_err(|_| Fault::new(StatusCode::BAD_REQUEST, format!("{name} is no text")))
}

fn version(tag: &str) -> Result<Version, Fault> {
    let plain = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
    plain.parse().map_err(|_| {
        Fault::new(
            StatusCode::BAD_REQUEST,
            format!("If-Match: {tag} is no version: write \"7\""),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(
        pairs: &[(HeaderName, &str)],
        of_document: Option<Version>,
    ) -> Result<Version, StatusCode> {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        let key = "source/a".parse().unwrap();
        seen(&headers, of_document, &View::empty(), &key).map_err(|fault| {
            use axum::response::IntoResponse;
            fault.into_response().status()
        })
    }

    #[test]
    fn the_version_seen_comes_from_headers_or_the_document() {
        assert_eq!(ask(&[(header::IF_MATCH, "\"7\"")], None), Ok(7));
        assert_eq!(ask(&[(header::IF_MATCH, "W/\"7\"")], Some(3)), Ok(7));
        assert_eq!(ask(&[(header::IF_NONE_MATCH, "*")], None), Ok(0));
        assert_eq!(ask(&[], Some(3)), Ok(3));
        assert_eq!(ask(&[], None), Err(StatusCode::PRECONDITION_REQUIRED));
        assert_eq!(
            ask(&[(header::IF_MATCH, "*")], None),
            Err(StatusCode::PRECONDITION_FAILED)
        );
        assert_eq!(
            ask(&[(header::IF_MATCH, "x")], None),
            Err(StatusCode::BAD_REQUEST)
        );
        let both = [(header::IF_MATCH, "\"7\""), (header::IF_NONE_MATCH, "*")];
        assert_eq!(ask(&both, None), Err(StatusCode::BAD_REQUEST));
    }
}
