//! When the sinks bring their records to safety, and what is committed after that.
//!
//! One round at a time: checkpoint asked for -> safe with all sinks -> committed -> the next one. Transactions write a
//! round in one or more.

use crate::crew::Crew;
use crate::lanes::LaneProgress;
use crate::progress::Progress;
use crate::track::batch::Part;
use crate::track::{LedgerFault, Transactions, Writing};
use pipeline::kafka::{Bookmark, FeedControl, GroupStamp, KafkaFault, TopicPartition};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// After a crash, at most this much is done again. More often would cost more disk flushes than it saves work.
const EVERY: Duration = Duration::from_millis(200);
/// Others wait for what transactions write.
const EVERY_TRANSACTION: Duration = Duration::from_millis(50);
const EVERY_RECORDS: usize = 256;
/// One that is too large for a slow link fails after a quarter of this; then a smaller one is tried.
const TRANSACTION_PATIENCE: Duration = Duration::from_secs(60);

type Outcome = Result<(), KafkaFault>;
/// The offsets of the next records to read.
type Places = Vec<(TopicPartition, i64)>;

/// What a round ends with.
#[derive(Debug)]
pub enum Commits {
    /// Without a group: the sinks' safety is all there is.
    Nothing,
    /// The group's offsets.
    Offsets(FeedControl),
    /// The group's offsets, together with records.
    Transactions(Box<Transactions>),
}

/// A commit under way.
#[derive(Debug)]
enum Commit {
    Offsets(JoinHandle<Result<Places, KafkaFault>>),
    Transaction(Writing),
}

/// The rounds of one consumer.
#[derive(Debug)]
pub struct Checkpoints {
    commits: Commits,
    records: usize,
    last: Instant,
    /// To be committed when the sinks are safe.
    offsets: Vec<Bookmark>,
    /// Who this member was when they were known.
    stamp: Option<GroupStamp>,
    commit: Option<Commit>,
    /// Where this consumer has brought the group, of the partitions it has committed for.
    committed: HashMap<TopicPartition, i64>,
    /// What the sinks had before this run of the partitions that were not assigned yet.
    resumed: HashMap<TopicPartition, i64>,
    /// Of the last commit that ended, until somebody asks.
    outcome: Outcome,
    /// What is safe is not committed: the last commit failed, or there was none yet.
    owes_commit: bool,
    /// When a commit succeeded last, or the first record came after all was written.
    alive_at: Instant,
    /// No later commit can succeed.
    dead: Option<String>,
}

impl Checkpoints {
    /// Nothing was given to the sinks yet. `resumed`: where reading begins at least, because the sinks have what lies before.
    pub fn new(commits: Commits, resumed: HashMap<TopicPartition, i64>) -> Self {
        Self {
            commits,
            records: 0,
            last: Instant::now(),
            offsets: Vec::new(),
            stamp: None,
            commit: None,
            committed: HashMap::new(),
            resumed,
            outcome: Ok(()),
            owes_commit: false,
            alive_at: Instant::now(),
            dead: None,
        }
    }

    /// A record was given to the sinks.
    pub fn count(&mut self) {
        if !self.has_unwritten_records() {
            self.alive_at = Instant::now();
        }
        self.records += 1;
    }

    /// True if records are written with the offsets, in transactions.
    pub fn writes(&self) -> bool {
        matches!(self.commits, Commits::Transactions(_))
    }

    /// Records that are to be written with the offset of the one that was given to the sinks.
    pub fn push(&mut self, lane: u64, part: Part) {
        if let Commits::Transactions(transactions) = &mut self.commits {
            transactions.push(lane, part);
        }
    }

    /// A partition is read from `start` on. That is known to the group before there is anything new in it, so that a topic
    /// that is made anew is told from the old one.
    pub fn begin_at(&mut self, tp: &TopicPartition, start: i64) {
        match self.commits {
            Commits::Nothing => {}
            // The sinks may have more than the group: it is brought there, as if the commit before had not succeeded.
            Commits::Offsets(_) => self.owes_commit = true,
            // It began where the group is.
            Commits::Transactions(_) => {
                self.committed.insert(tp.clone(), start);
            }
        }
    }

    /// A partition is assigned.
    pub fn open_lane(&mut self, lane: u64) {
        if let Commits::Transactions(transactions) = &mut self.commits {
            transactions.open_lane(lane);
        }
    }

    /// A partition is to be read from `start` on. If this consumer has committed more there, or its sinks came with more, that
    /// progress is not of these records: returns how far it was, once.
    pub fn set_back(&mut self, tp: &TopicPartition, start: i64) -> Option<i64> {
        if let Some(before) = self.resumed.remove(tp).filter(|before| *before > start) {
            return Some(before);
        }
        let before = *self.committed.get(tp)?;
        if before <= start {
            return None;
        }
        self.committed.remove(tp)
    }

    /// Partitions are another's now: nothing of them is written any more.
    pub fn drop_lanes(&mut self, lanes: &[u64]) {
        match &mut self.commits {
            Commits::Transactions(transactions) => transactions.drop_lanes(lanes),
            Commits::Offsets(_) if !self.offsets.is_empty() => {
                self.offsets.clear();
                self.owes_commit = true; // what is still ours is committed with the next round
            }
            Commits::Nothing | Commits::Offsets(_) => {}
        }
    }

    /// False if no record may be given to the sinks before a round has ended.
    pub fn has_room(&self) -> bool {
        match &self.commits {
            Commits::Transactions(transactions) => transactions.has_room(),
            Commits::Nothing | Commits::Offsets(_) => true,
        }
    }

    /// True if sinks have records that no checkpoint covers, or that are not committed.
    pub fn has_unsafe_records(&self) -> bool {
        self.records > 0 || self.owes_commit
    }

    /// True if it is time for a round and none is under way.
    pub fn is_due(&self, crew: &Crew) -> bool {
        let is_many = self.records >= EVERY_RECORDS;
        let is_late = || self.last.elapsed() >= self.every();
        self.is_idle(crew) && self.has_unsafe_records() && (is_many || is_late())
    }

    /// When [`Checkpoints::is_due`] becomes true by time alone.
    pub fn next_due(&self, crew: &Crew) -> Option<Instant> {
        let waits = self.is_idle(crew) && self.has_unsafe_records();
        waits.then(|| self.last + self.every())
    }

    fn every(&self) -> Duration {
        match &self.commits {
            Commits::Transactions(_) => EVERY_TRANSACTION,
            Commits::Nothing | Commits::Offsets(_) => EVERY,
        }
    }

    fn is_idle(&self, crew: &Crew) -> bool {
        crew.is_safe() && self.commit.is_none()
    }

    /// A round begins: this is what the sinks have been given, and what is to be kept with the offsets.
    pub fn begin(&mut self, progress: &Progress, mut notes: BTreeMap<TopicPartition, String>) {
        self.records = 0;
        self.last = Instant::now();
        self.outcome = Ok(());
        self.owes_commit = false;
        match &mut self.commits {
            Commits::Nothing => {}
            Commits::Offsets(control) => {
                // Of now, when these partitions are ours: if they are lost before the commit, it is refused.
                self.stamp = control.group_stamp();
                let lanes = progress.lanes.iter();
                let bookmark = |(tp, lane): (&TopicPartition, &LaneProgress)| Bookmark {
                    tp: tp.clone(),
                    next_offset: lane.next,
                    note: notes.remove(tp).unwrap_or_default(),
                };
                self.offsets = lanes.map(bookmark).collect();
            }
            Commits::Transactions(transactions) => transactions.cover(),
        }
    }

    /// Commits what the round covers, once, if all sinks are safe.
    pub fn commit_if_safe(&mut self, crew: &Crew) {
        if !crew.is_safe() || self.commit.is_some() {
            return;
        }
        self.commit = match &mut self.commits {
            Commits::Offsets(control) if !self.offsets.is_empty() => {
                let (control, offsets) = (control.clone(), std::mem::take(&mut self.offsets));
                let stamp = self.stamp.take();
                let commit = tokio::task::spawn_blocking(move || {
                    control.commit_bookmarks(&offsets, stamp.as_ref())?;
                    let offsets = offsets.into_iter();
                    Ok(offsets.map(|one| (one.tp, one.next_offset)).collect())
                });
                Some(Commit::Offsets(commit))
            }
            Commits::Transactions(transactions) => transactions.write().map(Commit::Transaction),
            Commits::Nothing | Commits::Offsets(_) => None,
        };
    }

    /// Waits for the commit that is under way; for ever if there is none. Cancel-safe.
    pub async fn committed(&mut self) {
        let outcome = match &mut self.commit {
            None => return std::future::pending().await,
            Some(Commit::Offsets(commit)) => commit.await.unwrap_or_else(|cause| {
                Err(KafkaFault::Failed(format!("committing offsets: {cause}")))
            }),
            Some(Commit::Transaction(writing)) => match writing.await {
                Ok(written) => self.take_written(written),
                Err(cause) => {
                    self.dead = Some(format!("the writer of transactions panicked: {cause}"));
                    Ok(Vec::new())
                }
            },
        };
        self.commit = None;
        self.outcome = outcome.map(|places| self.committed.extend(places));
        match (&self.outcome, &mut self.commits) {
            (Err(fault), _) => {
                self.owes_commit = true;
                tracing::warn!(%fault, "progress is not committed; trying again with the next records");
            }
            // Of the same round: all of it is safe with the sinks.
            (Ok(()), Commits::Transactions(transactions)) if self.dead.is_none() => {
                self.alive_at = Instant::now();
                self.commit = transactions.write().map(Commit::Transaction);
            }
            (Ok(()), _) => self.alive_at = Instant::now(),
        }
    }

    fn take_written(&mut self, written: crate::track::Written) -> Result<Places, KafkaFault> {
        let Commits::Transactions(transactions) = &mut self.commits else {
            return Ok(Vec::new()); // only transactions are written
        };
        match transactions.written(written) {
            Ok(places) => Ok(places),
            Err(LedgerFault::NotNow(fault)) => Err(fault),
            Err(LedgerFault::Fatal(why)) => {
                self.dead = Some(why);
                Ok(Vec::new())
            }
        }
    }

    /// Waits for the commit that is under way, if there is one, and for those that follow in its round.
    pub async fn committed_all(&mut self) {
        while self.commit.is_some() {
            self.committed().await;
        }
    }

    /// True if transactions are still to be made and there is reason to wait for them: one has succeeded not long ago.
    pub fn is_writing_on(&self) -> bool {
        self.has_unwritten_records() && self.alive_at.elapsed() < TRANSACTION_PATIENCE
    }

    fn has_unwritten_records(&self) -> bool {
        match &self.commits {
            Commits::Transactions(transactions) => {
                !transactions.is_empty() || self.commit.is_some()
            }
            Commits::Nothing | Commits::Offsets(_) => false,
        }
    }

    /// How the last commit ended.
    pub fn outcome(&mut self) -> Outcome {
        std::mem::replace(&mut self.outcome, Ok(()))
    }

    /// Why no later commit can succeed, if that is so.
    pub fn dead(&self) -> Option<&str> {
        self.dead.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_beyond_where_reading_begins_is_set_back_once() {
        let tp = TopicPartition::new("t", 0);
        let resumed = || HashMap::from([(tp.clone(), 60)]);
        let mut anew = Checkpoints::new(Commits::Nothing, resumed());
        assert_eq!(anew.set_back(&tp, 0), Some(60));
        assert_eq!(anew.set_back(&tp, 0), None);
        // The sinks may have more than the group: when it comes back uncommitted, it is not new.
        let mut ahead = Checkpoints::new(Commits::Nothing, resumed());
        assert_eq!(ahead.set_back(&tp, 60), None);
        assert_eq!(ahead.set_back(&tp, 50), None);
        ahead.committed.insert(tp.clone(), 70);
        assert_eq!(ahead.set_back(&tp, 70), None);
        assert_eq!(ahead.set_back(&tp, 60), Some(70));
    }
}
