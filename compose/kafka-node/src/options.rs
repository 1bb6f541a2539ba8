//! What a caller may choose about its Kafka.

use std::path::PathBuf;

use crate::Error;
use crate::guard::Guard;

/// Which ways of starting a Kafka are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// Docker if it can, else the jars.
    #[default]
    Any,
    Docker,
    Jars,
}

/// How to have a Kafka. `Options::default()` starts one by any way and reports on standard error.
#[derive(Debug, Clone)]
pub struct Options {
    /// A Kafka that runs already; nothing is started then.
    pub bootstrap_servers: Option<String>,
    pub way: Way,
    /// The largest heap of the node's Java, MiB. 1,024 carries a few hundred 100 KB frames a second with short pauses.
    /// From jars, 512 and less starts sooner and then is slower: for tests.
    pub heap_mib: u32,
    /// For tests of faults, from jars only: the addresses (`host:port`) of proxies. For each one the node listens at one
    /// more port, and tells the clients that come through it that it is at the proxy's address. A cluster of n nodes
    /// takes them in turn: the i-th is for node i modulo n.
    pub proxies: Vec<String>,
    /// From jars only: a folder for the node's data instead of a temporary one. It must exist, and is left as it is.
    pub data: Option<PathBuf>,
    /// From jars only: listeners that ask who comes, beside the plain one.
    pub guard: Option<Guard>,
    /// Told what takes long or falls back, one sentence each.
    pub report: fn(&str),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bootstrap_servers: None,
            way: Way::Any,
            heap_mib: 1024,
            proxies: Vec::new(),
            data: None,
            guard: None,
            report: |text| eprintln!("kafka: {text}"),
        }
    }
}

impl Options {
    /// Reads `KAFKA_BOOTSTRAP_SERVERS` (an address) and `FRAMELANE_KAFKA` (`any`, `docker` or `jars`).
    ///
    /// # Errors
    /// [`Error::Environment`] if `FRAMELANE_KAFKA` holds anything else.
    pub fn from_env() -> Result<Self, Error> {
        let read = |name| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.trim().is_empty())
        };
        let way = parse_way(read("FRAMELANE_KAFKA").as_deref())?;
        Ok(Self {
            bootstrap_servers: read("KAFKA_BOOTSTRAP_SERVERS"),
            way,
            ..Self::default()
        })
    }

    /// The first option given that a container cannot have.
    pub(crate) fn for_jars_only(&self) -> Option<&'static str> {
        let given = [
            (!self.proxies.is_empty(), "a proxy"),
            (self.data.is_some(), "a folder for the data"),
            (self.guard.is_some(), "a guarded listener"),
        ];
        given
            .into_iter()
            .find_map(|(is_given, name)| is_given.then_some(name))
    }

    pub(crate) fn say(&self, text: &str) {
        (self.report)(text);
    }
}

fn parse_way(value: Option<&str>) -> Result<Way, Error> {
    match value {
        None | Some("any") => Ok(Way::Any),
        Some("docker") => Ok(Way::Docker),
        Some("jars") => Ok(Way::Jars),
        Some(other) => Err(Error::Environment {
            name: "FRAMELANE_KAFKA",
            value: other.to_owned(),
            expected: "any, docker or jars",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_way_is_refused_and_the_known_ones_are_named() {
        assert_eq!(parse_way(None).unwrap(), Way::Any);
        assert_eq!(parse_way(Some("jars")).unwrap(), Way::Jars);
        let error = parse_way(Some("podman")).unwrap_err().to_string();
        assert_eq!(
            error,
            "FRAMELANE_KAFKA=podman is not understood: use any, docker or jars"
        );
    }
}
