//! The sources of this host: each runs in a task of its own, and none knows of the others.

use super::opening::Now;
use super::predecessor::Predecessors;
use super::slot::{Outcome, Run, RunTurn, Slot, Taker, Then};
use super::spec;
use crate::config::SourceConfig;
use crate::epoch::{ClaimError, Member, TakenOver};
use crate::progress::{Meter, Progress};
use crate::publish::PublishError;
use crate::source;
use pipeline::kafka::KafkaConfig;
use registry::instance::{Instance, Service, SourceState};
use registry::{Seen, View};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// Longer than a source needs that gives Kafka and its device their own grace times; one that hangs in a driver ends with
/// the process.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(20);

/// The managed producers of one host.
#[derive(Debug, Clone)]
pub struct Crew {
    /// The registry that they follow.
    pub registry: String,
    /// The capture host's name.
    pub host: String,
    /// The instance that is this process.
    pub own_id: String,
}

impl Crew {
    /// As claims name this process.
    fn own(&self) -> Member {
        Member {
            crew: format!("{}/{}", self.registry, self.host),
            instance: self.own_id.clone(),
        }
    }

    fn is_another(&self, one: &Instance) -> bool {
        one.service == Service::Producer && one.host == self.host && one.id != self.own_id
    }

    /// Whether another of them is at work.
    pub fn is_another_at_work(&self, view: &View) -> bool {
        let mut live = view.live().map(|seen| &seen.instance);
        live.any(|one| self.is_another(one) && !one.sources.is_empty())
    }

    /// The others of them that run this source.
    fn others_with<'v>(&'v self, view: &'v View, name: &'v str) -> impl Iterator<Item = &'v Seen> {
        let runs = move |one: &Instance| {
            let mut sources = one.sources.iter().filter(|said| said.name == name);
            sources.any(|said| matches!(said.state, SourceState::Opening | SourceState::Live))
        };
        view.live()
            .filter(move |seen| self.is_another(&seen.instance) && runs(&seen.instance))
    }
}

/// The sources of a host.
pub struct Sources {
    kafka: KafkaConfig,
    crew: Crew,
    slots: BTreeMap<String, Slot>,
    predecessors: Predecessors,
    running: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
}

impl Sources {
    /// None yet.
    pub fn new(kafka: KafkaConfig, crew: Crew) -> Self {
        Self {
            kafka,
            crew,
            slots: BTreeMap::new(),
            predecessors: Predecessors::default(),
            running: JoinSet::new(),
            names: HashMap::new(),
        }
    }

    /// All of them, by name.
    pub fn slots(&mut self) -> impl Iterator<Item = (&str, &mut Slot)> {
        let slots = self.slots.iter_mut();
        slots.map(|(name, slot)| (name.as_str(), slot))
    }

    /// The turn of this producer has come. One that was killed is lost to the registry before Kafka gives its turn away; who
    /// has lost its turn because Kafka was silent is there, with frames that wait for Kafka, and gets the time to hand them in.
    pub fn begin_turn(&mut self, now: Instant) {
        self.predecessors.begin(now);
        self.slots.values_mut().for_each(Slot::begin_turn);
    }

    /// Opens, changes and closes what has to be; touches nothing else.
    pub fn follow(&mut self, view: &View, now: Now) {
        let host = self.crew.host.clone();
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
            if slot.waits_until_free() && self.crew.others_with(view, name).next().is_some() {
                slot.has_another(now.instant);
            }
            if slot.run().is_none() && self.predecessors.may_be_there(now.instant) {
                let predecessors = &mut self.predecessors;
                let is_waited_for = |one: &Seen| {
                    predecessors.is_waited_for(&one.instance.id, one.last_seen, now.instant)
                };
                if self.crew.others_with(view, name).any(is_waited_for) {
                    slot.waits_for("another producer of this host has it still");
                    continue;
                }
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
            Some(self.crew.own()),
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

    /// Waits until one has ended; for ever if none runs. Some if it failed after it had begun, so that frames of it may be
    /// missing, or panicked: why. Cancel-safe.
    pub async fn ended(&mut self) -> Option<String> {
        let Some(ended) = self.running.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let has_panicked = ended.is_err();
        let (id, outcome) = match ended {
            Ok((id, result)) => (id, outcome_of(result, &self.crew.own())),
            Err(cause) => (cause.id(), Outcome::Failed(format!("it panicked: {cause}"))),
        };
        let Some(name) = self.names.remove(&id) else {
            return None; // it was given up
        };
        let failure = match &outcome {
            Outcome::Done => {
                tracing::info!(source = name, "closed");
                None
            }
            Outcome::Failed(why) | Outcome::TakenOver(why, _) => {
                tracing::error!(source = name, "{why}");
                Some(why.clone())
            }
        };
        let Some(slot) = self.slots.get_mut(&name) else {
            return failure; // every run has its slot
        };
        let has_begun = slot
            .run()
            .is_some_and(|run| run.progress.snapshot().epoch > 0);
        slot.ended(outcome, Instant::now());
        failure.filter(|_| has_begun || has_panicked)
    }

    /// Closes all of them, in order: what was captured is in Kafka, and the record that says that it was stopped. Returns
    /// why that is not so, for each that did not end well; one that was just being tried and could not be opened is none.
    /// `tell` is called when some have closed: others may open them then.
    pub async fn close_all(&mut self, why: &str, mut tell: impl FnMut(&mut Self)) -> Vec<String> {
        let mut failures = Vec::new();
        for slot in self.slots.values_mut() {
            slot.stop(Then::Close(why.to_owned()));
        }
        let all_ended = async {
            while !self.running.is_empty() {
                failures.extend(self.ended().await);
                tell(self);
            }
        };
        if tokio::time::timeout(STOP_GRACE, all_ended).await.is_err() {
            let hanging: Vec<_> = self.names.values().map(String::as_str).collect();
            let hanging = hanging.join(", ");
            tracing::error!(sources = hanging, "they did not end in time");
            failures.push(format!("{hanging}: not ended within {STOP_GRACE:?}"));
        }
        // Also those that hang: they are another's now, whose claims fence them. Nobody waits for them again.
        std::mem::take(&mut self.running).detach_all();
        self.slots.clear();
        self.names.clear();
        tell(self);
        failures
    }
}

fn outcome_of(result: anyhow::Result<()>, own: &Member) -> Outcome {
    let Err(fault) = result else {
        return Outcome::Done;
    };
    let why = format!("{fault:#}");
    match fault.chain().find_map(taken_over) {
        Some(TakenOver { newer }) => Outcome::TakenOver(why, taker(newer.by.as_ref(), own)),
        None => Outcome::Failed(why),
    }
}

/// Two sources that this process runs under one id would take each other over for ever: there, the newer one keeps it.
fn taker(by: Option<&Member>, own: &Member) -> Taker {
    match by {
        Some(by) if by.crew == own.crew && by.instance != own.instance => Taker::Crew,
        _ => Taker::Stranger,
    }
}

fn taken_over<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a TakenOver> {
    if let Some(ClaimError::TakenOver(by)) = cause.downcast_ref() {
        return Some(by);
    }
    if let Some(PublishError::TakenOver(by)) = cause.downcast_ref() {
        return Some(by);
    }
    cause.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::SourceArgs;
    use crate::epoch::Claim;

    #[tokio::test]
    async fn a_source_that_cannot_be_opened_when_all_are_closed_does_not_make_the_end_a_failure() {
        let crew = Crew {
            registry: "registry".to_owned(),
            host: "lab1".to_owned(),
            own_id: "one".to_owned(),
        };
        let kafka = KafkaConfig::new("127.0.0.1:1").unwrap(); // it is not asked
        let mut sources = Sources::new(kafka, crew);
        let args = SourceArgs {
            topic: Some("t".to_owned()),
            file: Some("/nowhere/clip.mp4".into()),
            ..SourceArgs::default()
        };
        let config = Arc::new(SourceConfig::try_from(args).unwrap());
        sources.slots.insert("cam0".to_owned(), Slot::default());
        sources.start("cam0", config, Now::read());
        assert_eq!(
            sources.close_all("its producer ends", |_| {}).await,
            [""; 0]
        );
    }

    fn member(crew: &str, instance: &str) -> Option<Member> {
        Some(Member {
            crew: crew.to_owned(),
            instance: instance.to_owned(),
        })
    }

    #[test]
    fn only_another_of_the_crew_is_one_that_may_give_a_source_back() {
        let own = member("registry/lab1", "one").unwrap();
        for (by, expected) in [
            (member("registry/lab1", "other"), Taker::Crew),
            (member("registry/lab1", "one"), Taker::Stranger),
            (member("registry/lab2", "other"), Taker::Stranger),
            (None, Taker::Stranger),
        ] {
            let newer = Claim {
                by,
                ..Claim::sample()
            };
            let over = TakenOver { newer };
            let faults: [anyhow::Error; 2] = [
                ClaimError::from(over.clone()).into(),
                PublishError::from(Box::new(over)).into(),
            ];
            for fault in faults {
                let outcome = outcome_of(Err(fault.context("source cam0")), &own);
                assert!(
                    matches!(outcome, Outcome::TakenOver(_, found) if found == expected),
                    "{outcome:?}"
                );
            }
        }
    }
}
