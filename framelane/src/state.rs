//! How declared things are, from what the instances say.

use registry::model::{Opening, Processor, Source};
use registry::{
    CalledProcessor, Instance, Key, RunningSource, Seen, Service, SourceState, Versioned, View,
};
use std::collections::BTreeSet;

/// How a source is: what the process that runs it says, or that nobody does.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceHealth<'a> {
    /// `live`, `opening`, ..., `lost` or `nobody runs it`.
    pub state: String,
    /// Why, for people.
    pub text: String,
    pub running: Option<(&'a Seen, &'a RunningSource)>,
}

/// Whether what an instance calls at HOST:PORT is this processor.
pub fn is_called_at(processor: &Processor, place: &str) -> bool {
    processor.addresses.iter().any(|one| one.place() == place)
}

/// From the live instance that runs it; else from a lost one.
pub fn of_source<'a>(view: &'a View, source: &Versioned<Source>) -> SourceHealth<'a> {
    let runs = |seen: &'a Seen| {
        let mut sources = seen.instance.sources.iter();
        let found = sources.find(|running| running.name == *source.name.as_str());
        found.map(|running| (seen, running))
    };
    if let Some(running) = view.live().find_map(runs) {
        return SourceHealth {
            state: running.1.state.to_string(),
            text: running.1.text.clone(),
            running: Some(running),
        };
    }
    if let Some(running) = view.instances().find_map(runs) {
        return SourceHealth {
            state: "lost".to_owned(),
            text: format!(
                "{} was last heard of at {}",
                running.0.instance.title(),
                running.0.last_seen
            ),
            running: Some(running),
        };
    }
    let host = source.spec.host.as_str();
    let is_host =
        |seen: &&Seen| seen.instance.service == Service::Producer && seen.instance.host == host;
    let text = match view.live().any(|seen| is_host(&seen)) {
        true => format!("the producer on {host} has not taken it up yet"),
        false => format!("nothing runs on {host}: producer --managed --host {host}"),
    };
    SourceHealth {
        state: "nobody runs it".to_owned(),
        text,
        running: None,
    }
}

/// `always`, `on-demand`, `schedule`.
pub fn opening(source: &Source) -> &'static str {
    match source.opening {
        Opening::Always => "always",
        Opening::OnDemand { .. } => "on-demand",
        Opening::Schedule(_) => "schedule",
    }
}

/// The instances that a consumer of this name runs as.
pub fn of_consumer<'a>(view: &'a View, name: &'a str) -> impl Iterator<Item = &'a Seen> {
    view.instances().filter(move |seen| {
        seen.instance.service == Service::Consumer && seen.instance.name == name
    })
}

/// As [`liveness`], or `refused`: what is declared is not taken up (`describe` says why).
pub fn of_declared_consumer(view: &View, key: &Key) -> &'static str {
    let (name, text) = (key.name.as_str(), key.to_string());
    let refuses = |seen: &Seen| seen.is_live() && seen.instance.refused.contains_key(&text);
    match of_consumer(view, name).any(refuses) {
        true => "refused",
        false => liveness(of_consumer(view, name)),
    }
}

/// `live`, `lost` or `not running`.
pub fn liveness<'a>(mut instances: impl Iterator<Item = &'a Seen>) -> &'static str {
    let mut any = false;
    let is_live = instances.any(|seen| {
        any = true;
        seen.is_live()
    });
    match (is_live, any) {
        (true, _) => "live",
        (false, true) => "lost",
        (false, false) => "not running",
    }
}

/// What a broker says of a stage's output, e.g. why it waits. Of several brokers, the one that works on it.
pub fn of_output<'a>(view: &'a View, output: &str) -> Option<&'a RunningSource> {
    let brokers = view
        .live()
        .filter(|seen| seen.instance.service == Service::Broker);
    let all = brokers.flat_map(|seen| &seen.instance.sources);
    all.filter(|running| running.name == output)
        .max_by_key(|running| running.state == SourceState::Live)
}

/// How a stage's outputs are, each word once: `live`, `waiting`, ..., or `nobody runs it`.
pub fn of_stage(view: &View, place: &str) -> String {
    let outputs = view.flows().iter().filter(|flow| flow.place() == place);
    let states: BTreeSet<String> = outputs
        .map(|flow| match of_output(view, &flow.output) {
            Some(running) => running.state.to_string(),
            None => "nobody runs it".to_owned(),
        })
        .collect();
    Vec::from_iter(states).join(", ")
}

/// What those who call it find: `ready`, `1 of 2 ready`, or `not called`.
pub fn of_processor(view: &View, processor: &Processor) -> String {
    let called = || view.live().flat_map(|seen| &seen.instance.processors);
    if !called().any(|one| is_called_at(processor, &one.declared)) {
        return "not called".to_owned();
    }
    let is_ready = |place: &str| {
        called().any(|one| one.declared == place && one.state == CalledProcessor::READY)
    };
    let addresses = &processor.addresses;
    let ready = addresses.iter().filter(|one| is_ready(one.place())).count();
    match addresses.len() {
        all if all == ready => "ready".to_owned(),
        all => format!("{ready} of {all} ready"),
    }
}

/// The lanes that work on a stage, with their instances.
pub fn lanes_of_stage<'a>(
    view: &'a View,
    place: &'a str,
) -> impl Iterator<Item = (&'a Instance, &'a registry::Lane)> {
    view.live().flat_map(move |seen| {
        let lanes = seen.instance.lanes.iter();
        let ours = lanes.filter(move |lane| lane.stage == place);
        ours.map(move |lane| (&seen.instance, lane))
    })
}

/// How long ago, in whole seconds: `3s`, `2m 5s`.
pub fn ago(time: jiff::Timestamp) -> String {
    let past = jiff::Timestamp::now().duration_since(time);
    let seconds = u64::try_from(past.as_secs()).unwrap_or(0);
    humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
}
