//! Tokens: who has one may watch the topics that it names, until it expires.
//!
//! ```yaml
//! - name: lobby screen            # for the log; never the token itself
//!   sha256: 2bb80d537b1da3e3...   # of the token (printf %s TOKEN | sha256sum), or token: TOKEN
//!   topics: ["cam*", lobby.people]
//!   expires: 2027-01-01T00:00:00Z # or never
//!   registry: write               # what it may do under /api/v1: none (default), read or write
//! ```

use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Anything shorter is guessed.
const SHORTEST_TOKEN: usize = 16;

/// What somebody may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// For the log.
    pub name: Arc<str>,
    topics: Arc<[String]>,
    pub expires: Option<Timestamp>,
    pub registry: RegistryRight,
}

/// What a token may do in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistryRight {
    #[default]
    None,
    Read,
    Write,
}

impl Pass {
    /// Of those who bring no token: every topic. The registry says what other machines run, so it is written from this
    /// machine only.
    pub fn anybody(listen: IpAddr) -> Self {
        let registry = match listen.to_canonical().is_loopback() {
            true => RegistryRight::Write,
            false => RegistryRight::Read,
        };
        Self {
            name: "anybody".into(),
            topics: [String::from("*")].into(),
            expires: None,
            registry,
        }
    }

    pub fn allows(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| matches(pattern, topic))
    }

    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// The passes of a file, by the hash of their tokens: what is compared is not the secret.
#[derive(Debug)]
pub struct TokenFile {
    passes: HashMap<[u8; 32], Pass>,
}

/// Why a file of tokens cannot be used. A configuration error.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    #[error("--tokens {path}: {cause}", path = path.display())]
    Unreadable {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error("--tokens {path}: {why}", path = path.display())]
    Unfit { path: PathBuf, why: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    token: Option<String>,
    sha256: Option<String>,
    topics: Vec<String>,
    expires: Option<String>,
    #[serde(default)]
    registry: RegistryRight,
}

impl TokenFile {
    /// # Errors
    /// It cannot be read, or does not say what it should.
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        let text = std::fs::read_to_string(path).map_err(|cause| TokenFileError::Unreadable {
            path: path.to_owned(),
            cause,
        })?;
        Self::parse(&text).map_err(|why| TokenFileError::Unfit {
            path: path.to_owned(),
            why,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let entries: Vec<Entry> = serde_saphyr::from_str(text).map_err(|cause| no_list(&cause))?;
        let mut passes = HashMap::new();
        for entry in entries {
            let name = entry.name.clone();
            let (hash, pass) = entry.checked().map_err(|why| format!("{name}: {why}"))?;
            if passes.insert(hash, pass).is_some() {
                return Err(format!("{name}: another entry has the same token"));
            }
        }
        match passes.is_empty() {
            true => Err("it holds no token, so nobody could see anything".to_owned()),
            false => Ok(Self { passes }),
        }
    }

    /// The pass of a token, unless it has expired.
    pub fn pass(&self, token: &str, now: Timestamp) -> Option<&Pass> {
        let pass = self.passes.get(&hash(token))?;
        (!pass.has_expired(now)).then_some(pass)
    }
}

/// What is wrong, and where, without what is there: that may be a token.
fn no_list(cause: &serde_saphyr::Error) -> String {
    let text = cause.without_snippet().to_string();
    let names_a_field = ["unknown field", "missing field"]
        .iter()
        .any(|what| text.contains(what));
    let what = match (names_a_field, cause.location()) {
        (true, _) => text,
        (false, Some(place)) => format!("line {} column {}", place.line(), place.column()),
        (false, None) => "no YAML".to_owned(),
    };
    format!("{what}. Write a list of entries with name, sha256 or token, topics and expires")
}

impl Entry {
    fn checked(self) -> Result<([u8; 32], Pass), String> {
        let hash = match (&self.token, &self.sha256) {
            (Some(token), None) if token.len() < SHORTEST_TOKEN => {
                return Err(format!(
                    "a token of less than {SHORTEST_TOKEN} characters can be guessed"
                ));
            }
            (Some(token), None) if !token.bytes().all(is_token_byte) => {
                return Err("a token is made of letters, digits and -._~+/=".to_owned());
            }
            (Some(token), None) => hash(token),
            (None, Some(hex)) => from_hex(hex).ok_or("sha256 is not 64 hexadecimal digits")?,
            _ => return Err("give either sha256 or token".to_owned()),
        };
        if self.topics.is_empty() {
            return Err("topics names none; write [\"*\"] for all".to_owned());
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-*".contains(c);
        if let Some(bad) = self.topics.iter().find(|topic| !topic.chars().all(legal)) {
            return Err(format!(
                "{bad:?} is no pattern of topics: a name, in which * stands for anything"
            ));
        }
        let time = |text: &str| {
            text.parse::<Timestamp>().map_err(|cause| {
                format!("expires {text:?} is no time such as 2027-01-01T00:00:00Z: {cause}")
            })
        };
        let pass = Pass {
            name: self.name.into(),
            topics: self.topics.into(),
            expires: self.expires.as_deref().map(time).transpose()?,
            registry: self.registry,
        };
        Ok((hash, pass))
    }
}

/// What may stand behind `Bearer` (RFC 6750), and in a cookie.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// `*` stands for any characters, also none. Linear in both: a pattern is its operator's, a name may be anybody's.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty(); // no star
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "correct-horse-battery";

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn patterns_of_topics_match_whole_names() {
        for (pattern, name, expected) in [
            ("cam0", "cam0", true),
            ("cam0", "cam01", false),
            ("cam*", "cam", true),
            ("cam*", "cam0.people", true),
            ("*.people", "cam0.people", true),
            ("*.people", "people", false),
            ("c*0*e", "cam0.people", true),
            ("a*a", "a", false),
            ("*", "anything", true),
            ("cam*", "xcam0", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn without_a_token_the_registry_is_written_from_this_machine_only() {
        for (listen, expected) in [
            ("127.0.0.1", RegistryRight::Write),
            ("::1", RegistryRight::Write),
            ("::ffff:127.0.0.1", RegistryRight::Write),
            ("0.0.0.0", RegistryRight::Read),
            ("::", RegistryRight::Read),
            ("192.0.2.1", RegistryRight::Read),
        ] {
            let pass = Pass::anybody(listen.parse().expect("an address"));
            assert_eq!(pass.registry, expected, "{listen}");
            assert!(pass.allows("cam0"), "{listen}");
        }
    }

    #[test]
    fn a_token_opens_its_topics_until_it_expires() {
        let yaml = format!(
            "- {{name: a, token: {TOKEN}, topics: [cam*], expires: 2027-01-01T00:00:00Z}}\n- name: b\n  topics: ['*']\n  \
             registry: read\n  sha256: {}\n",
            hash("another-long-secret")
                .map(|byte| format!("{byte:02x}"))
                .concat()
        );
        let file = TokenFile::parse(&yaml).expect("a file");
        let pass = file
            .pass(TOKEN, time("2026-12-31T23:59:59Z"))
            .expect("in time");
        assert!(pass.allows("cam7") && !pass.allows("lobby"));
        assert_eq!(file.pass(TOKEN, time("2027-01-01T00:00:00Z")), None);
        assert_eq!(file.pass("wrong", time("2026-01-01T00:00:00Z")), None);
        let by_hash = file.pass("another-long-secret", time("2050-01-01T00:00:00Z"));
        assert_eq!(by_hash.map(|pass| pass.registry), Some(RegistryRight::Read));
    }

    #[test]
    fn a_file_that_would_protect_nothing_is_refused() {
        for (yaml, words) in [
            ("[]", "no token"),
            ("- {name: a, topics: ['*']}", "either"),
            ("- {name: a, token: short, topics: ['*']}", "guessed"),
            (
                "- {name: a, token: 'with spaces and ünicode', topics: ['*']}",
                "letters",
            ),
            ("- {name: a, sha256: abc, topics: ['*']}", "hexadecimal"),
            (
                "- {name: a, token: correct-horse-battery, topics: []}",
                "none",
            ),
            (
                "- {name: a, token: correct-horse-battery, topics: ['^cam']}",
                "pattern",
            ),
            (
                "- {name: a, token: correct-horse-battery, topics: ['*'], expires: soon}",
                "expires",
            ),
            ("- correct-horse-battery", "line 1"),
            ("- {name: a, topics: correct-horse-battery}", "line 1"),
            (
                "- {name: a, token: correct-horse-battery, topics: ['*'], expire: x}",
                "expire",
            ),
        ] {
            let error = TokenFile::parse(yaml).expect_err(yaml);
            assert!(error.contains(words), "{yaml}: {error}");
            assert!(!error.contains(TOKEN), "secrets are shown nowhere: {error}");
        }
    }
}
