//! Before the first frame: the topics that tracking writes to, and the right to write.

use super::{ContentMode, Destination, Keeping, Ledger, Restorer};
use crate::config::{Config, TrackSettings};
use pipeline::instance::Instance;
use pipeline::kafka::{Admin, GroupMember, KafkaFault, Membership, TopicSpec};
use std::sync::Arc;

/// Where a group keeps the tracks of a topic. One topic for each, with the partitions of the one that is read: the
/// newest record of a partition is the newest snapshot.
pub fn snapshots_of(group: &str, topic: &str) -> Arc<str> {
    format!("framelane.tracks.{group}.{topic}").into()
}

/// True if the name can be a part of a topic's name.
pub fn is_topic_part(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.chars().all(is_plain)
}

/// Makes the output, and takes the place of an older instance of the same name. Blocks. None without a group: nothing is
/// kept then.
pub fn prepare(
    config: &Config,
    settings: &TrackSettings,
) -> anyhow::Result<Option<(Keeping, Ledger)>> {
    let Some(member) = &config.group else {
        return Ok(None);
    };
    let admin = Admin::connect(&config.kafka)?;
    let destination = match &settings.output {
        None => None,
        Some(output) => Some(destination(config, &admin, output, settings.content)?),
    };
    let ledger = open_ledger(config, member)?;
    let keeping = Keeping {
        restorer: Restorer {
            kafka: config.kafka.clone(),
        },
        group: member.group.clone(),
        destination,
    };
    Ok(Some((keeping, ledger)))
}

/// A topic that is written to, made if it does not exist, with as many partitions as the topics that are read. Blocks.
pub fn destination(
    config: &Config,
    admin: &Admin,
    topic: &str,
    content: ContentMode,
) -> Result<Destination, KafkaFault> {
    let mut partitions = 1;
    for topic in crate::reading::topics(config, admin)? {
        let found = admin.partitions_soon(&topic)?.len();
        partitions = partitions.max(i32::try_from(found).unwrap_or(i32::MAX));
    }
    Ok(Destination {
        topic: topic.into(),
        partitions: ensure(admin, topic, partitions)?,
        content,
    })
}

/// The writer of this member's transactions. Blocks.
pub fn open_ledger(config: &Config, member: &GroupMember) -> anyhow::Result<Ledger> {
    let name = match &member.membership {
        Membership::Static(name) => Some(name.clone()),
        Membership::Dynamic => None,
    };
    let instance = Instance::claim(&member.group, name)?;
    Ok(Ledger::open(&config.kafka, &member.group, instance)?)
}

fn ensure(admin: &Admin, topic: &str, partitions: i32) -> Result<i32, KafkaFault> {
    let info = admin.ensure_topic(&TopicSpec::frames(topic, partitions))?;
    admin.check_record_limit(topic)?;
    Ok(info.partitions)
}
