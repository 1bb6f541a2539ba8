//! Three nodes from jars as one cluster: each record has three copies and is acknowledged once two nodes have it, so
//! any one node may die.

use std::path::Path;

use crate::error::Error;
use crate::jars::{JarsNode, Member, local};
use crate::options::Options;
use crate::settings::FIRST_NODE;
use crate::{java, ports};

/// A port that was free may be taken before Kafka binds it: then others are tried.
const START_ATTEMPTS: usize = 3;

/// A cluster of three nodes, each both broker and controller. Stopped when dropped, or when we die.
///
/// Nodes are named by their index, 0 to 2.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<JarsNode>,
    bootstrap_servers: String,
}

impl Cluster {
    /// The fewest that can lose one and still have a majority.
    pub const NODES: usize = 3;

    /// Starts all nodes at once and returns when all answer.
    ///
    /// # Errors
    /// As [`Kafka::start_jars`](crate::Kafka::start_jars); [`Error::Unavailable`] as well if `options` names one folder
    /// for the data of three nodes.
    pub fn start(options: &Options) -> Result<Self, Error> {
        if options.data.is_some() {
            return Err(Error::Unavailable {
                way: "a cluster",
                reason: "its nodes cannot share one folder for their data".to_owned(),
            });
        }
        let mut attempt = 1;
        loop {
            match Self::start_once(options) {
                Err(Error::Start { log_tail, .. })
                    if log_tail.contains("BindException") && attempt < START_ATTEMPTS =>
                {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    fn start_once(options: &Options) -> Result<Self, Error> {
        let java = java::find()?;
        let jars = java::kafka_jars(options)?;
        let voters: Vec<String> = ports::free_list(Self::NODES)?
            .into_iter()
            .map(local)
            .collect();
        let mut nodes = Vec::with_capacity(Self::NODES);
        for at in 0..Self::NODES {
            let member = Member {
                id: FIRST_NODE + at,
                voters: voters.clone(),
                proxies: options
                    .proxies
                    .iter()
                    .skip(at)
                    .step_by(Self::NODES)
                    .cloned()
                    .collect(),
            };
            let mut node = JarsNode::prepare(options, java.clone(), jars.clone(), member)?;
            // At once, so that its ports are taken when the next node looks for free ones.
            node.spawn()?;
            nodes.push(node);
        }
        nodes.iter_mut().try_for_each(JarsNode::wait_ready)?;
        let addresses: Vec<String> = nodes.iter().map(JarsNode::bootstrap_servers).collect();
        Ok(Self {
            nodes,
            bootstrap_servers: addresses.join(","),
        })
    }

    /// `host:port,host:port,host:port`.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Where the proxies of [`Options::proxies`] are to connect to, in their order.
    pub fn proxied(&self) -> Vec<&str> {
        let of_node = |at: usize| self.nodes[at % Self::NODES].proxied().get(at / Self::NODES);
        (0..).map_while(of_node).map(String::as_str).collect()
    }

    /// The node's own log.
    pub fn log_file(&self, node: usize) -> &Path {
        self.nodes[node].log_file()
    }

    /// Kills a node as `kill -9` would. Its data stays for [`restart`](Self::restart).
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts a node again on the same ports with the same data, killing it first if it runs, and returns once it
    /// answers, which takes a majority of nodes that run.
    ///
    /// # Errors
    /// [`Error::Start`] if it does not answer in time.
    pub fn restart(&mut self, node: usize) -> Result<(), Error> {
        self.nodes[node].restart()
    }

    /// Kills every node, then starts all again; returns once all answer.
    ///
    /// # Errors
    /// [`Error::Start`] if one does not answer in time.
    pub fn restart_all(&mut self) -> Result<(), Error> {
        self.nodes.iter_mut().for_each(JarsNode::kill);
        self.nodes.iter_mut().try_for_each(JarsNode::spawn)?;
        self.nodes.iter_mut().try_for_each(JarsNode::wait_ready)
    }

    /// Freezes a node: connections stay open, nothing is answered.
    ///
    /// # Errors
    /// [`Error::Io`] if it does not run.
    pub fn pause(&mut self, node: usize) -> Result<(), Error> {
        self.nodes[node].pause()
    }

    /// Ends a [`pause`](Self::pause).
    ///
    /// # Errors
    /// [`Error::Io`] if it does not run.
    pub fn resume(&mut self, node: usize) -> Result<(), Error> {
        self.nodes[node].resume()
    }
}
