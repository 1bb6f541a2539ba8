//! Follows the heartbeats.

use super::{ASK, POLL, REPLACE_AFTER, Shared};
use crate::fleet::{Fleet, Heard, When};
use crate::wire;
use pipeline::kafka::{Incoming, KafkaConfig, KafkaFault, Tail, Tailed, TopicPartition};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// What is before an instance's id in its records' keys.
pub(crate) const KEY: &str = "instance/";

/// Heartbeats that come together are shown together: with many instances, each would else be a view of its own.
const TOGETHER: Duration = Duration::from_millis(50);

/// The thread that reads the status topic.
pub(super) struct Beats {
    kafka: KafkaConfig,
    lane: TopicPartition,
    shared: Arc<Shared>,
    /// Told once, when the topic was read to its end for the first time.
    first: Option<Sender<Result<(), KafkaFault>>>,
    start: Instant,
    fleet: Fleet,
}

impl Beats {
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
            start: Instant::now(),
            fleet: Fleet::default(),
        }
    }

    /// Until closing. A reader that fails is replaced, and its successor reads everything anew.
    pub fn run(mut self) {
        while let Err(fault) = self.follow() {
            if let Some(first) = self.first.take() {
                let _ = first.send(Err(fault));
                return;
            }
            tracing::warn!(%fault, topic = %self.lane.topic, "reading the heartbeats again from their beginning");
            self.fleet.no_contact(self.now_ms());
            if !self.shared.pause() {
                return;
            }
        }
    }

    fn follow(&mut self) -> Result<(), KafkaFault> {
        let mut tail = Tail::open(&self.kafka, self.lane.clone())?;
        let mut when = When::Before;
        let mut contact = Instant::now();
        let mut asked = contact;
        let mut shown = contact;
        let mut has_news = false;
        while !self.shared.is_closing() {
            match tail.next(POLL / 2)? {
                Tailed::Record(record) => {
                    contact = Instant::now();
                    self.take(&record, when);
                    has_news = true;
                }
                Tailed::End => {
                    contact = Instant::now();
                    self.fleet.contact(self.now_ms());
                    if when == When::Before {
                        when = When::Now;
                        self.fleet.look(self.now_ms());
                        self.show();
                        if let Some(first) = self.first.take() {
                            let _ = first.send(Ok(()));
                        }
                    }
                }
                Tailed::Nothing => {}
            }
            if asked.elapsed() >= ASK && contact.elapsed() >= ASK {
                match tail.is_answered(ASK) {
                    true => {
                        contact = Instant::now();
                        self.fleet.contact(self.now_ms());
                    }
                    false => self.fleet.no_contact(self.now_ms()),
                }
                asked = Instant::now();
            }
            if contact.elapsed() >= REPLACE_AFTER {
                let why = format!("no answer for {REPLACE_AFTER:?}");
                return Err(KafkaFault::Failed(why));
            }
            if when == When::Now && shown.elapsed() >= TOGETHER {
                has_news |= self.fleet.look(self.now_ms());
                if std::mem::take(&mut has_news) {
                    self.show();
                }
                shown = Instant::now();
            }
        }
        Ok(())
    }

    fn take(&mut self, record: &Incoming, when: When) {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
        let Some(id) = key.strip_prefix(KEY) else {
            tracing::warn!(%key, "a record among the heartbeats has a key of another kind");
            return;
        };
        let now_ms = self.now_ms();
        if record.payload.is_empty() {
            return self.fleet.goodbye(now_ms, id);
        }
        match wire::decode_instance(&record.payload) {
            Ok(instance) if instance.id == id => {
                let heard = Heard {
                    instance,
                    sent_unix_ms: record.timestamp_ms,
                    arrived_unix_ms: jiff::Timestamp::now().as_millisecond(),
                    when,
                };
                self.fleet.heard(now_ms, heard);
            }
            Ok(other) => {
                tracing::warn!(%key, other = other.id, "a heartbeat is about another instance")
            }
            Err(why) => tracing::warn!(%key, why, "a heartbeat cannot be read"),
        }
    }

    fn show(&self) {
        let instances = self.fleet.all();
        self.shared.publish(|view| view.instances = instances);
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}
