//! What can go wrong between "I need a Kafka" and "here it is".

/// The variants differ by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address was given, nothing that speaks Kafka answers there.
    #[error(
        "no Kafka answers at {bootstrap_servers}: {reason}; start it, correct the address, \
         or unset KAFKA_BOOTSTRAP_SERVERS to have one started"
    )]
    Unreachable {
        bootstrap_servers: String,
        reason: String,
    },

    /// This way of having a Kafka is not open on this machine; another may be.
    #[error("no Kafka from {way}: {reason}")]
    Unavailable { way: &'static str, reason: String },

    /// Neither way is open.
    #[error(
        "no Kafka to be had here. From Docker: {docker}. From its jars: {jars}. \
         Do what one of them says, or set KAFKA_BOOTSTRAP_SERVERS to a Kafka that runs"
    )]
    NoWay { docker: String, jars: String },

    /// A node was started and did not become ready.
    #[error("Kafka did not start: {reason}; the last lines of its log:\n{log_tail}")]
    Start { reason: String, log_tail: String },

    /// Faults are only done to a Kafka that was started here.
    #[error("will not {action} the Kafka at {bootstrap_servers}: it was given, not started here")]
    NotOurs {
        action: &'static str,
        bootstrap_servers: String,
    },

    /// A value of the environment that means nothing.
    #[error("{name}={value} is not understood: use {expected}")]
    Environment {
        name: &'static str,
        value: String,
        expected: &'static str,
    },

    /// A topic could not be made, changed or deleted.
    #[error("the topic {name}: {source}")]
    Topic {
        name: String,
        source: std::io::Error,
    },

    /// An access rule could not be made.
    #[error("making the access rule {acl}: {source}")]
    Acl { acl: String, source: std::io::Error },

    /// A command or a file failed.
    #[error("{what}: {source}")]
    Io {
        what: String,
        source: std::io::Error,
    },

    /// A command ran and refused.
    #[error("{command} failed: {stderr}")]
    Command { command: String, stderr: String },
}

impl Error {
    /// For `map_err`: names what was attempted.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
