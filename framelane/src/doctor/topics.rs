//! Topics: those of the registry, and those of frames that it declares.

use super::finding::Findings;
use pipeline::kafka::{Inspector, KafkaFault, MAX_RECORD_BYTES, Settings, TopicState};
use registry::View;
use std::collections::BTreeSet;

/// A stage or a consumer that is away for longer than this is no surprise.
const SHORT_RETENTION_MS: i64 = 10 * 60 * 1000;

pub fn check(
    inspector: &Inspector,
    topics: &[TopicState],
    view: &View,
    registry: [&str; 2],
    nodes: usize,
    servers: &str,
    findings: &mut Findings,
) -> Result<(), KafkaFault> {
    let frames = frame_topics(view);
    for topic in topics {
        let is_registry = registry.contains(&topic.name.as_str());
        let is_frames = frames.contains(topic.name.as_str());
        if !is_registry && !is_frames {
            continue;
        }
        let settings = inspector.topic_settings(&topic.name)?;
        let mut one = Topic {
            topic,
            settings: &settings,
            servers,
            findings,
        };
        one.copies(nodes);
        one.limit();
        match is_registry {
            true => one.state(),
            false => one.frames(),
        }
    }
    Ok(())
}

/// The topics of all sources and outputs that are declared.
fn frame_topics(view: &View) -> BTreeSet<&str> {
    let sources = view.sources().map(|source| source.topic().as_str());
    let outputs = view.flows().iter().map(|flow| flow.output.as_str());
    sources.chain(outputs).collect()
}

struct Topic<'a> {
    topic: &'a TopicState,
    settings: &'a Settings,
    servers: &'a str,
    findings: &'a mut Findings,
}

impl Topic<'_> {
    fn text(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.text(name).parse().ok()
    }

    fn wrong(&mut self, what: String, mend: String) {
        let about = format!("topic {}", self.topic.name);
        self.findings.wrong_with("topics", about, what, mend);
    }

    fn note(&mut self, what: String, mend: String) {
        let about = format!("topic {}", self.topic.name);
        self.findings.note("topics", about, what, mend);
    }

    fn alter(&self, setting: &str) -> String {
        format!(
            "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} --add-config {setting}",
            self.servers, self.topic.name
        )
    }

    fn copies(&mut self, nodes: usize) {
        for partition in self.topic.partitions.clone() {
            if partition.leader < 0 {
                let what = format!(
                    "partition {} has no leader: nothing of it can be read or written",
                    partition.id
                );
                self.wrong(what, "start the nodes that have it again".to_owned());
            } else if partition.in_sync.len() < partition.replicas.len() {
                let what = format!(
                    "partition {} has {} of {} copies in step",
                    partition.id,
                    partition.in_sync.len(),
                    partition.replicas.len()
                );
                self.wrong(
                    what,
                    "look at the nodes that are behind: their logs, disks and networks".to_owned(),
                );
            }
        }
        let copies = self
            .topic
            .partitions
            .iter()
            .map(|one| one.replicas.len())
            .min();
        if let Some(copies) = copies.filter(|copies| nodes >= 3 && *copies < 3) {
            let what = format!(
                "{copies} copies on a cluster of {nodes} nodes: what is acknowledged can be lost with a node"
            );
            self.wrong(
                what,
                "kafka-reassign-partitions.sh, to 3 copies; new ones: default.replication.factor=3"
                    .to_owned(),
            );
        } else if copies.is_some_and(|copies| copies >= 3)
            && self
                .number("min.insync.replicas")
                .is_some_and(|least| least < 2)
        {
            let what = "min.insync.replicas is 1: a frame can be acknowledged by one node only, and lost with it".to_owned();
            self.wrong(what, self.alter("min.insync.replicas=2"));
        }
    }

    fn limit(&mut self) {
        let largest = i64::try_from(MAX_RECORD_BYTES).unwrap_or(i64::MAX);
        if let Some(limit) = self
            .number("max.message.bytes")
            .filter(|limit| *limit < largest)
        {
            let what = format!(
                "it takes records of at most {limit} bytes, frames may have {largest}: a large one would be refused half-way"
            );
            self.wrong(what, self.alter(&format!("max.message.bytes={largest}")));
        }
    }

    /// A registry topic has to keep the newest record of each key.
    fn state(&mut self) {
        let policy = self.text("cleanup.policy").to_owned();
        if !policy.contains("compact") {
            let what = format!(
                "cleanup.policy is {policy}: what is declared would be gone after the retention time"
            );
            self.wrong(what, self.alter("cleanup.policy=compact"));
        }
        if self.topic.partitions.len() != 1 {
            let what = format!(
                "it has {} partitions: versions count in one",
                self.topic.partitions.len()
            );
            self.wrong(
                what,
                "choose another name with --registry, and apply everything there".to_owned(),
            );
        }
    }

    fn frames(&mut self) {
        let policy = self.text("cleanup.policy").to_owned();
        if policy.contains("compact") {
            let what = format!(
                "cleanup.policy is {policy}: of all frames of a source only the newest is kept"
            );
            self.wrong(what, self.alter("cleanup.policy=delete"));
        }
        if self.text("message.timestamp.type") == "LogAppendTime" {
            let what =
                "message.timestamp.type is LogAppendTime: capture times are replaced by Kafka's"
                    .to_owned();
            self.wrong(what, self.alter("message.timestamp.type=CreateTime"));
        }
        match self.number("retention.ms") {
            Some(ms) if (0..SHORT_RETENTION_MS).contains(&ms) => {
                let what = format!(
                    "frames are kept for {} s: a stage that is away for longer loses them (and says so)",
                    ms / 1000
                );
                self.note(what, self.alter("retention.ms=86400000"));
            }
            Some(-1) if self.number("retention.bytes") == Some(-1) => {
                let what = "frames are kept for ever: the disk will be full one day".to_owned();
                self.note(what, self.alter("retention.ms=604800000"));
            }
            _ => {}
        }
    }
}
