//! What the readers of both topics do alike: they begin anew after a failure, tell once that everything was read, and
//! notice when Kafka says nothing.

use super::{ASK, REPLACE_AFTER, Shared};
use pipeline::kafka::{KafkaConfig, KafkaFault, Tail, TopicPartition};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

/// A topic that is read for ever.
pub(super) struct Topic {
    kafka: KafkaConfig,
    lane: TopicPartition,
    shared: Arc<Shared>,
    /// Told once, when the topic was read to its end for the first time.
    first: Option<Sender<Result<(), KafkaFault>>>,
}

/// What becomes of a topic's records.
pub(super) trait Reader {
    /// What the topic holds, for people.
    const WHAT: &str;

    /// Reads from the beginning, until closing.
    fn follow(&mut self, topic: &mut Topic) -> Result<(), KafkaFault>;

    /// Told when following has failed, before it begins anew.
    fn lose_contact(&mut self);
}

impl Topic {
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

    /// Until closing. After a failure everything is read anew: a deletion that nobody saw would else be missed when even
    /// its record is gone.
    pub fn read<R: Reader>(mut self, mut reader: R) {
        while let Err(fault) = reader.follow(&mut self) {
            if let Some(first) = self.first.take() {
                // Whoever opens the registry has gone if nobody listens.
                let _ = first.send(Err(fault));
                return;
            }
            tracing::warn!(%fault, topic = %self.lane.topic, "reading {} again from the beginning", R::WHAT);
            reader.lose_contact();
            if !self.shared.pause() {
                return;
            }
        }
    }

    pub fn open(&self) -> Result<Tail, KafkaFault> {
        Tail::open(&self.kafka, self.lane.clone())
    }

    /// Everything was read; whoever opens the registry waits for that once.
    pub fn was_read(&mut self) {
        if let Some(first) = self.first.take() {
            let _ = first.send(Ok(()));
        }
    }
}

/// When Kafka said something last.
pub(super) struct Contact {
    last: Instant,
    asked: Instant,
}

impl Contact {
    /// As of now.
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            last: now,
            asked: now,
        }
    }

    /// Kafka has said something. Returns the time.
    pub fn heard(&mut self) -> Instant {
        self.last = Instant::now();
        self.last
    }

    /// Asks Kafka whether it is there if it has said nothing for a while; None if there is no need. Blocks.
    pub fn ask(&mut self, tail: &Tail) -> Option<bool> {
        if self.asked.elapsed() < ASK || self.last.elapsed() < ASK {
            return None;
        }
        let is_answered = tail.is_answered(ASK);
        self.asked = Instant::now();
        if is_answered {
            self.last = self.asked;
        }
        Some(is_answered)
    }

    /// Fails once the reader is to be replaced.
    pub fn check(&self) -> Result<(), KafkaFault> {
        if self.last.elapsed() < REPLACE_AFTER {
            return Ok(());
        }
        let why = format!("no answer for {REPLACE_AFTER:?}");
        Err(KafkaFault::Failed(why))
    }
}
