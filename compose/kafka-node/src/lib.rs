//! The one place that finds a Kafka, or starts one.
//!
//! ```text
//! find_or_start:  an address given  ->  a Docker engine  ->  Apache Kafka from its jars
//! ```
//!
//! What was started here is stopped when the [`Kafka`] is dropped, and also when the process that started it is
//! killed (see [`leash`]), unless [`Kafka::leave_running`] says otherwise. Blocking calls, each bounded in time.

mod acl;
mod cluster;
mod docker;
mod error;
mod guard;
mod jars;
mod java;
pub mod leash;
mod options;
mod ports;
mod probe;
mod process;
mod settings;
mod skipped;
mod topic;
mod wait;
mod wire;

use std::path::Path;

pub use acl::{Acl, Pattern, Resource};
pub use cluster::Cluster;
use docker::DockerNode;
pub use error::Error;
pub use guard::{Guard, GuardedListener, ListenerTls, Login, User};
use jars::JarsNode;
pub use java::find as find_java;
pub use options::{Options, Way};
pub use ports::free as free_ports;
pub use probe::probe;
pub use skipped::skipped;
pub use topic::{delete_topic, grow_topic};

/// The Apache Kafka release that is started, by any way. Not 4.3.0 or 4.3.1: a node of them that dies while a transaction is
/// being committed may forget half of it when it comes back (KAFKA-20734; see `docs/decisions.md`).
pub const KAFKA_VERSION: &str = "4.2.1";

/// A Kafka that answers at [`bootstrap_servers`](Self::bootstrap_servers).
#[derive(Debug)]
pub struct Kafka {
    bootstrap_servers: String,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Given,
    Docker(DockerNode),
    Jars(JarsNode),
}

impl Kafka {
    /// The first of: the address in `options`, a Docker engine, Kafka's jars. A way that is not open on this machine is
    /// reported (with the reason) and the next one is tried.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if an address was given and nothing answers there (never falls back: a wrong address
    /// must not go unnoticed), [`Error::NoWay`] if no way is open, [`Error::Start`] if a Kafka was started and died.
    pub fn find_or_start(options: &Options) -> Result<Self, Error> {
        if let Some(address) = &options.bootstrap_servers {
            return Self::given(address);
        }
        match options.way {
            Way::Docker => Self::start_docker(options),
            Way::Jars => Self::start_jars(options),
            Way::Any => match Self::start_docker(options) {
                Err(Error::Unavailable { way, reason }) => {
                    options.say(&format!("no Kafka from {way} ({reason}); trying its jars"));
                    match Self::start_jars(options) {
                        Err(Error::Unavailable { reason: jars, .. }) => Err(Error::NoWay {
                            docker: reason,
                            jars,
                        }),
                        other => other,
                    }
                }
                other => other,
            },
        }
    }

    /// A Kafka that somebody else runs. Waits up to 10 s for it to answer.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if none of the addresses answers.
    pub fn given(bootstrap_servers: &str) -> Result<Self, Error> {
        probe::wait_for_any(bootstrap_servers, wait::GIVEN_LIMIT)?;
        Ok(Self {
            bootstrap_servers: bootstrap_servers.to_owned(),
            node: Node::Given,
        })
    }

    /// One KRaft node in a container of the image `apache/kafka`, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is no engine or no image, [`Error::Start`] if the node does not answer in time.
    pub fn start_docker(options: &Options) -> Result<Self, Error> {
        let node = DockerNode::start(options)?;
        Ok(Self {
            bootstrap_servers: node.bootstrap_servers(),
            node: Node::Docker(node),
        })
    }

    /// One KRaft node as a process of this machine's Java, on a free port of 127.0.0.1, its data in a temporary folder.
    /// The jars are fetched with Maven once and kept in the cache folder.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without Java 17 or, for the first fetch, Maven; [`Error::Start`] if the node does not
    /// answer in time.
    pub fn start_jars(options: &Options) -> Result<Self, Error> {
        let node = JarsNode::start(options)?;
        Ok(Self {
            bootstrap_servers: node.bootstrap_servers(),
            node: Node::Jars(node),
        })
    }

    /// `host:port[,host:port...]`, as every Kafka client takes it.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Where the proxies of [`Options::proxies`] are to connect to, in their order.
    pub fn proxied(&self) -> &[String] {
        match &self.node {
            Node::Jars(node) => node.proxied(),
            Node::Given | Node::Docker(_) => &[],
        }
    }

    /// The address of a listener of [`Options::guard`].
    pub fn guarded(&self, name: &str) -> Option<&str> {
        match &self.node {
            Node::Jars(node) => node.guarded(name),
            Node::Given | Node::Docker(_) => None,
        }
    }

    /// Where it comes from, for messages: "given", "Docker container 1a2b..." or "jars, pid 42".
    pub fn provider(&self) -> String {
        match &self.node {
            Node::Given => "given".to_owned(),
            Node::Docker(node) => format!("Docker container {}", node.short_id()),
            Node::Jars(node) => node.pid().map_or_else(
                || "jars, killed".to_owned(),
                |pid| format!("jars, pid {pid}"),
            ),
        }
    }

    /// The node's own log, if it is a file here.
    pub fn log_file(&self) -> Option<&Path> {
        match &self.node {
            Node::Jars(node) => Some(node.log_file()),
            Node::Given | Node::Docker(_) => None,
        }
    }

    /// Kills the node as `kill -9` would. Its data stays for [`restart`](Self::restart).
    ///
    /// # Errors
    /// [`Error::NotOurs`] for a given Kafka.
    pub fn kill(&mut self) -> Result<(), Error> {
        match &mut self.node {
            Node::Given => Err(self.not_ours("kill")),
            Node::Docker(node) => node.kill(),
            Node::Jars(node) => {
                node.kill();
                Ok(())
            }
        }
    }

    /// Starts the node again on the same port with the same data, killing it first if it runs, and returns once it answers.
    ///
    /// # Errors
    /// [`Error::NotOurs`] for a given Kafka, [`Error::Start`] if it does not answer in time.
    pub fn restart(&mut self) -> Result<(), Error> {
        match &mut self.node {
            Node::Given => Err(self.not_ours("restart")),
            Node::Docker(node) => node.restart(),
            Node::Jars(node) => node.restart(),
        }
    }

    /// Freezes the node: connections stay open, nothing is answered.
    ///
    /// # Errors
    /// [`Error::NotOurs`] for a given Kafka.
    pub fn pause(&mut self) -> Result<(), Error> {
        match &mut self.node {
            Node::Given => Err(self.not_ours("pause")),
            Node::Docker(node) => node.pause(),
            Node::Jars(node) => node.pause(),
        }
    }

    /// Ends a [`pause`](Self::pause).
    ///
    /// # Errors
    /// [`Error::NotOurs`] for a given Kafka.
    pub fn resume(&mut self) -> Result<(), Error> {
        match &mut self.node {
            Node::Given => Err(self.not_ours("resume")),
            Node::Docker(node) => node.resume(),
            Node::Jars(node) => node.resume(),
        }
    }

    /// Lets the node outlive this process, with its data. Returns how to stop it, for people.
    pub fn leave_running(self) -> String {
        match self.node {
            Node::Given => "it was not started here".to_owned(),
            Node::Docker(node) => node.leave_running(),
            Node::Jars(node) => node.leave_running(),
        }
    }

    fn not_ours(&self, action: &'static str) -> Error {
        Error::NotOurs {
            action,
            bootstrap_servers: self.bootstrap_servers.clone(),
        }
    }
}
