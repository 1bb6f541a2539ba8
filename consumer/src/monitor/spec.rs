//! The names of actions on the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use ureq::http::Uri;

/// An action as given on the command line.
#[derive(Clone, PartialEq, Eq)]
pub enum ActionSpec {
    /// A shell command for each alert.
    Exec(String),
    /// A POST request for each alert.
    Webhook(String),
    /// A JSON line for each alert.
    Jsonl(PathBuf),
    /// A record for each alert.
    Topic(String),
}

impl FromStr for ActionSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match (kind, rest) {
            ("exec" | "webhook" | "jsonl" | "topic", "") => {
                Err(format!("{kind} needs more: {kind}:{}", wanted(kind)))
            }
            ("exec", command) => Ok(Self::Exec(command.to_owned())),
            ("webhook", url) => webhook(url),
            ("jsonl", path) => Ok(Self::Jsonl(path.into())),
            ("topic", name) => Ok(Self::Topic(name.to_owned())),
            _ => Err("expected exec:COMMAND, webhook:URL, jsonl:FILE or topic:NAME".to_owned()),
        }
    }
}

fn wanted(kind: &str) -> &'static str {
    match kind {
        "exec" => "COMMAND",
        "webhook" => "URL",
        "jsonl" => "FILE",
        _ => "NAME",
    }
}

fn webhook(url: &str) -> Result<ActionSpec, String> {
    let uri: Uri = url.parse().map_err(|cause| format!("{url}: {cause}"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => {
            Ok(ActionSpec::Webhook(url.to_owned()))
        }
        _ => Err(format!(
            "{url}: expected http://HOST/... or https://HOST/..."
        )),
    }
}

/// As it was given, but for what a URL may hold of secrets behind its host.
impl fmt::Display for ActionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec(command) => write!(f, "exec:{command}"),
            Self::Webhook(url) => write!(f, "webhook:{}", without_secrets(url)),
            Self::Jsonl(path) => write!(f, "jsonl:{}", path.display()),
            Self::Topic(name) => write!(f, "topic:{name}"),
        }
    }
}

impl fmt::Debug for ActionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `https://hooks.example/T0/B1/secret` to `https://hooks.example/...`.
pub fn without_secrets(url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else {
        return "...".to_owned();
    };
    let scheme = uri.scheme_str().unwrap_or_default();
    let host = uri.host().unwrap_or_default();
    let port = uri
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    let rest = match uri.path_and_query().map(|rest| rest.as_str()) {
        None | Some("/") => "",
        Some(_) => "/...",
    };
    format!("{scheme}://{host}{port}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read_as_they_are_written() {
        for text in [
            "exec:notify-send 'a: b'",
            "jsonl:a/b.jsonl",
            "topic:alerts",
            "webhook:http://h:81",
        ] {
            assert_eq!(text.parse::<ActionSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn actions_of_no_kind_and_without_a_place_are_refused() {
        for bad in [
            "",
            "exec",
            "exec:",
            "webhook:",
            "webhook:/path",
            "webhook:ftp://h/",
            "mail:me",
            "jsonl:",
        ] {
            assert!(bad.parse::<ActionSpec>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_webhook_is_never_shown_with_its_secrets() {
        let action: ActionSpec = "webhook:https://me:word@h.example:8443/T0/secret?key=1"
            .parse()
            .unwrap();
        assert_eq!(action.to_string(), "webhook:https://h.example:8443/...");
        assert_eq!(format!("{action:?}"), action.to_string());
    }
}
