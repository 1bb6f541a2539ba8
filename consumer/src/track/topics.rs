//! Before the first frame: the topics that tracking writes to, and the right to write.

use super::{Destination, Keeping, Ledger, Restorer};
use crate::config::{Config, TrackSettings};
use pipeline::instance::Instance;
use pipeline::kafka::{Admin, KafkaFault, Membership, TopicSpec};
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
    let admin = Arc::new(Admin::connect(&config.kafka)?);
    let mut partitions = 1;
    for topic in crate::reading::topics(config, &admin)? {
        let found = admin.partitions_soon(&topic)?.len();
        partitions = partitions.max(i32::try_from(found).unwrap_or(i32::MAX));
    }
    let destination = match &settings.output {
        None => None,
        Some(output) => Some(Destination {
            topic: output.as_str().into(),
            partitions: ensure(&admin, output, partitions)?,
            content: settings.content,
        }),
    };
    let name = match &member.membership {
        Membership::Static(name) => Some(name.clone()),
        Membership::Dynamic => None,
    };
    let instance = Instance::claim(&member.group, name)?;
    let ledger = Ledger::open(&config.kafka, &member.group, instance)?;
    let kafka = config.kafka.clone();
    let keeping = Keeping {
        restorer: Restorer { kafka, admin },
        group: member.group.clone(),
        destination,
    };
    Ok(Some((keeping, ledger)))
}

fn ensure(admin: &Admin, topic: &str, partitions: i32) -> Result<i32, KafkaFault> {
    let info = admin.ensure_topic(&TopicSpec::frames(topic, partitions))?;
    admin.check_record_limit(topic)?;
    Ok(info.partitions)
}
