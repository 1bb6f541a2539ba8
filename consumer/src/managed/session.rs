//! One flow of a managed consumer, from its first record to a change of its sinks or options.

use super::choice::Choice;
use super::subjects::{subjects, wanted_topics};
use super::topics::Topics;
use super::{Declared, Following};
use crate::flow::steering::{Helm, Notice, Seen, Steering, steering};
use crate::monitor::ActionSpec;
use anyhow::Context;
use registry::View;
use registry::instance::Lane;
use registry::model::{Key, Kind, Name, Version};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The rhythm in which it looks for new topics, and for what has settled.
const LOOK: Duration = Duration::from_millis(250);

/// Why a session ended well.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// Everything was shown, or a person has closed the window.
    Over,
    /// The consumer is to end.
    Stopped,
    /// It is to go on in another way; this is how it was declared until now.
    Redeclared(Box<Declared>),
    /// It never began: its outputs cannot be opened, for this reason.
    Refused(String),
}

/// A flow, and what steers it.
pub struct Session<'a> {
    following: &'a Following,
    declared: Declared,
    helm: Helm,
    steering: Option<Steering>,
    choice: Choice,
    topics: Topics,
    /// The newest declaration that could not be taken up, and why.
    refused: Option<(Version, String)>,
}

impl<'a> Session<'a> {
    /// Ready to run. `refused`: what is declared in its place, if that cannot be run, and why.
    pub fn new(
        following: &'a Following,
        declared: Declared,
        refused: Option<(Version, String)>,
    ) -> Self {
        let (helm, steering) = steering();
        Self {
            following,
            declared,
            helm,
            steering: Some(steering),
            choice: Choice::default(),
            topics: Topics::new(following.settings.kafka.clone()),
            refused,
        }
    }

    /// Runs to its end.
    pub async fn run(mut self, shutdown: &CancellationToken) -> anyhow::Result<SessionEnd> {
        let stop = CancellationToken::new();
        let config = self.declared.config.clone();
        let outputs = match crate::Outputs::open(&config, &stop) {
            Ok(outputs) => outputs,
            Err(why) => return Ok(SessionEnd::Refused(format!("{why:#}"))),
        };
        let steering = self.steering.take();
        let mut flow = tokio::spawn(crate::show(config, outputs, steering, stop.clone()));
        let mut changes = self.following.registry.changes();
        let mut looks = tokio::time::interval(LOOK);
        let end = loop {
            if let Some(end) = self.steer() {
                break end;
            }
            tokio::select! {
                biased;
                ended = &mut flow => return ended.context("showing")?.map(|()| SessionEnd::Over),
                () = shutdown.cancelled() => break SessionEnd::Stopped,
                changed = changes.changed() => changed.context("following the registry")?,
                Ok(()) = self.helm.seen.changed() => {}
                _ = looks.tick() => {
                    let view = self.following.registry.view();
                    let wanted = wanted_topics(&view, &self.following.settings.name);
                    self.topics.look(&wanted).await;
                }
            }
        };
        stop.cancel();
        match (flow.await.context("showing")?, &end) {
            // What it had not committed is read again.
            (Err(why), SessionEnd::Redeclared(_)) => {
                tracing::error!("what was declared before did not end well: {why:#}");
            }
            (ended, _) => ended?,
        }
        Ok(end)
    }

    /// Does what is to be done now. Some if the session is to end.
    fn steer(&mut self) -> Option<SessionEnd> {
        let view = self.following.registry.view();
        if view.away_since().is_some() {
            return None; // nobody knows what was declared since: what runs goes on
        }
        if !self.is_still_declared(&view) {
            return Some(SessionEnd::Redeclared(Box::new(self.declared.clone())));
        }
        let name = &self.following.settings.name;
        let seen = self.helm.seen.borrow_and_update().clone();
        let subjects = subjects(&view, name, &self.topics, &seen);
        let when_closed = self.declared.consumer.spec.when_closed;
        let decision = self.choice.decide(when_closed, &subjects, Instant::now());
        let topics: BTreeSet<String> = decision
            .read
            .iter()
            .map(|source| topic_of(&view, source))
            .filter(|topic| self.topics.has(topic) == Some(true) && !self.writes(topic))
            .collect();
        let topics: Vec<String> = topics.into_iter().collect();
        self.helm.topics.send_if_modified(|read| {
            let is_new = *read != topics;
            *read = topics;
            is_new
        });
        for (source, why) in decision.placeholders {
            let notice = Notice {
                topic: topic_of(&view, &source).into(),
                source: source.as_str().into(),
                why,
            };
            if self.helm.notices.try_send(notice).is_err() {
                self.choice.take_back(&source); // the sinks are slow: later
            }
        }
        self.report(&view, &seen, &decision.read);
        decision.is_over.then_some(SessionEnd::Over)
    }

    /// False if it must go on in another way. A declaration that cannot be run changes nothing.
    fn is_still_declared(&mut self, view: &View) -> bool {
        let Some(consumer) = view.consumer(&self.following.settings.name) else {
            return false;
        };
        let refused = self.refused.as_ref().map(|(version, _)| *version);
        if consumer.version == self.declared.consumer.version || refused == Some(consumer.version) {
            return true;
        }
        let is_same = {
            let (new, old) = (&consumer.spec, &self.declared.consumer.spec);
            new.sinks == old.sinks && new.options == old.options
        };
        match self.following.check(consumer) {
            Ok(declared) if is_same => {
                self.declared = declared;
                self.refused = None;
                true
            }
            Ok(_) => false,
            Err(why) => {
                tracing::error!("consumer {}: {why}; going on as before", consumer.name);
                self.refused = Some((consumer.version, why));
                true
            }
        }
    }

    /// True if this consumer writes the topic: frames would go round for ever.
    fn writes(&self, topic: &str) -> bool {
        let config = &self.declared.config;
        let output = config
            .track
            .as_ref()
            .and_then(|track| track.output.as_deref());
        let actions = config.monitor.iter().flat_map(|monitor| &monitor.actions);
        let mut alerts = actions.filter_map(|action| match action {
            ActionSpec::Topic(name) => Some(name.as_str()),
            _ => None,
        });
        let is_written = output == Some(topic) || alerts.any(|name| name == topic);
        if is_written {
            tracing::debug!(topic, "not read: this consumer writes it");
        }
        is_written
    }

    fn report(&self, view: &View, seen: &Seen, read: &[String]) {
        let name = &self.following.settings.name;
        let watches = watched(view, read);
        let mut applied = vec![(
            Key::new(Kind::Consumer, name.clone()),
            self.declared.consumer.version,
        )];
        if let Some(assignment) = view.assignment(name) {
            applied.push((Key::new(Kind::Assignment, name.clone()), assignment.version));
        }
        let lanes = seen.topics.values().flat_map(|topic| &topic.lanes);
        let lanes: Vec<Lane> = lanes
            .map(|lane| Lane {
                topic: lane.tp.topic.to_string(),
                partition: lane.tp.partition,
                lag: lane
                    .lag
                    .and_then(|lag| u64::try_from(lag).ok())
                    .unwrap_or(0),
                fps: lane.fps,
                latency_p50_ms: lane.latency_p50_ms,
                latency_p99_ms: lane.latency_p99_ms,
                ..Lane::default()
            })
            .collect();
        self.following.reporter.update(|instance| {
            instance.watches = watches.into_iter().collect();
            instance.lanes = lanes;
            instance.applied.clear();
            applied
                .iter()
                .for_each(|(key, version)| instance.apply(key, *version));
            instance.refused.clear();
            if let Some((_, why)) = &self.refused {
                instance.refuse(&Key::new(Kind::Consumer, name.clone()), why);
            }
        });
    }
}

/// What is to be open: whatever is read, and the sources that its frames come from in the end.
fn watched(view: &View, read: &[String]) -> BTreeSet<String> {
    let names = read.iter().filter_map(|name| name.parse::<Name>().ok());
    let roots = names.flat_map(|name| view.roots(&name));
    let roots = roots.map(|name| name.to_string());
    read.iter().cloned().chain(roots).collect()
}

/// The topic of a source or of a stage's output.
pub fn topic_of(view: &View, source: &str) -> String {
    let topic = view.topic_of(source);
    topic.map_or_else(|| source.to_owned(), ToString::to_string)
}
