//! The sources of this host: each runs in a task of its own, and none knows of the others.

use super::opening::Now;
use super::slot::{Outcome, Run, RunTurn, Slot, Then};
use super::spec;
use crate::config::SourceConfig;
use crate::epoch::{ClaimError, TakenOver};
use crate::progress::{Meter, Progress};
use crate::publish::PublishError;
use crate::source;
use pipeline::kafka::KafkaConfig;
use registry::View;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// Longer than a source needs that gives Kafka and its device their own grace times; one that hangs in a driver ends with
/// the process.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// The sources of a host.
pub struct Sources {
    kafka: KafkaConfig,
    slots: BTreeMap<String, Slot>,
    running: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
}

impl Sources {
    /// None yet.
    pub fn new(kafka: KafkaConfig) -> Self {
        Self {
            kafka,
            slots: BTreeMap::new(),
            running: JoinSet::new(),
            names: HashMap::new(),
        }
    }

    /// All of them, by name.
    pub fn slots(&mut self) -> impl Iterator<Item = (&str, &mut Slot)> {
        let slots = self.slots.iter_mut();
        slots.map(|(name, slot)| (name.as_str(), slot))
    }

    /// The turn of this producer has come.
    pub fn begin_turn(&mut self) {
        self.slots.values_mut().for_each(Slot::begin_turn);
    }

    /// Opens, changes and closes what has to be; touches nothing else.
    pub fn follow(&mut self, view: &View, host: &str, now: Now) {
        for (name, slot) in &mut self.slots {
            let declared = view.source(name);
            if declared.is_none_or(|source| source.spec.host != *host) {
                slot.withdraw();
                slot.step(0, now);
            }
        }
        for source in view.sources().filter(|source| source.spec.host == *host) {
            let name = source.name.as_str();
            let slot = self.slots.entry(name.to_owned()).or_default();
            if !slot.is_at(source.version) {
                slot.declare(spec::declared(source), source.version);
            }
            if let Some(config) = slot.step(view.watchers(name), now) {
                self.start(name, config, now);
            }
        }
        self.slots.retain(|_, slot| !slot.is_gone());
    }

    fn start(&mut self, name: &str, config: Arc<SourceConfig>, now: Now) {
        tracing::info!(source = name, ?config, "opening");
        let policy = config.overload.to_string();
        let progress = Arc::new(Progress::new(&config.topic, &config.source_id, &policy));
        let stop = CancellationToken::new();
        let task = self.running.spawn(source::run(
            self.kafka.clone(),
            SourceConfig::clone(&config),
            stop.clone(),
            Arc::clone(&progress),
        ));
        self.names.insert(task.id(), name.to_owned());
        if let Some(slot) = self.slots.get_mut(name) {
            slot.started(Run {
                config,
                stop,
                progress,
                meter: Meter::default(),
                fps: 0.0,
                begun: now.instant,
                turn: RunTurn::This,
            });
        }
    }

    /// Waits until one has ended; for ever if none runs. Some if it failed: why. Cancel-safe.
    pub async fn ended(&mut self) -> Option<String> {
        let Some(ended) = self.running.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (id, outcome) = match ended {
            Ok((id, result)) => (id, outcome_of(result)),
            Err(cause) => (cause.id(), Outcome::Failed(format!("it panicked: {cause}"))),
        };
        let Some(name) = self.names.remove(&id) else {
            return None; // every task has its name
        };
        let failure = match &outcome {
            Outcome::Done => {
                tracing::info!(source = name, "closed");
                None
            }
            Outcome::Failed(why) | Outcome::TakenOver(why) => {
                tracing::error!(source = name, "{why}");
                Some(why.clone())
            }
        };
        if let Some(slot) = self.slots.get_mut(&name) {
            slot.ended(outcome, Instant::now());
        }
        failure
    }

    /// Closes all of them, in order: what was captured is in Kafka, and the record that says that it was stopped. Returns
    /// why that is not so, for each that did not end well.
    pub async fn close_all(&mut self, why: &str) -> Vec<String> {
        let mut failures = Vec::new();
        for slot in self.slots.values_mut() {
            slot.stop(Then::Close(why.to_owned()));
        }
        let all_ended = async {
            while !self.running.is_empty() {
                failures.extend(self.ended().await);
            }
        };
        if tokio::time::timeout(STOP_GRACE, all_ended).await.is_err() {
            let hanging: Vec<_> = self.names.values().map(String::as_str).collect();
            let hanging = hanging.join(", ");
            tracing::error!(sources = hanging, "they did not end in time");
            failures.push(format!("{hanging}: not ended within {STOP_GRACE:?}"));
        }
        self.slots.retain(|_, slot| {
            slot.withdraw();
            !slot.is_gone()
        });
        failures
    }
}

fn outcome_of(result: anyhow::Result<()>) -> Outcome {
    let Err(fault) = result else {
        return Outcome::Done;
    };
    let is_taken_over = fault.chain().any(|cause| {
        cause.is::<TakenOver>()
            || matches!(cause.downcast_ref(), Some(ClaimError::TakenOver(_)))
            || matches!(cause.downcast_ref(), Some(PublishError::TakenOver(_)))
    });
    let why = format!("{fault:#}");
    match is_taken_over {
        true => Outcome::TakenOver(why),
        false => Outcome::Failed(why),
    }
}
