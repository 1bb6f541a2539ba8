//! The Kafka that the tests share, and names in it that nobody else uses.

use kafka_node::{Kafka, Options};
use pipeline::kafka::{Admin, KafkaConfig, TopicSpec};
use std::sync::OnceLock;

/// The address of a Kafka that all tests may use and none may disturb.
pub fn shared() -> &'static str {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED
        .get_or_init(|| {
            let options = Options::from_env().expect("the environment names a way to Kafka");
            Kafka::find_or_start(&options).expect("a Kafka for the tests")
        })
        .bootstrap_servers()
}

/// A name that nothing has yet: for a topic, a group, an instance.
pub fn name() -> String {
    format!("test-{:012x}", rand::random::<u64>() >> 16)
}

/// A new topic with a name of its own.
pub fn topic(servers: &str, partitions: i32) -> String {
    let name = name();
    let config = KafkaConfig::new(servers).expect("a usable address");
    let admin = Admin::connect(&config).expect("Kafka answers");
    admin
        .ensure_topic(&TopicSpec::frames(&name, partitions))
        .expect("a new topic");
    name
}
