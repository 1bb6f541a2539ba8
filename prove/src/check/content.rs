//! Invariant 5: what comes out is, byte for byte, what must come of what went in.

use super::Check;
use super::view::{Key, View};
use crate::behaviour::Answer;
use crate::expect;
use crate::frames::{Item, Studio};
use crate::history::{Message, Record};
use crate::plan::StagePlan;
use bytes::Bytes;
use processor_proto::v1::Status;
use std::collections::HashMap;

pub fn outputs_are_what_was_expected(view: &View<'_>) -> Check {
    let mut check = Check::new(5, "every output is what its input makes it");
    let history = view.history;
    let studio = Studio::new(
        history.plan.seed,
        &history.plan.workload,
        history.begin_unix_ns,
    );
    let mut pictures: HashMap<&Key, Bytes> = HashMap::new();
    for (record, key) in view.input.iter() {
        let Some(intent) = view.intent(key) else {
            continue; // said by invariant 2
        };
        let made = studio.make(intent.item);
        check.that(made.payload == record.payload, || {
            format!("{key} at {}: not the bytes that were sent", record.place())
        });
        if let (Item::Frame { .. }, Message::Frame(frame)) = (intent.item, &record.message) {
            pictures.insert(key, frame.inline().cloned().unwrap_or_default());
        }
    }
    for (stage, (plan, output)) in history.plan.stages.iter().zip(&view.outputs).enumerate() {
        let input = view.input_of(stage);
        let inputs: HashMap<&Key, &Record> =
            input.iter().map(|(record, key)| (key, record)).collect();
        for (record, key) in output.iter() {
            let Some(input) = inputs.get(key) else {
                continue; // said by invariant 2
            };
            let picture = pictures.get(key).cloned().unwrap_or_default();
            let found = difference(plan, stage, input, record, &picture);
            check.that(found.is_none(), || {
                format!("{key} at {}: {}", record.place(), found.unwrap_or_default())
            });
        }
    }
    check
}

/// What is wrong with an output, in words.
fn difference(
    stage: &StagePlan,
    index: usize,
    input: &Record,
    output: &Record,
    picture: &Bytes,
) -> Option<String> {
    let expected = expect::output(stage, input, picture);
    let found = expect::normal(&output.message);
    if found != expect::normal(&expected) {
        return Some(described(&expected, &found));
    }
    let is_gap = matches!(output.message, Message::Gap(_));
    let trace = |record: &Record| {
        let header = record.header("traceparent").unwrap_or_default();
        header.split('-').nth(1).unwrap_or_default().to_owned()
    };
    let rest = [
        (input.key == output.key || is_gap, "its key is another"),
        (
            input.timestamp_ms == output.timestamp_ms,
            "its time is another",
        ),
        (
            input.partition == output.partition,
            "its partition is another",
        ),
        (
            trace(input) == trace(output) || is_gap,
            "its trace is another",
        ),
        (
            headers_fit(output),
            "its headers do not say what its payload says",
        ),
    ];
    if let Some((_, word)) = rest.iter().find(|(holds, _)| !holds) {
        return Some((*word).to_owned());
    }
    answered_as_planned(stage, index, output)
}

fn described(expected: &Message, found: &Message) -> String {
    if let (Message::Frame(expected), Message::Frame(found)) = (expected, found) {
        if expected.results != found.results {
            return format!(
                "results {:?} where {:?} was expected",
                found.results, expected.results
            );
        }
        if expected.content != found.content {
            return "its content is another".to_owned();
        }
    }
    format!("{found:?} where {expected:?} was expected")
}

fn headers_fit(record: &Record) -> bool {
    let (kind, id) = match &record.message {
        Message::Frame(frame) => ("frame", frame.id.as_ref()),
        Message::End(end) => ("end", end.last.as_ref()),
        Message::Gap(gap) => ("gap", gap.first.as_ref()),
        Message::Undecodable => return false,
    };
    let Some(id) = id else { return false };
    record.header("framelane-kind") == Some(kind)
        && record.header("framelane-source") == Some(&id.source_id)
        && record.header("framelane-epoch") == Some(&id.epoch.to_string())
        && record.header("framelane-sequence") == Some(&id.sequence.to_string())
}

/// A result that is OK may only come of an attempt that was answered well.
fn answered_as_planned(stage: &StagePlan, index: usize, output: &Record) -> Option<String> {
    let Message::Frame(frame) = &output.message else {
        return None;
    };
    let (id, result) = (frame.id.as_ref()?, frame.results.get(index)?);
    if result.status() != Status::Ok {
        return None;
    }
    let answer = stage.behaviour.answer(id, result.attempts);
    let is_good = matches!(answer, Answer::Ok | Answer::Slow);
    (!is_good).then(|| {
        format!(
            "attempt {} was answered {answer}, yet its result is OK",
            result.attempts
        )
    })
}
