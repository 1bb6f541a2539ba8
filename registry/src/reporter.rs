//! Says what this process does: every second, and at once when it has changed.

use crate::fleet::HEARTBEAT;
use crate::instance::{Instance, InstanceIdentity};
use crate::wire;
use bytes::Bytes;
use pipeline::kafka::{KafkaConfig, KafkaFault, Outgoing, Receipt, Writer};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Between two reports, whatever changes: what comes within is told together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// A report that is not acknowledged for so long goes with its client: it may have lost Kafka for good.
const REPLACE_AFTER: Duration = Duration::from_secs(10);
/// For the last word at the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Reports for one process on a task of its own. Dropped without [`Reporter::close`] it falls silent, and is shown as lost:
/// only an orderly end says goodbye.
#[derive(Debug)]
pub struct Reporter {
    says: watch::Sender<Instance>,
    closing: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Reporter {
    pub(crate) fn start(
        kafka: &KafkaConfig,
        topic: &str,
        who: InstanceIdentity,
    ) -> Result<Self, KafkaFault> {
        let instance = Instance::new(who);
        let key = format!("{}{}", crate::store::INSTANCE_KEY, instance.id);
        let (says, heard) = watch::channel(instance);
        let (closing, closed) = oneshot::channel();
        let voice = Voice {
            writer: Some(Writer::new(kafka)?),
            kafka: kafka.clone(),
            topic: topic.into(),
            key: key.into(),
            on_its_way: None,
        };
        let task = tokio::spawn(report(voice, heard, closed));
        Ok(Self {
            says,
            closing: Some(closing),
            task: Some(task),
        })
    }

    /// Changes what is said. What people watch for (states, lists, versions) is told at once, figures with the next heartbeat.
    pub fn update(&self, change: impl FnOnce(&mut Instance)) {
        self.says.send_modify(change);
    }

    /// What is said at present.
    pub fn instance(&self) -> Instance {
        self.says.borrow().clone()
    }

    /// Says goodbye, and waits a moment until Kafka has it.
    pub async fn close(mut self) {
        if let Some(closing) = self.closing.take() {
            // An error means that the task has ended already.
            let _ = closing.send(());
        }
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn report(
    mut voice: Voice,
    mut heard: watch::Receiver<Instance>,
    mut closed: oneshot::Receiver<()>,
) {
    let mut beat = tokio::time::interval(HEARTBEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told: Option<(Instance, Instant)> = None;
    loop {
        let is_time = tokio::select! {
            _ = beat.tick() => true,
            news = heard.changed() => match news {
                Ok(()) => false,
                Err(_) => return, // dropped
            },
            () = voice.is_heard() => false,
            _ = &mut closed => return voice.say_goodbye().await,
        };
        if let Some((told, at)) = &told
            && !is_time
        {
            if told.says_the_same_as(&heard.borrow_and_update()) {
                continue;
            }
            tokio::time::sleep(SHORTEST_PAUSE.saturating_sub(at.elapsed())).await;
        }
        let says = heard.borrow_and_update().clone();
        if voice.say(wire::encode_instance(&says).into()) {
            told = Some((says, Instant::now()));
        }
    }
}

/// What carries the words to Kafka: one at a time.
struct Voice {
    kafka: KafkaConfig,
    topic: Arc<str>,
    key: Bytes,
    /// None while there is none to be had.
    writer: Option<Writer>,
    on_its_way: Option<(Receipt, Instant)>,
}

impl Voice {
    /// Sends this, unless the last word is still on its way: a heartbeat that has not arrived needs no second one.
    fn say(&mut self, words: Bytes) -> bool {
        self.replace_if_stuck();
        if self.on_its_way.is_some() {
            return false;
        }
        let Some(writer) = &self.writer else {
            return false;
        };
        match writer.try_send(&self.record(words)) {
            Ok(receipt) => {
                self.on_its_way = receipt.map(|receipt| (receipt, Instant::now()));
                self.on_its_way.is_some()
            }
            Err(fault) => {
                tracing::warn!(%fault, "a heartbeat was not sent");
                false
            }
        }
    }

    fn record(&self, payload: Bytes) -> Outgoing {
        Outgoing {
            topic: Arc::clone(&self.topic),
            partition: Some(0),
            key: self.key.clone(),
            timestamp_ms: jiff::Timestamp::now().as_millisecond(),
            headers: Vec::new(),
            payload,
        }
    }

    /// Resolves when the word on its way has arrived or is given up; never without one.
    async fn is_heard(&mut self) {
        match &mut self.on_its_way {
            None => std::future::pending().await,
            Some((receipt, _)) => {
                let answer = receipt.await;
                self.on_its_way = None;
                if let Err(fault) = answer {
                    tracing::warn!(%fault, "a heartbeat was not delivered");
                }
            }
        }
    }

    fn replace_if_stuck(&mut self) {
        let since = self.on_its_way.as_ref().map(|(_, since)| since.elapsed());
        if self.writer.is_some() && since.is_none_or(|since| since < REPLACE_AFTER) {
            return;
        }
        tracing::warn!("heartbeats do not arrive; trying with a new client");
        self.on_its_way = None;
        let old = self.writer.take();
        // Dropping a client blocks; what it still has is of no use to anybody.
        drop(tokio::task::spawn_blocking(move || drop(old)));
        match Writer::new(&self.kafka) {
            Ok(writer) => self.writer = Some(writer),
            Err(fault) => tracing::warn!(%fault, "there is no new client"),
        }
    }

    async fn say_goodbye(mut self) {
        let last_words = async {
            if self.on_its_way.is_some() {
                self.is_heard().await;
            }
            if self.say(Bytes::new()) {
                self.is_heard().await;
            }
        };
        if tokio::time::timeout(GOODBYE, last_words).await.is_err() {
            tracing::warn!(
                "Kafka did not hear the goodbye: this process will be shown as lost for a while"
            );
        }
        let writer = self.writer.take();
        // An error would be a panic there, which is in the log.
        let _ = tokio::task::spawn_blocking(move || drop(writer)).await;
    }
}
