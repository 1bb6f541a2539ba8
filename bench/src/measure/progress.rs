//! How fast a consumer group goes through a topic, by the offsets that it commits.
//!
//! The same for Framelane and for every baseline, exact, and no load worth mentioning: a reader of the output would take
//! part of the same cores. A record counts when its offset is committed; with transactions its output is visible then.

use crate::baselines::settings;
use crate::lab::{Process, Topic};
use anyhow::{Context, Result, ensure};
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::{Duration, Instant};

/// How often Kafka is asked.
const EVERY: Duration = Duration::from_millis(20);
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// This part of the records is the start, which is not measured: joining, connecting, first allocations.
const WARM_UP: f64 = 0.1;
/// Without any progress for so long it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How fast it went behind the warm-up.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Records a second.
    pub fps: f64,
    /// CPU seconds of the process for 1,000 records.
    pub cpu_per_1000: f64,
}

/// Watches until the group has committed all `records` of the topic, which must hold nothing else (so that offsets count
/// records).
///
/// # Errors
/// The process ends, makes no progress, or Kafka does not answer.
pub fn follow(
    servers: &str,
    group: &str,
    topic: &Topic,
    records: u64,
    process: &mut Process,
) -> Result<Rate> {
    let committed = Committed::new(servers, group, topic)?;
    let mut first: Option<(Instant, u64, f64)> = None;
    let mut last = (Instant::now(), 0);
    loop {
        // A group's coordinator may just be moving in: no news then.
        let done = match committed.records() {
            Err(fault) if last.0.elapsed() > PATIENCE => return Err(fault),
            news => news.unwrap_or(last.1),
        };
        let now = Instant::now();
        if done > last.1 {
            last = (now, done);
        }
        let cpu = process.usage()?.cpu_seconds;
        if first.is_none() && done as f64 >= WARM_UP * records as f64 {
            first = Some((now, done, cpu));
        }
        if done >= records {
            let (start, before, cpu_before) = first.context("the first look came too late")?;
            let counted = (done - before) as f64;
            ensure!(counted > 0.0, "all was done at once: take more records");
            return Ok(Rate {
                fps: counted / (now - start).as_secs_f64(),
                cpu_per_1000: (cpu - cpu_before) * 1000.0 / counted,
            });
        }
        process.must_run()?;
        ensure!(
            now - last.0 < PATIENCE,
            "no progress for {} s: {done} of {records} records",
            PATIENCE.as_secs()
        );
        std::thread::sleep(EVERY.saturating_sub(now.elapsed()));
    }
}

struct Committed {
    client: BaseConsumer,
    partitions: TopicPartitionList,
}

impl Committed {
    fn new(servers: &str, group: &str, topic: &Topic) -> Result<Self> {
        let client = settings::member(servers, group, None)
            // Otherwise the answer would wait for the transaction under way.
            .set("isolation.level", "read_uncommitted")
            .create()
            .context("creating a consumer")?;
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&topic.name, 0, topic.partitions - 1);
        Ok(Self { client, partitions })
    }

    fn records(&self) -> Result<u64> {
        let committed = self
            .client
            .committed_offsets(self.partitions.clone(), REQUEST_LIMIT)
            .context("asking for the group's offsets")?;
        let offsets = committed.elements().into_iter().map(|e| e.offset());
        Ok(offsets
            .map(|offset| match offset {
                Offset::Offset(offset) => u64::try_from(offset).unwrap_or(0),
                _ => 0,
            })
            .sum())
    }
}
