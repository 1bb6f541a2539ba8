//! Follows what is declared.

use super::log::{Log, WriteMark};
use super::reading::{Contact, Reader, Topic};
use super::{POLL, Shared};
use pipeline::kafka::{KafkaFault, Tailed};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The records of one write come together. What is missing after this time was compacted away, and is not waited for.
const REST_OF_A_WRITE: Duration = Duration::from_millis(300);

/// What the registry topic says.
pub(super) struct Follower {
    shared: Arc<Shared>,
}

impl Reader for Follower {
    const WHAT: &str = "the registry";

    fn follow(&mut self, topic: &mut Topic) -> Result<(), KafkaFault> {
        let mut tail = topic.open()?;
        let mut log = Log::default();
        let mut read_all = false;
        let mut rest = Rest::default();
        let mut contact = Contact::new();
        while !self.shared.is_closing() {
            let wait = if rest.is_open() {
                Duration::from_millis(10)
            } else {
                POLL
            };
            match tail.next(wait)? {
                Tailed::Record(record) => {
                    let now = contact.heard();
                    rest.note(log.take(&record).write, now);
                    if read_all && !rest.is_open() {
                        self.publish(&log);
                    }
                    continue;
                }
                Tailed::End => {
                    contact.heard();
                    if !std::mem::replace(&mut read_all, true) {
                        self.publish(&log);
                        self.note_contact(true);
                        topic.was_read();
                    }
                }
                Tailed::Nothing => {}
            }
            if read_all && rest.is_overdue(Instant::now()) {
                rest = Rest::default();
                self.publish(&log);
            }
            if let Some(is_answered) = contact.ask(&tail)
                && (read_all || !is_answered)
            {
                self.note_contact(is_answered);
            }
            contact.check()?;
        }
        Ok(())
    }

    fn lose_contact(&mut self) {
        self.note_contact(false);
    }
}

impl Follower {
    pub fn new(shared: &Arc<Shared>) -> Self {
        let shared = Arc::clone(shared);
        Self { shared }
    }

    fn publish(&self, log: &Log) {
        let revision = u64::try_from(log.next_offset).unwrap_or(0);
        self.shared
            .publish(|view| view.set_objects(log.objects.clone(), revision));
    }

    /// Shown once each time it changes.
    fn note_contact(&self, is_answered: bool) {
        let was_away = self.shared.view.borrow().away_since();
        match (is_answered, was_away) {
            (true, Some(since)) => {
                tracing::info!(%since, "Kafka answers again: the registry is followed");
                self.shared.publish(|view| view.away_since = None);
            }
            (false, None) => {
                tracing::warn!("Kafka does not answer: going on with what the registry said last");
                let now = jiff::Timestamp::now();
                self.shared.publish(|view| view.away_since = Some(now));
            }
            _ => {}
        }
    }
}

/// What is still to come of a write: its objects are shown together.
#[derive(Debug, Default)]
struct Rest {
    write: Option<(WriteMark, usize, Instant)>,
}

impl Rest {
    fn note(&mut self, mark: Option<WriteMark>, now: Instant) {
        let seen = match (&self.write, mark) {
            (Some((last, seen, _)), Some(mark)) if *last == mark => seen + 1,
            _ => 1,
        };
        self.write = mark
            .filter(|mark| seen < mark.count)
            .map(|mark| (mark, seen, now));
    }

    fn is_open(&self) -> bool {
        self.write.is_some()
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let since = self.write.as_ref().map(|(_, _, since)| *since);
        since.is_some_and(|since| now.duration_since(since) >= REST_OF_A_WRITE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_open_until_its_last_record_or_for_a_moment() {
        let now = Instant::now();
        let mark = |id| Some(WriteMark { id, count: 3 });
        let mut rest = Rest::default();
        rest.note(mark(1), now);
        rest.note(mark(1), now);
        assert!(rest.is_open());
        rest.note(mark(1), now);
        assert!(!rest.is_open());
        rest.note(mark(2), now); // its rest was compacted away
        assert!(rest.is_open() && !rest.is_overdue(now));
        assert!(rest.is_overdue(now + REST_OF_A_WRITE));
        rest.note(mark(3), now);
        assert!(rest.is_open());
        rest.note(None, now);
        assert!(!rest.is_open());
    }
}
