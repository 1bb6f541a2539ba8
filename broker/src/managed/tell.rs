//! What a managed broker tells: its heartbeat in the registry, and a line a second.

use super::plan::Wanted;
use super::unit::{State, UnitReport};
use crate::report::{LaneReport, StageReport};
use registry::View;
use registry::instance::{CalledProcessor, Instance, Lane, RunningSource, SourceState};
use registry::model::{Key, Kind};
use std::collections::BTreeMap;

/// A stage and how it goes.
pub type Told<'a> = (&'a Wanted, UnitReport);

/// Writes everything into the heartbeat. A stage's output is a source like any other: its state is the stage's.
pub fn heartbeat(instance: &mut Instance, units: &[Told<'_>], view: &View) {
    instance.sources = units
        .iter()
        .map(|(wanted, unit)| output(wanted, unit))
        .collect();
    let lanes = units.iter().flat_map(|(wanted, unit)| {
        let lanes = unit.stage.lanes.iter();
        lanes.map(|report| lane(&wanted.place, report))
    });
    instance.lanes = lanes.collect();
    instance.processors = processors(units);
    instance.applied = applied(units, view);
}

fn output(wanted: &Wanted, unit: &UnitReport) -> RunningSource {
    let (state, text) = state(&unit.state, &unit.stage);
    let mut output = RunningSource::new(&wanted.output, state);
    let refused = unit.refused.as_ref();
    let refused = refused.map(|why| format!("a change is not taken up: {why}"));
    let texts = [Some(text).filter(|text| !text.is_empty()), refused];
    let text: Vec<String> = texts.into_iter().flatten().collect();
    output.text = match text.is_empty() {
        true => format!("stage {}", wanted.place),
        false => format!("stage {}: {}", wanted.place, text.join("; ")),
    };
    output.fps = unit.stage.fps();
    output.frames = unit.stage.committed;
    output
}

fn state(state: &State, stage: &StageReport) -> (SourceState, String) {
    match state {
        State::Starting => (SourceState::Opening, String::new()),
        State::Waiting(why) => (SourceState::Waiting, why.clone()),
        State::Failed(why) => (SourceState::Failed, why.clone()),
        State::Rolling(why) => (SourceState::Live, why.clone()),
        State::Running if stage.lanes.is_empty() => (
            SourceState::Waiting,
            "no partitions here: other brokers have them, or the group is just forming".to_owned(),
        ),
        State::Running if !stage.replicas.is_empty() && stage.up() == 0 => {
            let addresses: Vec<&str> = stage.replicas.iter().map(|one| &*one.address).collect();
            let text = format!("no processor is up at {}", addresses.join(", "));
            (SourceState::Waiting, text)
        }
        State::Running => (SourceState::Live, held_up(stage)),
    }
}

/// Which branches a join waits for, if it is behind.
fn held_up(stage: &StageReport) -> String {
    let lanes = stage.lanes.iter().filter(|lane| lane.slots > 0);
    let waits: Vec<String> = lanes
        .flat_map(|lane| {
            let partition = lane.tp.partition;
            let topics = lane.waits_for.iter();
            topics.map(move |topic| format!("{topic}[{partition}]"))
        })
        .collect();
    match waits.is_empty() {
        true => String::new(),
        false => format!("waits for {}", waits.join(", ")),
    }
}

fn lane(place: &str, report: &LaneReport) -> Lane {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Lane {
        topic: report.tp.topic.to_string(),
        partition: report.tp.partition,
        stage: place.to_owned(),
        window_used: count(report.slots),
        in_flight: count(report.under_way),
        lag: u64::try_from(report.lag.unwrap_or(0)).unwrap_or(0),
        fps: report.recent.fps,
        latency_p50_ms: report.recent.p50_ms,
        latency_p99_ms: report.recent.p99_ms,
    }
}

/// Each address once: stages share them.
fn processors(units: &[Told<'_>]) -> Vec<CalledProcessor> {
    let replicas = units.iter().flat_map(|(_, unit)| &unit.stage.replicas);
    let by_address: BTreeMap<_, _> = replicas
        .map(|one| ((&one.declared, &one.address), one))
        .collect();
    let called = by_address.into_values().map(|replica| CalledProcessor {
        address: replica.address.to_string(),
        declared: replica.declared.to_string(),
        state: if replica.is_up {
            CalledProcessor::READY
        } else {
            "down"
        }
        .to_owned(),
        in_flight: u32::try_from(replica.in_flight).unwrap_or(u32::MAX),
    });
    called.collect()
}

/// An object counts as taken up when every stage that it is about follows it.
fn applied(units: &[Told<'_>], view: &View) -> BTreeMap<String, u64> {
    let pipelines = view.pipelines();
    let pipelines = pipelines.map(|one| (Key::new(Kind::Pipeline, one.name.clone()), one.version));
    let processors = view.processors();
    let processors =
        processors.map(|one| (Key::new(Kind::Processor, one.name.clone()), one.version));
    let mut applied: BTreeMap<Key, u64> = pipelines.chain(processors).collect();
    let behind = units
        .iter()
        .filter(|(wanted, unit)| unit.revision < wanted.revision);
    for key in behind.flat_map(|(wanted, _)| wanted.objects.iter()) {
        applied.remove(key);
    }
    let applied = applied.into_iter();
    applied
        .map(|(key, version)| (key.to_string(), version))
        .collect()
}

/// The line of the second, for people.
pub fn line(units: &[Told<'_>], memory_bytes: usize) -> String {
    let running = units
        .iter()
        .filter(|(_, unit)| matches!(unit.state, State::Running | State::Rolling(_)));
    let stages = || units.iter().map(|(_, unit)| &unit.stage);
    let fps: f64 = stages().map(StageReport::fps).sum();
    let slots: usize = stages().map(StageReport::slots).sum();
    let failed: u64 = stages().map(|stage| stage.failed).sum();
    let lag: i64 = stages().filter_map(StageReport::lag).sum();
    let partitions: usize = stages().map(|stage| stage.lanes.len()).sum();
    format!(
        "{}/{} stages run, {fps:.1} fps, {slots} frames waiting, lag {lag}, {failed} failed, {} MiB, {partitions} partitions",
        running.count(),
        units.len(),
        memory_bytes >> 20,
    )
}
