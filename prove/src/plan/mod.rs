//! What a run will do, all of it decided beforehand from one number.
//!
//! Saved as JSON before the run begins; the same file gives the same workload, the same misbehaviour and the same
//! faults at the same triggers. What a machine decides (when a packet arrives) stays the machine's.

mod draw;

use crate::behaviour::Behaviour;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

pub use draw::{Choice, ROWS, draw};

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub seed: u64,
    /// Kafka nodes: 1 or 3.
    pub nodes: usize,
    pub workload: Workload,
    /// In the order of the flow; one or two.
    pub stages: Vec<StagePlan>,
    /// One after the other: the next is armed when the one before has been recovered from.
    pub faults: Vec<PlannedFault>,
}

/// What is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    pub partitions: i32,
    pub sources: u64,
    /// Steps of the script a second, most of them one frame.
    pub steps_per_s: u64,
    /// At least so many steps, then on until every fault has happened.
    pub steps: u64,
    /// The publisher dies between a send and its acknowledgement once it has made this many steps, each time.
    pub deaths: Vec<u64>,
    pub largest_picture_bytes: u64,
    /// Steps from one transaction to the next; every second one is aborted.
    pub transaction_every: u64,
    /// Steps from one record that is no Envelope to the next (row 18).
    pub garbage_every: Option<u64>,
    /// Steps from one picture that must not be decoded to the next (row 19).
    pub bomb_every: Option<u64>,
}

/// One stage: its broker instances and its processor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagePlan {
    /// The processor's name, which its results carry.
    pub processor: String,
    pub brokers: usize,
    pub replicas: usize,
    pub content: Content,
    pub membership: Membership,
    /// Calls to each replica, of each instance.
    pub in_flight: usize,
    pub window: usize,
    pub behaviour: Behaviour,
}

/// The broker's `--content`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    Inline,
    Reference,
}

/// The broker's `--membership`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Membership {
    Static,
    Dynamic,
}

/// One fault, and what it waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// Of the fault matrix.
    pub row: u32,
    pub after: Trigger,
    pub fault: Fault,
}

/// What a fault waits for, counted from when the fault before it was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Trigger {
    /// So many transactions ended by any broker of the target's stage.
    Commits(u64),
    /// So many records that came out of the pipeline.
    Outputs(u64),
    /// So much time, milliseconds.
    Ms(u64),
}

/// A broker instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    pub stage: usize,
    pub broker: usize,
}

/// What is done to whom. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    KillBroker {
        seat: Seat,
        down_ms: u64,
    },
    /// At one step of a commit: the packet is held, the broker killed, and the packet let go before or after another
    /// broker process has taken the dead one's place.
    KillBrokerAt {
        seat: Seat,
        step: Step,
        let_go: LetGo,
    },
    StopBroker {
        seat: Seat,
        ms: u64,
    },
    KillKafkaNode {
        node: usize,
        down_ms: u64,
    },
    KillAllKafka {
        down_ms: u64,
    },
    Cut {
        seat: Seat,
        way: Way,
        ms: u64,
    },
    Slow {
        seat: Seat,
        latency_ms: u64,
        bytes_per_s: u64,
        ms: u64,
    },
    /// The request to end a transaction stays in the network and arrives in the middle of the next one.
    StrayEndTxn {
        seat: Seat,
    },
    KillProcessor {
        stage: usize,
        replica: usize,
        down_ms: u64,
    },
    KillAllProcessors {
        stage: usize,
        down_ms: u64,
    },
    KillConsumer {
        down_ms: u64,
    },
    /// Another member joins the stage's group and leaves it again, again and again.
    Rebalances {
        stage: usize,
        times: u64,
        every_ms: u64,
    },
    RollingRestart {
        stage: usize,
    },
    /// The stage's other broker is stopped until its session is over, then joins again: this one gives partitions up for
    /// it and is killed before it can say so to the group, then started again.
    KillBrokerInRebalance {
        seat: Seat,
        joiner: usize,
    },
}

/// A packet of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    AddPartitionsRequest,
    AddPartitionsResponse,
    ProduceRequest,
    ProduceResponse,
    AddOffsetsRequest,
    AddOffsetsResponse,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
    EndTxnRequest,
    EndTxnResponse,
}

/// When a held packet goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetGo {
    BeforeRestart,
    AfterRestart,
}

/// Which packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    ToKafka,
    ToClient,
    Both,
}

impl Plan {
    /// From the file that [`Plan::write`] wrote, or that a person did.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading the plan {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no plan", path.display()))
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("a plan as JSON")?;
        std::fs::write(path, text).with_context(|| format!("writing the plan {}", path.display()))
    }

    /// The rows that this plan is to make happen, ascending, each once.
    pub fn rows(&self) -> Vec<u32> {
        let mut rows: Vec<u32> = self.faults.iter().map(|planned| planned.row).collect();
        rows.extend(self.workload.garbage_every.map(|_| 18));
        rows.extend(self.workload.bomb_every.map(|_| 19));
        rows.extend(self.stages.iter().flat_map(|stage| stage.behaviour.rows()));
        rows.sort_unstable();
        rows.dedup();
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `prove/plans` holds what once found something: each must stay a plan.
    #[test]
    fn the_plans_in_the_tree_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
        let files = std::fs::read_dir(folder).unwrap();
        let plans: Vec<Plan> = files
            .map(|file| Plan::read(&file.unwrap().path()).unwrap())
            .collect();
        assert!(!plans.is_empty());
    }
}
