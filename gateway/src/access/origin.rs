//! Which pages may use this gateway in a visitor's browser.
//!
//! A browser sends requests for any page that asks for them, and its user's cookies with them; it says for whom in the
//! header `Origin`. A page may also give its own name the address of this machine (DNS rebinding): then the header `Host`
//! has a name that is not ours.

use std::collections::BTreeSet;

/// `https://cams.example`, `http://localhost:8000`
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an origin: write SCHEME://HOST or SCHEME://HOST:PORT, e.g. https://cams.example"
)]
pub struct BadOrigin(String);

/// The pages that may. Ours always may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    allowed: BTreeSet<String>,
}

/// What a request says of the page behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker<'a> {
    /// No page, or our own.
    Own,
    /// A page that was allowed by name.
    Allowed(&'a str),
    /// Any other.
    Stranger,
}

impl Origins {
    /// # Errors
    /// One of them is no origin.
    pub fn new(allowed: &[String]) -> Result<Self, BadOrigin> {
        let check = |text: &String| {
            let (scheme, host) = text
                .split_once("://")
                .ok_or_else(|| BadOrigin(text.clone()))?;
            let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
            match matches!(scheme, "http" | "https")
                && !host.is_empty()
                && host.chars().all(is_plain)
            {
                true => Ok(text.to_ascii_lowercase()),
                false => Err(BadOrigin(text.clone())),
            }
        };
        let allowed = allowed.iter().map(check).collect::<Result<_, _>>()?;
        Ok(Self { allowed })
    }

    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty()
    }

    /// True if visitors come by HTTPS, by way of a proxy.
    pub fn has_https(&self) -> bool {
        self.allowed
            .iter()
            .any(|origin| origin.starts_with("https://"))
    }

    /// By the headers of a request.
    pub fn asker<'a>(&self, origin: Option<&'a str>, host: Option<&str>) -> Asker<'a> {
        let Some(origin) = origin else {
            return Asker::Own; // no browser, or a page's plain GET, which cannot read what it gets
        };
        let lower = origin.to_ascii_lowercase();
        if self.allowed.contains(&lower) {
            return Asker::Allowed(origin);
        }
        let own = lower.split_once("://").map(|(_, authority)| authority);
        match own.is_some() && own == host.map(str::to_ascii_lowercase).as_deref() {
            true => Asker::Own,
            false => Asker::Stranger,
        }
    }

    /// Whether this may be our own name: an address, localhost, or the host of an allowed origin.
    pub fn knows_host(&self, host: Option<&str>) -> bool {
        let Some(host) = host.map(str::to_ascii_lowercase) else {
            return true; // HTTP/1.0 knows no Host; browsers do
        };
        let name = match host.strip_prefix('[') {
            Some(_) => return true, // an IPv6 address
            None => host
                .rsplit_once(':')
                .map_or(host.as_str(), |(name, _)| name),
        };
        let of = |origin: &String| {
            let authority = origin
                .split_once("://")
                .map_or("", |(_, authority)| authority);
            authority == host || authority.split(':').next() == Some(name)
        };
        name == "localhost"
            || name.parse::<std::net::IpAddr>().is_ok()
            || self.allowed.iter().any(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(allowed: &[&str]) -> Origins {
        let allowed: Vec<_> = allowed.iter().map(|text| (*text).to_owned()).collect();
        Origins::new(&allowed).expect("origins")
    }

    #[test]
    fn only_our_own_page_and_those_allowed_may_ask() {
        let origins = origins(&["https://Cams.example"]);
        let asker = |origin| origins.asker(origin, Some("127.0.0.1:8080"));
        assert_eq!(asker(None), Asker::Own);
        assert_eq!(asker(Some("http://127.0.0.1:8080")), Asker::Own);
        assert_eq!(
            asker(Some("https://cams.example")),
            Asker::Allowed("https://cams.example")
        );
        for stranger in [
            "http://127.0.0.1:9",
            "https://cams.example.evil",
            "null",
            "",
            "http://cams.example",
        ] {
            assert_eq!(asker(Some(stranger)), Asker::Stranger, "{stranger}");
        }
        assert_eq!(origins.asker(Some("http://x"), None), Asker::Stranger);
    }

    #[test]
    fn a_host_name_that_nobody_gave_us_is_not_ours() {
        let origins = origins(&["https://cams.example"]);
        for ours in [
            "127.0.0.1:8080",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8080",
            "10.0.0.7",
            "cams.example",
            "cams.example:443",
        ] {
            assert!(origins.knows_host(Some(ours)), "{ours}");
        }
        for other in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ] {
            assert!(!origins.knows_host(Some(other)), "{other}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in [
            "cams.example",
            "https://",
            "https://a/b",
            "ftp://a",
            "*",
            "https://a b",
        ] {
            assert!(Origins::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
