//! Follows what is declared.

use super::log::{Log, WriteMark};
use super::{ASK, POLL, REPLACE_AFTER, Shared};
use pipeline::kafka::{KafkaConfig, KafkaFault, Tail, Tailed, TopicPartition};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// The records of one write come together. What is missing after this time was compacted away, and is not waited for.
const REST_OF_A_WRITE: Duration = Duration::from_millis(300);

/// The thread that reads the registry topic.
pub(super) struct Follower {
    kafka: KafkaConfig,
    lane: TopicPartition,
    shared: Arc<Shared>,
    /// Told once, when the topic was read to its end for the first time.
    first: Option<Sender<Result<(), KafkaFault>>>,
}

impl Follower {
    pub fn new(
        kafka: KafkaConfig,
        lane: TopicPartition,
        shared: &Arc<Shared>,
        first: Sender<Result<(), KafkaFault>>,
    ) -> Self {
        Self {
            kafka,
            lane,
            shared: Arc::clone(shared),
            first: Some(first),
        }
    }

    /// Until closing. A reader that fails is replaced, and its successor reads everything anew: a deletion that nobody saw
    /// would else be missed when even its record is gone.
    pub fn run(mut self) {
        while let Err(fault) = self.follow() {
            if let Some(first) = self.first.take() {
                // Whoever opens the registry has gone if nobody listens.
                let _ = first.send(Err(fault));
                return;
            }
            tracing::warn!(%fault, topic = %self.lane.topic, "reading the registry again from its beginning");
            self.note_contact(false);
            if !self.shared.pause() {
                return;
            }
        }
    }

    fn follow(&mut self) -> Result<(), KafkaFault> {
        let mut tail = Tail::open(&self.kafka, self.lane.clone())?;
        let mut log = Log::default();
        let mut read_all = false;
        let mut rest = Rest::default();
        let mut contact = Instant::now();
        let mut asked = contact;
        while !self.shared.is_closing() {
            let wait = if rest.is_open() {
                Duration::from_millis(10)
            } else {
                POLL
            };
            match tail.next(wait)? {
                Tailed::Record(record) => {
                    contact = Instant::now();
                    rest.note(log.take(&record).write, contact);
                    if read_all && !rest.is_open() {
                        self.publish(&log);
                    }
                    continue;
                }
                Tailed::End => {
                    contact = Instant::now();
                    if !std::mem::replace(&mut read_all, true) {
                        self.publish(&log);
                        self.note_contact(true);
                        if let Some(first) = self.first.take() {
                            let _ = first.send(Ok(()));
                        }
                    }
                }
                Tailed::Nothing => {}
            }
            if read_all && rest.is_overdue(Instant::now()) {
                rest = Rest::default();
                self.publish(&log);
            }
            if asked.elapsed() >= ASK && contact.elapsed() >= ASK {
                let is_answered = tail.is_answered(ASK);
                asked = Instant::now();
                if is_answered {
                    contact = asked;
                }
                if read_all || !is_answered {
                    self.note_contact(is_answered);
                }
            }
            if contact.elapsed() >= REPLACE_AFTER {
                let why = format!("no answer for {REPLACE_AFTER:?}");
                return Err(KafkaFault::Failed(why));
            }
        }
        Ok(())
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
