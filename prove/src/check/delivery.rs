//! Invariants 1, 2, 3 and 7: what was sent, and how often it came out.

use super::Check;
use super::view::{Fate, Key, View};
use crate::history::{Message, Record, StageHistory};
use processor_proto::v1::Status;
use std::collections::{BTreeMap, HashMap};

pub fn acknowledged_input_comes_out_once(view: &View<'_>) -> Check {
    let mut check = Check::new(1, "what was acknowledged comes out exactly once");
    let sent = view
        .intents
        .iter()
        .filter(|intent| intent.fate == Fate::Sent);
    for intent in sent {
        let key = &intent.key;
        let found = view.input.count(key);
        check.that(found == 1, || {
            format!("{key}: {found} times in the input though acknowledged once")
        });
        for (stage, output) in view.outputs.iter().enumerate() {
            let found = output.count(key);
            check.that(found == 1, || {
                format!("{key}: {found} times behind stage {stage}")
            });
        }
    }
    check
}

pub fn every_output_has_an_intent(view: &View<'_>) -> Check {
    let mut check = Check::new(2, "everything that comes out was meant to go in");
    let topics = std::iter::once(&view.input).chain(&view.outputs);
    for (record, key) in topics.flat_map(|topic| topic.iter()) {
        let fate = view.intent(key).map(|intent| intent.fate);
        check.that(fate.is_some(), || {
            format!("{key} at {}: nobody sent it", record.place())
        });
        check.that(fate != Some(Fate::Never), || {
            format!("{key} at {}: its transaction was aborted", record.place())
        });
    }
    for line in &view.history.seen {
        let key = Key::Frame(line.source.clone(), line.epoch, line.sequence);
        let fate = view.intent(&key).map(|intent| intent.fate);
        check.that(fate.is_some_and(|fate| fate != Fate::Never), || {
            format!(
                "{key}: processor {} was asked about a frame that was never there",
                line.processor
            )
        });
    }
    check
}

pub fn unknown_sends_come_out_at_most_once(view: &View<'_>) -> Check {
    let mut check = Check::new(3, "a send without an answer comes out once or not at all");
    let unknown = view
        .intents
        .iter()
        .filter(|intent| intent.fate == Fate::Unknown);
    for intent in unknown {
        let key = &intent.key;
        let entered = view.input.count(key);
        check.that(entered <= 1, || {
            format!("{key}: {entered} times in the input")
        });
        for (stage, output) in view.outputs.iter().enumerate() {
            let found = output.count(key);
            check.that(found == entered, || {
                format!("{key}: {entered} times in the input, {found} times behind stage {stage}")
            });
        }
    }
    check
}

pub fn transactions_are_visible_whole_or_not_at_all(view: &View<'_>) -> Check {
    let mut check = Check::new(7, "a transaction's records are all visible or none is");
    let mut members: BTreeMap<u64, Vec<&Key>> = BTreeMap::new();
    for intent in &view.intents {
        if let Some(transaction) = intent.transaction {
            members.entry(transaction).or_default().push(&intent.key);
        }
    }
    for (transaction, keys) in members {
        for (topic, at) in std::iter::once(&view.input).chain(&view.outputs).zip(0..) {
            let visible = keys.iter().filter(|key| topic.count(key) > 0).count();
            check.that(visible == 0 || visible == keys.len(), || {
                format!(
                    "transaction {transaction}: {visible} of {} records visible behind {at} stages",
                    keys.len()
                )
            });
        }
    }
    for (stage, history) in view.history.stages.iter().enumerate() {
        dead_letters(&mut check, stage, view.input_of(stage).records, history);
    }
    check
}

/// A frame that failed and its dead letter are one transaction over two topics: for each there is exactly the other.
fn dead_letters(check: &mut Check, stage: usize, input: &[Record], history: &StageHistory) {
    let mut letters: HashMap<&str, Vec<&Record>> = HashMap::new();
    for letter in &history.dead_letters {
        let origin = letter.header("framelane-origin").unwrap_or_default();
        letters.entry(origin).or_default().push(letter);
    }
    let failed: HashMap<String, &Record> = input
        .iter()
        .filter_map(|record| Some((record.place(), output_of(record, &history.output)?)))
        .filter(|(_, output)| has_letter(&output.message, stage))
        .collect();
    for (origin, output) in &failed {
        let found = letters.get(origin.as_str()).map_or(0, Vec::len);
        check.that(found == 1, || {
            format!(
                "{}: {found} dead letters for its failure at {origin}",
                output.place()
            )
        });
    }
    for (origin, found) in letters {
        check.that(failed.contains_key(origin), || {
            format!(
                "{}: a dead letter, but {origin} did not fail",
                found[0].place()
            )
        });
    }
}

/// The record that stands behind a stage for this one. The n-th of a partition is that of the n-th, if all is well.
fn output_of<'a>(record: &Record, output: &'a [Record]) -> Option<&'a Record> {
    match &record.message {
        Message::Frame(frame) => output.iter().find(|out| match &out.message {
            Message::Frame(found) => found.id == frame.id,
            _ => false,
        }),
        Message::Undecodable => output.iter().find(|out| match &out.message {
            Message::Gap(gap) => gap.origin.as_ref().is_some_and(|origin| {
                (origin.partition, origin.offset) == (record.partition, record.offset)
            }),
            _ => false,
        }),
        _ => None,
    }
}

/// Whether a broker writes a dead letter beside this output of its own stage.
fn has_letter(message: &Message, stage: usize) -> bool {
    match message {
        Message::Frame(frame) => frame
            .results
            .get(stage)
            .is_some_and(|result| matches!(result.status(), Status::Error | Status::Timeout)),
        Message::Gap(_) => true,
        _ => false,
    }
}
