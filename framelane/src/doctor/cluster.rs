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
    let about = format!("node {} at {}", node.id, node.address);
    let number = |name: &str| {
        settings
            .get(name)
            .and_then(|value| value.parse::<i64>().ok())
    };
    let largest = i64::try_from(MAX_RECORD_BYTES).unwrap_or(i64::MAX);
    let alter = |name: &str, value: i64| {
        format!(
            "kafka-configs.sh --bootstrap-server {servers} --alter --entity-type brokers --entity-name {} --add-config \
             {name}={value}",
            node.id
        )
    };
    if let Some(limit) = number("message.max.bytes").filter(|limit| *limit < largest) {
        findings.note(
            "cluster",
            &*about,
            format!("message.max.bytes is {limit}: topics that others make take no frames of more, ours say their own limit"),
            alter("message.max.bytes", largest),
        );
    }
    if let Some(limit) =
        number("replica.fetch.max.bytes").filter(|limit| nodes > 1 && *limit < largest)
    {
        findings.note(
            "cluster",
            &*about,
            format!("replica.fetch.max.bytes is {limit}: larger frames are copied one by one"),
            format!("replica.fetch.max.bytes={largest} in the node's server.properties"),
        );
    }
    let mut wrong =
        |what: String, mend: String| findings.wrong_with("cluster", &*about, what, mend);
    if let Some(most) = number("transaction.max.timeout.ms").filter(|most| *most < TRANSACTION_MS) {
        wrong(
            format!(
                "transaction.max.timeout.ms is {most}: a broker's transactions ask for {TRANSACTION_MS} and are refused"
            ),
            "transaction.max.timeout.ms=900000 (Kafka's default) in the node's server.properties"
                .to_owned(),
        );
    }
    let session = (
        number("group.min.session.timeout.ms"),
        number("group.max.session.timeout.ms"),
    );
    if session.0.is_some_and(|least| least > SESSION_MS)
        || session.1.is_some_and(|most| most < SESSION_MS)
    {
        wrong(
            format!("it takes no sessions of {SESSION_MS} ms, which brokers and consumers ask for"),
            "group.min.session.timeout.ms=6000 and group.max.session.timeout.ms=1800000 in the node's server.properties".to_owned(),
        );
    }
    if settings
        .get("unclean.leader.election.enable")
        .is_some_and(|value| value == "true")
    {
        wrong(
            "unclean.leader.election.enable is true: acknowledged frames can be lost when nodes die".to_owned(),
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
        if let Some(value) = number(name).filter(|value| *value < least) {
            wrong(
                format!(
                    "{name} is {value} on a cluster of {nodes} nodes: one that dies can take transactions or progress with it"
                ),
                format!(
                    "{name}={least} before the topic is made; for one that exists kafka-reassign-partitions.sh"
                ),
            );
        }
    }
}
