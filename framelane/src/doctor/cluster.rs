//! The nodes' settings.

use super::finding::Findings;
use pipeline::kafka::{Inspector, KafkaFault, MAX_RECORD_BYTES, Node, Settings};

/// As `pipeline` sets it for every transaction, in milliseconds.
const TRANSACTION_MS: i64 = 15_000;
/// As the services ask for it, in milliseconds.
const SESSION_MS: i64 = 6_000;

pub fn check(
    inspector: &Inspector,
    nodes: &[Node],
    servers: &str,
    findings: &mut Findings,
) -> Result<(), KafkaFault> {
    if nodes.len() == 1 {
        findings.note(
            "cluster",
            format!("node {}", nodes[0].address),
            "it is the only one: while it is away nothing moves, and what its disk loses is lost"
                .to_owned(),
            "three nodes with replication 3 and min.insync.replicas 2, where that matters"
                .to_owned(),
        );
    }
    for node in nodes {
        let settings = inspector.node_settings(node.id)?;
        of_node(node, &settings, nodes.len(), servers, findings);
    }
    Ok(())
}

fn of_node(node: &Node, settings: &Settings, nodes: usize, servers: &str, findings: &mut Findings) {
    let mut one = Examined {
        about: format!("node {} at {}", node.id, node.address),
        id: node.id,
        settings,
        servers,
        findings,
    };
    one.limits(nodes);
    one.times();
    one.safety(nodes);
}

struct Examined<'a> {
    about: String,
    id: i32,
    settings: &'a Settings,
    servers: &'a str,
    findings: &'a mut Findings,
}

impl Examined<'_> {
    fn number(&self, name: &str) -> Option<i64> {
        self.settings.get(name)?.parse().ok()
    }

    fn wrong(&mut self, what: String, mend: String) {
        let about = self.about.as_str();
        self.findings.wrong_with("cluster", about, what, mend);
    }

    fn note(&mut self, what: String, mend: String) {
        let about = self.about.as_str();
        self.findings.note("cluster", about, what, mend);
    }

    /// Frames are larger than what Kafka expects.
    fn limits(&mut self, nodes: usize) {
        let largest = i64::try_from(MAX_RECORD_BYTES).unwrap_or(i64::MAX);
        let too_small = |limit: &i64| *limit < largest;
        if let Some(limit) = self.number("message.max.bytes").filter(too_small) {
            let what = format!(
                "message.max.bytes is {limit}: topics that others make take no frames of more, ours say their own limit"
            );
            let mend = format!(
                "kafka-configs.sh --bootstrap-server {} --alter --entity-type brokers --entity-name {} --add-config \
                 message.max.bytes={largest}",
                self.servers, self.id
            );
            self.note(what, mend);
        }
        let fetch = self.number("replica.fetch.max.bytes").filter(too_small);
        if let Some(limit) = fetch.filter(|_| nodes > 1) {
            let what =
                format!("replica.fetch.max.bytes is {limit}: larger frames are copied one by one");
            let mend = format!("replica.fetch.max.bytes={largest} in the node's server.properties");
            self.note(what, mend);
        }
    }

    /// What the services ask for has to be allowed.
    fn times(&mut self) {
        let most = self.number("transaction.max.timeout.ms");
        if let Some(most) = most.filter(|most| *most < TRANSACTION_MS) {
            let what = format!(
                "transaction.max.timeout.ms is {most}: a broker's transactions ask for {TRANSACTION_MS} and are refused"
            );
            let mend = "transaction.max.timeout.ms=900000 (Kafka's default) in the node's server.properties";
            self.wrong(what, mend.to_owned());
        }
        let least = self.number("group.min.session.timeout.ms");
        let most = self.number("group.max.session.timeout.ms");
        if least.is_some_and(|least| least > SESSION_MS)
            || most.is_some_and(|most| most < SESSION_MS)
        {
            let what = format!(
                "it takes no sessions of {SESSION_MS} ms, which brokers and consumers ask for"
            );
            let mend = "group.min.session.timeout.ms=6000 and group.max.session.timeout.ms=1800000 in the node's \
                        server.properties";
            self.wrong(what, mend.to_owned());
        }
    }

    /// What is acknowledged has to outlive a node.
    fn safety(&mut self, nodes: usize) {
        let unclean = self.settings.get("unclean.leader.election.enable");
        if unclean.is_some_and(|value| value == "true") {
            let what = "unclean.leader.election.enable is true: acknowledged frames can be lost when nodes die";
            self.wrong(
                what.to_owned(),
                "unclean.leader.election.enable=false".to_owned(),
            );
        }
        if nodes < 3 {
            return;
        }
        for (name, least) in [
            ("transaction.state.log.replication.factor", 3),
            ("transaction.state.log.min.isr", 2),
            ("offsets.topic.replication.factor", 3),
        ] {
            if let Some(value) = self.number(name).filter(|value| *value < least) {
                let what = format!(
                    "{name} is {value} on a cluster of {nodes} nodes: one that dies can take transactions or progress with it"
                );
                let mend = format!(
                    "{name}={least} before the topic is made; for one that exists kafka-reassign-partitions.sh"
                );
                self.wrong(what, mend);
            }
        }
    }
}
