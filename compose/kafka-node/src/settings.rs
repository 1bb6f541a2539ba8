//! How a node that carries frames is set up: one list, for the jars (`server.properties`) and for the container
//! (`KAFKA_*` variables). The root's `compose.yaml` says the same for people; a test compares them.

/// The largest record, bytes: 8 MiB, the same limit as the clients' and the topics'.
pub const MESSAGE_MAX_BYTES: &str = "8388608";

/// A listener of a node: its name, where it listens, and where it says that it does.
pub struct Listener {
    pub name: String,
    pub bind: String,
    /// Controllers are not advertised.
    pub advertised: Option<String>,
}

pub const CONTROLLER: &str = "CONTROLLER";

/// The only node, or the first of several.
pub const FIRST_NODE: usize = 1;

/// All settings of a node, both broker and controller, whose listeners are these.
pub fn node(
    id: usize,
    listeners: &[Listener],
    inter_broker: &str,
    voters: &str,
) -> Vec<(&'static str, String)> {
    let join = |parts: Vec<String>| parts.join(",");
    let bound = listeners
        .iter()
        .map(|listener| format!("{}://{}", listener.name, listener.bind))
        .collect();
    let advertised = listeners
        .iter()
        .filter_map(|listener| {
            listener
                .advertised
                .as_ref()
                .map(|address| format!("{}://{address}", listener.name))
        })
        .collect();
    let protocols = listeners
        .iter()
        .map(|listener| format!("{}:PLAINTEXT", listener.name))
        .collect();
    let mut settings = vec![
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", id.to_string()),
        ("listeners", join(bound)),
        ("advertised.listeners", join(advertised)),
        ("listener.security.protocol.map", join(protocols)),
        ("inter.broker.listener.name", inter_broker.to_owned()),
        ("controller.listener.names", CONTROLLER.to_owned()),
        ("controller.quorum.voters", voters.to_owned()),
    ];
    settings.extend(
        LIMITS
            .iter()
            .chain(COMEBACK)
            .map(|(key, value)| (*key, (*value).to_owned())),
    );
    settings
}

/// What several nodes have instead: each record on this many of them, acknowledged once `min.insync.replicas` have it.
pub const COPIES: &[(&str, &str)] = &[
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
    ("share.coordinator.state.topic.replication.factor", "3"),
    ("share.coordinator.state.topic.min.isr", "2"),
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
];

const LIMITS: &[(&str, &str)] = &[
    // One node can hold one copy only; the defaults of 3 would make every transaction fail.
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    // 50 by default, to spread load over nodes: here they only delay the first consumer and the first transaction.
    ("offsets.topic.num.partitions", "8"),
    ("transaction.state.log.num.partitions", "8"),
    // 3 s by default, to let a large group gather.
    ("group.initial.rebalance.delay.ms", "0"),
    ("message.max.bytes", MESSAGE_MAX_BYTES),
    ("replica.fetch.max.bytes", MESSAGE_MAX_BYTES),
    // A topic with settings nobody chose is worse than an error.
    ("auto.create.topics.enable", "false"),
];

/// A node that was killed is let back in only when its old session is over, after 9 s by default. Nobody else waits for
/// that here; 4 s still bear a machine that is busy compiling.
const COMEBACK: &[(&str, &str)] = &[
    ("broker.session.timeout.ms", "4000"),
    ("broker.heartbeat.interval.ms", "500"),
];

/// The name of the container image's variable for a setting: `log.dirs` is `KAFKA_LOG_DIRS`.
pub fn variable(key: &str) -> String {
    format!("KAFKA_{}", key.replace('.', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compose_sets_the_same_limits_and_the_same_release() {
        let compose = include_str!("../../../compose.yaml");
        assert!(compose.contains(&format!("apache/kafka:{}", crate::KAFKA_VERSION)));
        for (key, value) in LIMITS {
            let line = format!("{}: \"{value}\"", variable(key));
            assert!(compose.contains(&line), "compose.yaml lacks {line}");
        }
    }

    #[test]
    fn controllers_are_bound_but_not_advertised() {
        let listeners = [
            Listener {
                name: "CLIENT".into(),
                bind: "127.0.0.1:1".into(),
                advertised: Some("127.0.0.1:1".into()),
            },
            Listener {
                name: CONTROLLER.into(),
                bind: "127.0.0.1:2".into(),
                advertised: None,
            },
        ];
        let settings = node(FIRST_NODE, &listeners, "CLIENT", "1@127.0.0.1:2");
        let value = |name| {
            settings
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(
            value("listeners"),
            Some("CLIENT://127.0.0.1:1,CONTROLLER://127.0.0.1:2")
        );
        assert_eq!(value("advertised.listeners"), Some("CLIENT://127.0.0.1:1"));
    }
}
