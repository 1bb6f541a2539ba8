//! A member that joins a group and leaves it again: each time all partitions may move.

use super::Client;
use anyhow::{Context, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// A stranger in a group of brokers. It takes partitions, reads nothing of them and commits nothing.
pub struct Intruder {
    consumer: BaseConsumer,
    topic: String,
}

impl std::fmt::Debug for Intruder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Intruder({})", self.topic)
    }
}

impl Intruder {
    /// A member of the group to be.
    pub fn new(client: &Client, group: &str, topic: &str) -> Result<Self> {
        let consumer = client
            .config()
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "500")
            .create()
            .context("creating a member of the brokers' group")?;
        Ok(Self {
            consumer,
            topic: topic.to_owned(),
        })
    }

    /// Joins and leaves again, half of the time each. True if it was given partitions.
    pub fn visit(&self, time: Duration) -> Result<bool> {
        self.consumer
            .subscribe(&[&self.topic])
            .context("joining the brokers' group")?;
        let mut had_some = false;
        let start = Instant::now();
        while start.elapsed() < time {
            if start.elapsed() >= time / 2 {
                self.consumer.unsubscribe();
            }
            // What it is given to read is not its business.
            drop(self.consumer.poll(POLL));
            let assigned = self.consumer.assignment();
            had_some |= assigned.is_ok_and(|partitions| partitions.count() > 0);
        }
        Ok(had_some)
    }
}
