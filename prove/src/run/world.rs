//! Kafka, and the network before it: a proxy for each broker instance and node, so that a fault hits whom it is meant
//! for.

use crate::kafka::Client;
use crate::plan::{Seat, Way};
use crate::proxy::{Api, Direction, Points, Proxy, Side};
use anyhow::{Context, Result};
use kafka_node::{Cluster, Kafka, Options};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Broker instances that a plan can have: two of the first stage, one of the second.
const SEATS: usize = 3;
/// Small frames, a few hundred a second.
const HEAP_MIB: u32 = 512;

/// One or three nodes.
enum Nodes {
    One(Box<Kafka>),
    Three(Cluster),
}

pub struct World {
    nodes: Nodes,
    /// By seat, then by node.
    proxies: Vec<Vec<Proxy>>,
    points: Vec<Points>,
    data: PathBuf,
}

/// The place of a seat's proxies.
fn index(seat: Seat) -> usize {
    match seat.stage {
        0 => seat.broker,
        _ => SEATS - 1,
    }
}

impl World {
    /// The data of a single node lies in `data`, where it can be looked at.
    pub fn start(nodes: usize, data: &Path) -> Result<Self> {
        let points: Vec<Points> = (0..SEATS).map(|_| Points::default()).collect();
        let proxies: Vec<Vec<Proxy>> = points
            .iter()
            .map(|points| {
                let of_node = |_| Proxy::start_with(points.clone());
                (0..nodes).map(of_node).collect::<std::io::Result<_>>()
            })
            .collect::<std::io::Result<_>>()
            .context("starting the proxies")?;
        let options = Options {
            heap_mib: HEAP_MIB,
            proxies: proxies
                .iter()
                .flatten()
                .map(|proxy| proxy.address().to_string())
                .collect(),
            data: (nodes == 1).then(|| data.to_owned()),
            ..Options::default()
        };
        let nodes = match nodes {
            1 => Nodes::One(Box::new(
                Kafka::start_jars(&options).context("starting Kafka")?,
            )),
            _ => Nodes::Three(Cluster::start(&options).context("starting three Kafka nodes")?),
        };
        let world = Self {
            nodes,
            proxies,
            points,
            data: data.to_owned(),
        };
        world.connect();
        Ok(world)
    }

    /// Each proxy to the listener that advertises it.
    fn connect(&self) {
        let targets: Vec<&str> = match &self.nodes {
            Nodes::One(kafka) => kafka.proxied().iter().map(String::as_str).collect(),
            Nodes::Three(cluster) => cluster.proxied(),
        };
        for (proxy, target) in self.proxies.iter().flatten().zip(targets) {
            proxy.set_target(target);
        }
    }

    /// Copies what Kafka has of a run into `folder`: its own words, and for a single node the segments of the topics
    /// that begin with `prefix` and of the transactions, for `kafka.tools.DumpLogSegments`.
    pub fn keep(&self, prefix: &str, folder: &Path) -> Result<()> {
        let logs: Vec<&Path> = match &self.nodes {
            Nodes::One(kafka) => kafka.log_file().into_iter().collect(),
            Nodes::Three(cluster) => (0..Cluster::NODES)
                .map(|node| cluster.log_file(node))
                .collect(),
        };
        for (node, log) in logs.into_iter().enumerate() {
            fs::copy(log, folder.join(format!("logs/kafka-{node}.log")))
                .with_context(|| format!("keeping {}", log.display()))?;
        }
        let Ok(partitions) = fs::read_dir(&self.data) else {
            return Ok(()); // several nodes: each in a folder of its own
        };
        for partition in partitions.flatten() {
            let name = partition.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) || name.starts_with("__transaction_state") {
                keep_segments(&partition.path(), &folder.join("kafka").join(&name))?;
            }
        }
        Ok(())
    }

    /// Kafka itself, with nothing in between.
    pub fn servers(&self) -> &str {
        match &self.nodes {
            Nodes::One(kafka) => kafka.bootstrap_servers(),
            Nodes::Three(cluster) => cluster.bootstrap_servers(),
        }
    }

    pub fn client(&self) -> Client {
        Client::new(self.servers())
    }

    /// Kafka as the broker in this seat reaches it.
    pub fn servers_for(&self, seat: Seat) -> String {
        let addresses = self.proxies[index(seat)]
            .iter()
            .map(|proxy| proxy.address().to_string());
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The packets of the broker in this seat.
    pub fn points(&self, seat: Seat) -> &Points {
        &self.points[index(seat)]
    }

    /// Packets of a kind, of all brokers of a stage.
    pub fn seen(&self, stage: usize, api: Api, side: Side) -> u64 {
        let seats = if stage == 0 {
            0..SEATS - 1
        } else {
            SEATS - 1..SEATS
        };
        self.points[seats]
            .iter()
            .map(|points| points.seen(api, side))
            .sum()
    }

    pub fn cut(&self, seat: Seat, way: Way) {
        let direction = match way {
            Way::ToKafka => Direction::ToKafka,
            Way::ToClient => Direction::ToClient,
            Way::Both => Direction::Both,
        };
        self.proxies[index(seat)]
            .iter()
            .for_each(|proxy| proxy.cut(direction));
    }

    pub fn slow(&self, seat: Seat, latency: Duration, bytes_per_s: u64) {
        for proxy in &self.proxies[index(seat)] {
            proxy.set_latency(Direction::Both, latency);
            proxy.set_bandwidth(Direction::Both, Some(bytes_per_s));
        }
    }

    /// Ends cuts and slowness of this seat.
    pub fn heal(&self, seat: Seat) {
        for proxy in &self.proxies[index(seat)] {
            proxy.heal();
            proxy.set_latency(Direction::Both, Duration::ZERO);
            proxy.set_bandwidth(Direction::Both, None);
        }
    }

    pub fn kill_node(&mut self, node: usize) -> Result<()> {
        match &mut self.nodes {
            Nodes::One(kafka) => kafka.kill()?,
            Nodes::Three(cluster) => cluster.kill(node),
        }
        Ok(())
    }

    pub fn restart_node(&mut self, node: usize) -> Result<()> {
        match &mut self.nodes {
            Nodes::One(kafka) => kafka.restart()?,
            Nodes::Three(cluster) => cluster.restart(node)?,
        }
        Ok(())
    }

    pub fn kill_all_nodes(&mut self) -> Result<()> {
        match &mut self.nodes {
            Nodes::One(kafka) => kafka.kill()?,
            Nodes::Three(cluster) => (0..Cluster::NODES).for_each(|node| cluster.kill(node)),
        }
        Ok(())
    }

    pub fn restart_all_nodes(&mut self) -> Result<()> {
        match &mut self.nodes {
            Nodes::One(kafka) => kafka.restart()?,
            Nodes::Three(cluster) => cluster.restart_all()?,
        }
        Ok(())
    }
}

/// Segments that hold anything; indexes can be made again.
fn keep_segments(from: &Path, to: &Path) -> Result<()> {
    let keep = || -> std::io::Result<()> {
        for file in fs::read_dir(from)?.flatten() {
            let is_segment = file.path().extension().is_some_and(|end| end == "log");
            if is_segment && file.metadata()?.len() > 0 {
                fs::create_dir_all(to)?;
                fs::copy(file.path(), to.join(file.file_name()))?;
            }
        }
        Ok(())
    };
    keep().with_context(|| format!("keeping {}", from.display()))
}
