//! The two topics: read for ever by a thread each, written by a third.
//!
//! ```text
//! framelane.registry ─────▶ follow ─┐
//!                                   ├─▶ View (watch channel) ─▶ everybody
//! framelane.registry.status ▶ beats ┘
//! write() ─▶ writer: fence, read to the end, compare versions, one transaction
//! ```

mod beats;
mod follow;
mod log;
mod plan;
mod reading;
mod writer;

pub(crate) use beats::KEY as INSTANCE_KEY;
pub use plan::{Change, Outcome, Written, preview};

use crate::error::RegistryError;
use crate::instance::{InstanceIdentity, machine};
use crate::model::Name;
use crate::reporter::Reporter;
use crate::view::View;
use beats::Beats;
use follow::Follower;
use pipeline::kafka::{Admin, KafkaConfig, KafkaFault, TopicPartition, TopicSpec};
use reading::Topic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use writer::Request;

/// The topic that everybody uses unless told otherwise.
pub const DEFAULT_TOPIC: &str = "framelane.registry";

/// Writes that wait for their turn; more wait in `write`.
const WAITING_WRITES: usize = 64;
/// What reading both topics for the first time may take.
const FIRST_READ: Duration = Duration::from_secs(30);
/// How long a poll of Kafka blocks: what closing may take.
const POLL: Duration = Duration::from_millis(100);
/// How long Kafka is asked whether it is there, when it says nothing by itself; and how often.
const ASK: Duration = Duration::from_secs(1);
/// A reader that gets no answer for so long is replaced: a client can lose all nodes and never find them again.
const REPLACE_AFTER: Duration = Duration::from_secs(15);
/// Between two tries of a reader.
const PAUSE: Duration = Duration::from_millis(500);

/// Which registry it is.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Registry")]
pub struct RegistryArgs {
    /// The topic of what is declared; what is seen of it is in the topic of this name and `.status`
    #[arg(
        long,
        env = "FRAMELANE_REGISTRY",
        default_value = DEFAULT_TOPIC,
        value_name = "TOPIC"
    )]
    pub registry: Name,
}

/// What is declared, and what is seen of it. Clones share one reader; it ends with the last of them.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kafka: KafkaConfig,
    topic: Name,
    author: String,
    shared: Arc<Shared>,
    /// None when closing.
    writes: Option<mpsc::Sender<Request>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads have in common.
#[derive(Debug)]
struct Shared {
    view: watch::Sender<Arc<View>>,
    is_closing: AtomicBool,
}

impl Shared {
    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// Shows everybody the next moment.
    fn publish(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(|view| change(Arc::make_mut(view)));
    }

    /// Waits, unless closing; false if closing.
    fn pause(&self) -> bool {
        const STEP: Duration = Duration::from_millis(50);
        let start = Instant::now();
        while start.elapsed() < PAUSE && !self.is_closing() {
            std::thread::sleep(STEP); // between two tries
        }
        !self.is_closing()
    }
}

impl Registry {
    /// Makes the topics unless they exist, and reads both to their ends.
    ///
    /// # Errors
    /// What Kafka says, if it does not answer or does not allow it.
    pub async fn open(kafka: &KafkaConfig, topic: &str) -> Result<Self, RegistryError> {
        let topic: Name = topic.parse().map_err(KafkaFault::Unfit)?;
        let (view, _) = watch::channel(Arc::new(View::empty()));
        let is_closing = AtomicBool::new(false);
        let shared = Arc::new(Shared { view, is_closing });
        let (writes, requests) = mpsc::channel(WAITING_WRITES);
        let inner = Arc::new(Inner {
            kafka: kafka.clone(),
            topic,
            author: author(),
            shared,
            writes: Some(writes),
            threads: Mutex::default(),
        });
        let registry = Self { inner };
        let opening = Arc::clone(&registry.inner);
        let opened = tokio::task::spawn_blocking(move || opening.start(requests));
        opened.await.map_err(|_| RegistryError::Closed)??;
        Ok(registry)
    }

    /// Everything as it is known now.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.inner.shared.view.borrow())
    }

    /// Told of every change. Heartbeats are changes too: compare [`View::revision`] where only what is declared counts.
    /// While Kafka is away the last view stays, and says so.
    pub fn changes(&self) -> watch::Receiver<Arc<View>> {
        self.inner.shared.view.subscribe()
    }

    /// Writes all of these or nothing, in the name of this process's user. When it comes back, [`Registry::view`] knows of it.
    ///
    /// # Errors
    /// [`RegistryError::Stale`] if an object has another version than the one seen, [`RegistryError::Refused`] if the
    /// objects would not fit together, [`RegistryError::Away`] and others about Kafka.
    pub async fn write(&self, changes: &[Change]) -> Result<Vec<Written>, RegistryError> {
        self.write_as(changes, &self.inner.author).await
    }

    /// As [`Registry::write`], in somebody's name.
    pub async fn write_as(
        &self,
        changes: &[Change],
        author: &str,
    ) -> Result<Vec<Written>, RegistryError> {
        let (answer_to, answer) = oneshot::channel();
        let request = Request {
            changes: changes.to_vec(),
            author: author.to_owned(),
            answer_to,
        };
        let writes = self.inner.writes.as_ref().ok_or(RegistryError::Closed)?;
        writes
            .send(request)
            .await
            .map_err(|_| RegistryError::Closed)?;
        let (written, revision) = answer.await.map_err(|_| RegistryError::Closed)??;
        // A reader that is behind for long is shown by the view itself.
        if self.view_from(revision).await.is_none() {
            tracing::warn!(
                revision,
                "the view is not as new yet as what was just written"
            );
        }
        Ok(written)
    }

    /// The view, once it is as new as this revision, which is also the version of an object. None if the reader is behind for
    /// some seconds.
    pub async fn view_from(&self, revision: u64) -> Option<Arc<View>> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let mut changes = self.changes();
        let reached = changes.wait_for(|view| view.revision() >= revision);
        let reached = tokio::time::timeout(PATIENCE, reached).await.ok()?;
        reached.ok().map(|view| Arc::clone(&view))
    }

    /// Reports for a process, every second and whenever what it says has changed, until it is closed or dropped.
    ///
    /// # Errors
    /// If Kafka's client refuses its settings.
    pub fn reporter(&self, who: InstanceIdentity) -> Result<Reporter, RegistryError> {
        Ok(Reporter::start(
            &self.inner.kafka,
            &self.inner.status_topic(),
            who,
        )?)
    }

    /// In whose name [`Registry::write`] writes.
    pub fn author(&self) -> &str {
        &self.inner.author
    }

    /// The topic of what is declared.
    pub fn topic(&self) -> &Name {
        &self.inner.topic
    }

    /// The topic of the heartbeats.
    pub fn status_topic(&self) -> String {
        self.inner.status_topic()
    }

    /// Where Kafka is.
    pub fn kafka(&self) -> &KafkaConfig {
        &self.inner.kafka
    }
}

impl Inner {
    fn status_topic(&self) -> String {
        format!("{}.status", self.topic)
    }

    fn start(&self, requests: mpsc::Receiver<Request>) -> Result<(), RegistryError> {
        let admin = Admin::connect(&self.kafka)?;
        for spec in [
            desired_topic(&self.topic),
            status_topic(&self.status_topic()),
        ] {
            let info = admin.ensure_topic(&spec)?;
            if info.partitions != 1 {
                return Err(KafkaFault::Unfit(format!(
                    "topic {} has {} partitions, a registry's has one: give another name with --registry",
                    info.name, info.partitions
                ))
                .into());
            }
        }
        drop(admin);
        let lane = |topic: &str| TopicPartition::new(topic, 0);
        let (desired, status) = (lane(&self.topic), lane(&self.status_topic()));
        let (objects_read, first_objects) = std::sync::mpsc::channel();
        let (beats_read, first_beats) = std::sync::mpsc::channel();
        let topic = |lane, first| Topic::new(self.kafka.clone(), lane, &self.shared, first);
        let objects = topic(desired.clone(), objects_read);
        let beats = topic(status, beats_read);
        let (follower, listener) = (Follower::new(&self.shared), Beats::new(&self.shared));
        self.spawn("registry", move || objects.read(follower))?;
        self.spawn("registry-status", move || beats.read(listener))?;
        let deadline = Instant::now() + FIRST_READ;
        for first in [first_objects, first_beats] {
            let left = deadline.saturating_duration_since(Instant::now());
            first.recv_timeout(left).map_err(|_| {
                KafkaFault::Failed(format!("{} was not read within {FIRST_READ:?}", self.topic))
            })??;
        }
        let writer = writer::Writer::new(self.kafka.clone(), desired, &self.shared);
        self.spawn("registry-writer", move || writer.run(requests))?;
        Ok(())
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), KafkaFault> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map_err(|cause| {
                KafkaFault::Failed(format!("the system starts no more threads: {cause}"))
            })?;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(thread);
        Ok(())
    }
}

impl Drop for Inner {
    /// Waits for the threads, a moment usually. One that Kafka keeps waiting ends by itself later.
    fn drop(&mut self) {
        const AT_MOST: Duration = Duration::from_secs(2);
        const STEP: Duration = Duration::from_millis(5);
        self.shared.is_closing.store(true, Ordering::Relaxed);
        self.writes = None;
        let threads = std::mem::take(
            self.threads
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let start = Instant::now();
        for thread in threads {
            while !thread.is_finished() && start.elapsed() < AT_MOST {
                std::thread::sleep(STEP); // threads offer no other bounded wait
            }
            if thread.is_finished() {
                // A panic there is in the log.
                let _ = thread.join();
            }
        }
    }
}

/// Kept for ever, one record for each object.
fn desired_topic(name: &str) -> TopicSpec {
    TopicSpec {
        compacted: true,
        settings: vec![
            // A closed segment can be compacted, the open one cannot; and a reader begins with the first.
            ("segment.bytes", "16777216"),
            ("min.cleanable.dirty.ratio", "0.1"),
        ],
        ..TopicSpec::frames(name, 1)
    }
}

/// One record for each instance, and nothing for longer than lost ones are shown: every reader begins with the first.
fn status_topic(name: &str) -> TopicSpec {
    TopicSpec {
        retention: Some(crate::fleet::FORGOTTEN_AFTER),
        settings: vec![
            ("cleanup.policy", "compact,delete"),
            ("segment.bytes", "4194304"),
            ("segment.ms", "600000"),
            ("min.cleanable.dirty.ratio", "0.1"),
            ("delete.retention.ms", "60000"),
        ],
        ..TopicSpec::frames(name, 1)
    }
}

/// USER@HOST, for people who ask who wrote something.
fn author() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::current());
    let user = user.ok().flatten().map(|user| user.name);
    format!("{}@{}", user.as_deref().unwrap_or("somebody"), machine())
}
