//! Writes changes: one writer at a time among all processes, each write one transaction.
//!
//! Opening the transactional id fences every other writer. Whoever is fenced between reading the versions and committing
//! is refused by Kafka, reads again and tries again. So versions are compared with what surely is the newest state.

use super::Shared;
use super::log::{BY, Log, WRITE, WriteMark, object_of, offset_of};
use super::plan::{Change, Outcome, Plan, Refusal, Step, Written, plan};
use crate::diff;
use crate::error::{RegistryError, Stale};
use crate::model::{Key, Version};
use crate::wire::{self, Stamp};
use bytes::Bytes;
use pipeline::kafka::{
    Admin, KafkaConfig, KafkaFault, Outgoing, StretchReader, TopicPartition, TransactionFault,
    TransactionalWriter,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long a write is tried while others come first.
const PATIENCE: Duration = Duration::from_secs(30);
/// Writers that fence each other step back for a random time up to this one; it doubles up to the longest.
const FIRST_STEP_BACK: Duration = Duration::from_millis(40);
const LONGEST_STEP_BACK: Duration = Duration::from_millis(1000);
/// What was read so long ago is read again from the beginning: Kafka forgets deletions (a day after they were compacted,
/// unless told otherwise), and who comes later than that is not told of them.
const LOG_LASTS: Duration = Duration::from_secs(3600);
/// A moment's silence of Kafka is no reason to refuse a write at once.
const AWAY_FOR: Duration = Duration::from_secs(2);

/// A write that waits for its turn.
pub(super) struct Request {
    pub changes: Vec<Change>,
    pub author: String,
    /// What was written, and the revision of the view that has it.
    pub answer_to: oneshot::Sender<Result<(Vec<Written>, u64), RegistryError>>,
}

/// The thread that writes.
pub(super) struct Writer {
    kafka: KafkaConfig,
    lane: TopicPartition,
    shared: Arc<Shared>,
    log: Log,
    /// When the log was as new as Kafka's last, or begun anew.
    log_read_at: Instant,
    /// None before the first write, and after anything went wrong.
    session: Option<Session>,
}

/// Clients of Kafka.
struct Session {
    admin: Admin,
    reader: StretchReader,
    writer: TransactionalWriter,
}

impl Writer {
    pub fn new(kafka: KafkaConfig, lane: TopicPartition, shared: &Arc<Shared>) -> Self {
        Self {
            kafka,
            lane,
            shared: Arc::clone(shared),
            log: Log::default(),
            log_read_at: Instant::now(),
            session: None,
        }
    }

    /// Until nobody can ask any more.
    pub fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(request) = requests.blocking_recv() {
            let answer = self.write(&request);
            let is_answered = match &answer {
                Ok(_) => true,
                Err(
                    RegistryError::Stale(_) | RegistryError::Refused(_) | RegistryError::Twice(_),
                ) => true,
                Err(_) => false,
            };
            if !is_answered {
                self.session = None; // what comes next begins with new clients
            }
            // Nobody waits for a write that was given up; it is made all the same.
            let _ = request.answer_to.send(answer);
        }
    }

    fn write(&mut self, request: &Request) -> Result<(Vec<Written>, u64), RegistryError> {
        self.refuse_while_away()?;
        let id = rand::random();
        let (start, mut step_back) = (Instant::now(), FIRST_STEP_BACK);
        // Why it is not known whether the write was made.
        let mut doubt: Option<KafkaFault> = None;
        let mut ours = BTreeMap::new();
        // The keys of the records that were sent last.
        let mut sent = Vec::new();
        loop {
            match (self.catch_up(id, &mut ours), doubt.take()) {
                (Ok(()), _) if !ours.is_empty() => {
                    whole(&sent, &ours)?;
                    return Ok(self.answer(&request.changes, &ours));
                }
                (Ok(()), None) => {}
                // It was not made: its writer was fenced before this look.
                (Ok(()), Some(_)) if start.elapsed() < PATIENCE => {}
                (Ok(()), Some(_)) => return Err(RegistryError::Contended(PATIENCE)),
                (Err(cause), None) => return Err(cause),
                (Err(cause), Some(fault)) if start.elapsed() < PATIENCE => {
                    tracing::warn!(%cause, "it is not known yet whether a write was made; asking again");
                    doubt = Some(fault);
                    self.step_back(&mut step_back);
                    continue;
                }
                (Err(_), Some(fault)) => return Err(RegistryError::Unknown(fault)),
            }
            let plan = match plan(&self.log.objects, &request.changes) {
                Ok(plan) => plan,
                Err(refusal) => return Err(self.refused(refusal, &request.changes)),
            };
            let records = self.records(&plan, &request.author, id);
            if records.is_empty() {
                return Ok(self.answer(&request.changes, &ours));
            }
            sent = plan.news().map(|step| step.key.clone()).collect();
            let session = self.session.as_mut().ok_or(RegistryError::Closed)?;
            match session.writer.commit(&records, None) {
                Ok(()) => {
                    let why = "it was committed, and cannot be read yet".to_owned();
                    doubt = Some(KafkaFault::Failed(why));
                }
                Err(TransactionFault::Aborted(fault) | TransactionFault::Unknown(fault)) => {
                    if fault.is_denied() || matches!(fault, KafkaFault::RefusedRecords { .. }) {
                        return Err(fault.into());
                    }
                    tracing::debug!(%fault, "the write did not go through; looking again");
                    doubt = Some(fault);
                    self.step_back(&mut step_back);
                }
            }
        }
    }

    /// Only a new writer decides what this one left open. Two that fence each other must not meet again.
    fn step_back(&mut self, step_back: &mut Duration) {
        self.session = None;
        std::thread::sleep(step_back.mul_f64(rand::random::<f64>()));
        *step_back = (2 * *step_back).min(LONGEST_STEP_BACK);
    }

    fn refuse_while_away(&self) -> Result<(), RegistryError> {
        let since = self.shared.view.borrow().away_since();
        match since {
            Some(since)
                if jiff::Timestamp::now().duration_since(since).unsigned_abs() > AWAY_FOR =>
            {
                Err(RegistryError::Away { since })
            }
            _ => Ok(()),
        }
    }

    /// Fences the other writers, unless that was done before. A writer whose last commit may still be on its way a second
    /// time is fenced too: it would end the next transaction in the middle.
    fn session(&mut self) -> Result<&mut Session, RegistryError> {
        let may_be_followed = |session: &mut Session| session.writer.may_be_followed();
        self.session.take_if(may_be_followed);
        if self.session.is_none() {
            let name = format!("{}.writer", self.lane.topic);
            self.session = Some(Session {
                admin: Admin::connect(&self.kafka)?,
                reader: StretchReader::open(&self.kafka, self.lane.clone())?,
                writer: TransactionalWriter::open(&self.kafka, &name)?,
            });
        }
        self.session.as_mut().ok_or(RegistryError::Closed)
    }

    /// Reads what has been written since the last time. What of it is part of the write with this id goes to `ours`.
    fn catch_up(
        &mut self,
        id: u64,
        ours: &mut BTreeMap<Key, Version>,
    ) -> Result<(), RegistryError> {
        self.session()?;
        let session = self.session.as_mut().ok_or(RegistryError::Closed)?;
        let end = session.admin.settled_end(&self.lane)?;
        let age = self.log_read_at.elapsed();
        if is_outdated(self.log.next_offset, end, age) {
            (self.log, self.log_read_at) = (Log::default(), Instant::now());
        }
        let log = &mut self.log;
        session.reader.read(log.next_offset..end, |record| {
            let taken = log.take(&record);
            if let (Some(key), Some(WriteMark { id: write, .. })) = (taken.key, taken.write)
                && write == id
            {
                ours.insert(key, taken.version);
            }
        })?;
        // Behind the last record there is the transaction's marker, and nothing else that could be read again.
        log.next_offset = log.next_offset.max(end);
        self.log_read_at = Instant::now();
        Ok(())
    }

    fn records(&self, plan: &Plan, author: &str, id: u64) -> Vec<Outgoing> {
        let written_at = jiff::Timestamp::now();
        let stamp = Stamp {
            written_by: author.to_owned(),
            written_at,
        };
        let count = plan.news().count();
        let mark = WriteMark { id, count };
        let record = |step: &Step| Outgoing {
            topic: Arc::clone(&self.lane.topic),
            partition: Some(self.lane.partition),
            key: Bytes::from(step.key.to_string()),
            timestamp_ms: written_at.as_millisecond(),
            headers: vec![(WRITE, mark.to_string()), (BY, author.to_owned())],
            payload: match &step.object {
                Some(object) => wire::encode(object, step.seen, &stamp).into(),
                None => Bytes::new(),
            },
        };
        plan.news().map(record).collect()
    }

    /// What became of each change: what is in `ours` was written just now.
    fn answer(&self, changes: &[Change], ours: &BTreeMap<Key, Version>) -> (Vec<Written>, u64) {
        let written = changes.iter().map(|change| {
            let key = change.key().clone();
            let outcome = match (ours.get(&key), change.object()) {
                (None, _) => Outcome::Unchanged,
                (Some(_), None) => Outcome::Deleted,
                (Some(_), Some(_)) if change.seen() == 0 => Outcome::Created,
                (Some(_), Some(_)) => Outcome::Changed,
            };
            let version = match (outcome, ours.get(&key)) {
                (Outcome::Deleted, _) => 0,
                (_, Some(version)) => *version,
                (_, None) => self.log.objects.version(&key),
            };
            Written {
                key,
                outcome,
                version,
            }
        });
        let revision = ours.values().copied().max().unwrap_or(0);
        (written.collect(), revision)
    }

    fn refused(&mut self, refusal: Refusal, changes: &[Change]) -> RegistryError {
        match refusal {
            Refusal::Twice(key) => RegistryError::Twice(key),
            Refusal::Problems(problems) => RegistryError::Refused(problems),
            Refusal::Stale(keys) => {
                let stale = keys.into_iter().map(|key| {
                    let change = changes.iter().find(|change| *change.key() == key);
                    let seen = change.map_or(0, Change::seen);
                    self.stale(key, seen)
                });
                RegistryError::Stale(stale.collect())
            }
        }
    }

    /// What has changed since the version seen, as far as Kafka still has it.
    fn stale(&mut self, key: Key, seen: Version) -> Stale {
        let version = self.log.objects.version(&key);
        // Not as it was before a record that cannot be read.
        let present = self.log.objects.get(&key);
        let present = present.filter(|object| object.version == version);
        let deletion = self.log.deletions.get(&key).filter(|_| present.is_none());
        let (written_by, written_at) = match (&present, deletion) {
            (Some(object), _) => (object.written_by.clone(), object.written_at.to_string()),
            (None, Some(deletion)) => (deletion.by.clone(), deletion.at.to_string()),
            (None, None) => Default::default(),
        };
        let changes = match (self.old(&key, seen), present) {
            (Some(old), Some(present)) => {
                let [old, present] = [old, present.object()].map(crate::secrets::hide);
                diff::changes(Some(&old), Some(&present))
            }
            _ => Vec::new(),
        };
        Stale {
            key,
            seen,
            present: version,
            written_by,
            written_at,
            changes,
        }
    }

    /// The object as it was in that version, unless compaction has removed it.
    fn old(&mut self, key: &Key, version: Version) -> Option<crate::model::Object> {
        let offset = offset_of(version)?;
        let session = self.session.as_mut()?;
        let mut found = None;
        let read = session
            .reader
            .read(offset..offset + 1, |record| found = Some(record));
        if let Err(fault) = read {
            tracing::warn!(%fault, version, "an old version cannot be read");
        }
        let record = found.filter(|record| record.offset == offset)?;
        object_of(&record, key).ok().map(|object| object.object())
    }
}

/// True if what was read does not say what Kafka has now: it is too old, or of a topic that was deleted and made anew. A
/// node that takes over tells no end before it knows the last one told.
fn is_outdated(next_offset: i64, end: i64, age: Duration) -> bool {
    end < next_offset || age > LOG_LASTS
}

/// A transaction that was ended in the middle leaves a part of its records: that is no write.
fn whole(sent: &[Key], ours: &BTreeMap<Key, Version>) -> Result<(), RegistryError> {
    let (written, missing): (Vec<Key>, Vec<Key>) =
        sent.iter().cloned().partition(|key| ours.contains_key(key));
    match missing.is_empty() {
        true => Ok(()),
        false => Err(RegistryError::Partial { written, missing }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_lasts_while_kafka_tells_of_every_deletion() {
        let young = Duration::from_secs(60);
        assert!(!is_outdated(0, 0, young));
        assert!(!is_outdated(7, 7, young) && !is_outdated(7, 9, young));
        assert!(is_outdated(7, 6, young), "the topic was made anew");
        let old = LOG_LASTS + Duration::from_secs(1);
        assert!(is_outdated(7, 7, old) && is_outdated(7, 9, old));
        let a_day = Duration::from_secs(24 * 3600);
        assert!(2 * LOG_LASTS < a_day, "Kafka keeps deletions for a day");
    }

    #[test]
    fn a_part_of_a_write_is_not_taken_for_the_whole() {
        let [a, b] = ["source/a", "source/b"].map(|key| key.parse::<Key>().unwrap());
        let sent = [a.clone(), b.clone()];
        let all = BTreeMap::from([(a.clone(), 1), (b.clone(), 2)]);
        assert!(whole(&sent, &all).is_ok());
        let part = BTreeMap::from([(a.clone(), 1)]);
        let error = whole(&sent, &part).expect_err("b is missing");
        assert!(
            matches!(&error, RegistryError::Partial { written, missing } if *written == [a] && *missing == [b]),
            "{error}"
        );
        let text = error.to_string();
        let said = ["was written: source/a;", "since: source/b;"];
        assert!(said.iter().all(|one| text.contains(one)), "{text}");
    }
}
