//! When the sinks bring their records to safety, and what is committed after that.
//!
//! One round at a time: checkpoint asked for -> safe with all sinks -> committed -> the next one.

use crate::crew::Crew;
use crate::progress::Progress;
use pipeline::kafka::{FeedControl, KafkaFault, TopicPartition};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// After a crash, at most this much is done again. More often would cost more disk flushes than it saves work.
const EVERY: Duration = Duration::from_millis(200);
const EVERY_RECORDS: usize = 256;

type Outcome = Result<(), KafkaFault>;

/// The rounds of one consumer.
#[derive(Debug)]
pub struct Checkpoints {
    /// None without a group: the sinks' safety is all there is.
    group: Option<FeedControl>,
    records: usize,
    last: Instant,
    /// To be committed when the sinks are safe.
    offsets: Vec<(TopicPartition, i64)>,
    commit: Option<JoinHandle<Outcome>>,
    /// Of the last commit that ended, until somebody asks.
    outcome: Outcome,
    /// The last commit failed: its records are not committed, although they are safe.
    has_failed: bool,
}

impl Checkpoints {
    /// With a group, offsets are committed through its feed.
    pub fn new(group: Option<FeedControl>) -> Self {
        Self {
            group,
            records: 0,
            last: Instant::now(),
            offsets: Vec::new(),
            commit: None,
            outcome: Ok(()),
            has_failed: false,
        }
    }

    /// A record was given to the sinks.
    pub fn count(&mut self) {
        self.records += 1;
    }

    /// True if sinks have records that no checkpoint covers, or that are not committed.
    pub fn has_unsafe_records(&self) -> bool {
        self.records > 0 || self.has_failed
    }

    /// True if it is time for a round and none is under way.
    pub fn is_due(&self, crew: &Crew) -> bool {
        let is_many = self.records >= EVERY_RECORDS;
        let is_late = || self.last.elapsed() >= EVERY;
        self.is_idle(crew) && self.has_unsafe_records() && (is_many || is_late())
    }

    /// When [`Checkpoints::is_due`] becomes true by time alone.
    pub fn next_due(&self, crew: &Crew) -> Option<Instant> {
        let waits = self.is_idle(crew) && self.has_unsafe_records();
        waits.then(|| self.last + EVERY)
    }

    fn is_idle(&self, crew: &Crew) -> bool {
        crew.is_safe() && self.commit.is_none()
    }

    /// A round begins: this is what the sinks have been given.
    pub fn begin(&mut self, progress: &Progress) {
        self.records = 0;
        self.last = Instant::now();
        self.outcome = Ok(());
        self.has_failed = false;
        let lanes = progress.lanes.iter();
        self.offsets = lanes.map(|(tp, lane)| (tp.clone(), lane.next)).collect();
    }

    /// Commits the round's offsets, once, if all sinks are safe.
    pub fn commit_if_safe(&mut self, crew: &Crew) {
        if !crew.is_safe() || self.commit.is_some() || self.offsets.is_empty() {
            return;
        }
        let offsets = std::mem::take(&mut self.offsets);
        if let Some(control) = self.group.clone() {
            self.commit = Some(tokio::task::spawn_blocking(move || {
                control.commit(&offsets)
            }));
        }
    }

    /// Waits for the commit that is under way; for ever if there is none. Cancel-safe.
    pub async fn committed(&mut self) {
        let Some(commit) = &mut self.commit else {
            return std::future::pending().await;
        };
        let outcome = commit.await;
        self.commit = None;
        self.outcome = outcome.unwrap_or_else(|cause| {
            let what = format!("committing offsets: {cause}");
            Err(KafkaFault::Failed(what))
        });
        if let Err(fault) = &self.outcome {
            self.has_failed = true;
            tracing::warn!(%fault, "progress is not committed; trying again with the next records");
        }
    }

    /// Waits for the commit that is under way, if there is one.
    pub async fn committed_all(&mut self) {
        if self.commit.is_some() {
            self.committed().await;
        }
    }

    /// How the last commit ended.
    pub fn outcome(&mut self) -> Outcome {
        std::mem::replace(&mut self.outcome, Ok(()))
    }
}
