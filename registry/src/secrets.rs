//! Passwords in addresses: hidden where objects are shown, and kept where a hidden one comes back.

use crate::model::{Input, Object, Spec};

/// What stands in place of a password.
pub const HIDDEN: &str = "***";

/// The object as it may be shown.
pub fn hide(mut object: Object) -> Object {
    hide_in(&mut object.spec);
    object
}

/// As [`hide`], in place.
pub fn hide_in(spec: &mut Spec) {
    if let Some(url) = url_of(spec)
        && let Some((before, _, after)) = split(url)
    {
        *url = format!("{before}{HIDDEN}{after}");
    }
}

/// Puts the password of the present object in place of a hidden one. An error if there is none to put there.
pub(crate) fn restore(spec: &mut Spec, present: Option<&Spec>) -> Result<(), String> {
    let Some(url) = url_of(spec) else {
        return Ok(());
    };
    let Some((before, HIDDEN, after)) = split(url) else {
        return Ok(());
    };
    let mut present = present.cloned();
    let old = present.as_mut().and_then(url_of);
    // Only where all else is the same: a password must not go to another host.
    match old.as_deref().and_then(|old| split(old)) {
        Some((old_before, password, old_after)) if (old_before, old_after) == (before, after) => {
            *url = format!("{before}{password}{after}");
            Ok(())
        }
        _ => Err(format!(
            "url: {HIDDEN} stands for a password that is not known for this address: write the password itself"
        )),
    }
}

fn url_of(spec: &mut Spec) -> Option<&mut String> {
    match spec {
        Spec::Source(source) => match &mut source.input {
            Input::Url(url) => Some(url),
            _ => None,
        },
        _ => None,
    }
}

/// What comes before the password, the password, what comes after.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let authority = url.find("://")? + 3;
    let end = url[authority..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |end| authority + end);
    let at = authority + url[authority..end].rfind('@')?;
    let colon = authority + url[authority..at].find(':')?;
    Some((&url[..=colon], &url[colon + 1..at], &url[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str) -> Object {
        let text = format!("{{kind: Source, name: a, spec: {{host: h, url: \"{url}\"}}}}");
        crate::yaml::parse(&text, "x").unwrap().remove(0)
    }

    #[test]
    fn a_password_is_hidden_and_found_again() {
        let real = source("rtsp://admin:s3:cr@t@cam.lan:554/live?a=b@c");
        let mut shown = hide(real.clone());
        assert_eq!(shown, source("rtsp://admin:***@cam.lan:554/live?a=b@c"));
        restore(&mut shown.spec, Some(&real.spec)).unwrap();
        assert_eq!(shown, real);
    }

    #[test]
    fn a_password_does_not_go_to_another_host() {
        let real = source("rtsp://admin:secret@cam.lan/live");
        let mut other = source("rtsp://admin:***@evil.lan/live");
        assert!(restore(&mut other.spec, Some(&real.spec)).is_err());
        assert!(restore(&mut other.spec, None).is_err());
    }

    #[test]
    fn addresses_without_a_password_stay() {
        for url in [
            "rtsp://cam.lan:554/live",
            "rtsp://admin@cam.lan/a:b",
            "http://h/?x=a:b@c",
        ] {
            assert_eq!(hide(source(url)), source(url));
        }
    }
}
