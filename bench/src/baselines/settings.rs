//! The Kafka client's settings of every baseline: those that Framelane's own clients have (`pipeline/src/kafka/config.rs`),
//! so that what is compared is the program around the client, not its tuning.

use pipeline::kafka::MAX_RECORD_BYTES;
use rdkafka::ClientConfig;

const CLIENT: &[(&str, &str)] = &[
    ("socket.nagle.disable", "true"),
    ("topic.metadata.refresh.interval.ms", "10000"),
];

const CONSUMER: &[(&str, &str)] = &[
    ("isolation.level", "read_committed"),
    ("check.crcs", "true"),
    ("fetch.wait.max.ms", "100"),
    ("queued.min.messages", "100"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.message.max.bytes", "2097152"),
    ("fetch.queue.backoff.ms", "5"),
];

const PRODUCER: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("compression.type", "none"),
    ("queue.buffering.max.kbytes", "131072"),
];

/// The broker's default `--session-timeout`.
const SESSION_TIMEOUT_MS: &str = "6000";

fn client(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("message.max.bytes", MAX_RECORD_BYTES.to_string());
    set_all(&mut config, CLIENT);
    config
}

/// A consumer that reads from the oldest record on and commits nothing.
pub fn consumer(servers: &str) -> ClientConfig {
    let mut config = client(servers);
    config
        .set("group.id", "bench-reader")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.max.bytes", (4 * MAX_RECORD_BYTES).to_string())
        .set(
            "receive.message.max.bytes",
            (5 * MAX_RECORD_BYTES).to_string(),
        );
    set_all(&mut config, CONSUMER);
    config
}

/// A member of a group, static if it has a name.
pub fn member(servers: &str, group: &str, instance: Option<&str>) -> ClientConfig {
    let mut config = consumer(servers);
    config
        .set("group.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", SESSION_TIMEOUT_MS)
        .set("heartbeat.interval.ms", "1500");
    if let Some(instance) = instance {
        config.set("group.instance.id", instance);
    }
    config
}

/// An idempotent producer. Framelane lets the records of a transaction linger for 1 ms, others not at all; the client's
/// default is 5 ms.
pub fn producer(servers: &str, is_transactional: bool) -> ClientConfig {
    let mut config = client(servers);
    config.set("batch.size", MAX_RECORD_BYTES.to_string());
    config.set("linger.ms", if is_transactional { "1" } else { "0" });
    set_all(&mut config, PRODUCER);
    config
}

fn set_all(config: &mut ClientConfig, settings: &[(&str, &str)]) {
    for (key, value) in settings {
        config.set(*key, *value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baselines_have_framelanes_own_settings() {
        let ours = include_str!("../../../pipeline/src/kafka/config.rs");
        for (key, value) in [CLIENT, CONSUMER, PRODUCER].concat() {
            let line = format!("(\"{key}\", \"{value}\")");
            assert!(
                ours.contains(&line),
                "Framelane's clients have another {key}"
            );
        }
    }
}
