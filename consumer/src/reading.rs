//! From settings to a feed of records. Blocking.

use crate::config::Config;
use crate::progress::Progress;
use crate::range::{Begin, Until};
use pipeline::kafka::{Admin, Feed, KafkaFault, LaneBounds, StartPolicy, TopicPartition};
use regex_lite::Regex;
use std::collections::HashMap;

/// Records of one partition between Kafka and the sinks: some seconds of a camera, to hide the jitter of a disk.
const LANE_RECORDS: usize = 256;
/// Large frames are bounded by bytes instead: 4 of the largest.
const LANE_BYTES: usize = 32 << 20;
/// All partitions together; the rest of the memory belongs to decoded pictures.
const TOTAL_BYTES: usize = 128 << 20;

/// What is read.
#[derive(Debug)]
pub struct Reading {
    /// The records.
    pub feed: Feed,
    /// For [`Until::End`]: the offset behind the newest record of each partition, now.
    pub ends: HashMap<TopicPartition, i64>,
    /// Where reading begins at least in partitions that the sinks know; empty if the group's progress counts alone.
    pub resumed: HashMap<TopicPartition, i64>,
}

/// Finds the topics and begins to read where the group, the sinks and the settings say.
pub fn open(config: &Config, done: &Progress) -> Result<Reading, KafkaFault> {
    let admin = Admin::connect(&config.kafka)?;
    let mut partitions = Vec::new();
    for topic in topics(config, &admin)? {
        partitions.extend(admin.partitions_soon(&topic)?);
    }
    let mut ends = HashMap::new();
    if config.until == Until::End {
        for tp in &partitions {
            ends.insert(tp.clone(), admin.ends(tp)?.1);
        }
    }
    let mut start = StartPolicy::new(config.begin.unknown_partition());
    if config.track.is_none() && config.monitor.is_none() {
        let known = done.lanes.iter();
        start.resume = known.map(|(tp, lane)| (tp.clone(), lane.next)).collect();
    } // else the group's progress counts alone: what it stands for is written with it
    let resumed = start.resume.clone();
    let bounds = LaneBounds {
        // A source that waits for another partition must not wait for room first.
        lane_records: config
            .reorder
            .map_or(0, |bounds| bounds.records + 1)
            .max(LANE_RECORDS),
        lane_bytes: LANE_BYTES,
        total_bytes: TOTAL_BYTES,
    };
    let feed = match &config.group {
        None => Feed::assign(&config.kafka, &partitions, start, bounds)?,
        Some(member) => {
            if let Begin::At(_) = config.begin {
                let group = &member.group;
                tracing::info!(
                    "--from holds for partitions of which group {group} has no progress"
                );
            }
            Feed::subscribe(&config.kafka, member, &config.topics, start, bounds)?
        }
    };
    Ok(Reading {
        feed,
        ends,
        resumed,
    })
}

/// The topics that exist now. A name that does not exist is an error, and so is a pattern without a topic, unless it is
/// subscribed to and may match one later.
pub fn topics(config: &Config, admin: &Admin) -> Result<Vec<String>, KafkaFault> {
    let mut topics = Vec::new();
    for name in &config.topics {
        if !name.starts_with('^') {
            topics.push(name.clone());
            continue;
        }
        let pattern = Regex::new(name).expect("checked with the settings");
        let mut matching = admin.topic_names()?;
        matching.retain(|topic| pattern.is_match(topic));
        match (matching.is_empty(), &config.group) {
            (true, None) => return Err(KafkaFault::NoTopic(name.clone())),
            (true, Some(_)) => tracing::warn!("no topic matches {name} yet; waiting for one"),
            (false, _) => topics.append(&mut matching),
        }
    }
    topics.sort_unstable();
    topics.dedup();
    Ok(topics)
}
