//! Topics that vanish, with their gigabytes, when nobody holds them any more.

use anyhow::{Context, Result};
use futures::executor::block_on;
use pipeline::kafka::MAX_RECORD_BYTES;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::sync::Arc;
use std::time::Duration;

/// For a request to make or delete a topic.
const LIMIT: Duration = Duration::from_secs(15);

/// Makes topics.
pub(super) struct Topics {
    client: Arc<AdminClient<DefaultClientContext>>,
}

/// A topic of ours, deleted when dropped.
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// How many it has.
    pub partitions: i32,
    client: Arc<AdminClient<DefaultClientContext>>,
}

impl Topics {
    pub(super) fn connect(servers: &str) -> Result<Self> {
        let client = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .create()
            .context("creating an admin client")?;
        Ok(Self {
            client: Arc::new(client),
        })
    }

    pub(super) fn create(&self, name: &str, partitions: i32) -> Result<Topic> {
        let limit = MAX_RECORD_BYTES.to_string();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1))
            .set("max.message.bytes", &limit)
            .set("message.timestamp.type", "CreateTime")
            // A minute by default: runs follow each other faster than that would free the disk.
            .set("file.delete.delay.ms", "1000");
        let outcomes = block_on(self.client.create_topics([&topic], &options()))
            .with_context(|| format!("creating topic {name}"))?;
        for outcome in outcomes {
            outcome.map_err(|(name, code)| anyhow::anyhow!("creating topic {name}: {code}"))?;
        }
        Ok(Topic {
            name: name.into(),
            partitions,
            client: Arc::clone(&self.client),
        })
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // At worst it stays until Kafka goes.
        let _ = block_on(self.client.delete_topics(&[&*self.name], &options()));
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(LIMIT))
        .request_timeout(Some(LIMIT))
}
