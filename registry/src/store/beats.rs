//! Follows the heartbeats.

use super::reading::{Contact, Reader, Topic};
use super::{POLL, Shared};
use crate::fleet::{Fleet, Heard, When};
use crate::wire;
use pipeline::kafka::{Incoming, KafkaFault, Tailed};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is before an instance's id in its records' keys.
pub(crate) const KEY: &str = "instance/";

/// Heartbeats that come together are shown together: with many instances, each would else be a view of its own.
const TOGETHER: Duration = Duration::from_millis(50);

/// What the status topic says.
pub(super) struct Beats {
    shared: Arc<Shared>,
    start: Instant,
    fleet: Fleet,
}

impl Reader for Beats {
    const WHAT: &str = "the heartbeats";

    fn follow(&mut self, topic: &mut Topic) -> Result<(), KafkaFault> {
        let mut tail = topic.open()?;
        let mut when = When::Before;
        let mut contact = Contact::new();
        let mut shown = Instant::now();
        let mut has_news = false;
        while !self.shared.is_closing() {
            match tail.next(POLL / 2)? {
                Tailed::Record(record) => {
                    contact.heard();
                    self.take(&record, when);
                    has_news = true;
                }
                Tailed::End => {
                    contact.heard();
                    self.fleet.contact(self.now_ms());
                    if when == When::Before {
                        when = When::Now;
                        self.fleet.look(self.now_ms());
                        self.show();
                        topic.was_read();
                    }
                }
                Tailed::Nothing => {}
            }
            match contact.ask(&tail) {
                Some(true) => self.fleet.contact(self.now_ms()),
                Some(false) => self.fleet.no_contact(self.now_ms()),
                None => {}
            }
            contact.check()?;
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

    fn lose_contact(&mut self) {
        self.fleet.no_contact(self.now_ms());
    }
}

impl Beats {
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            start: Instant::now(),
            fleet: Fleet::default(),
        }
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
