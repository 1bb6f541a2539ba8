//! A history, indexed: what each record stands for, and what became of each send.

use crate::dice::of_bytes;
use crate::frames::Item;
use crate::history::{History, Message, Record};
use crate::ledger::{Ending, Outcome, PublishLine};
use processor_proto::v1::gap::Reason;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// What a record stands for, wherever in the pipeline it is met.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Source, epoch, sequence.
    Frame(String, u64, u64),
    /// Source, epoch, the last sequence.
    End(String, u64, u64),
    /// The hash of the payload.
    Garbage(u64),
    /// Nothing that was ever sent: where it lies.
    Stranger(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(source, epoch, sequence) => write!(f, "frame {source}/{epoch}/{sequence}"),
            Self::End(source, epoch, sequence) => write!(f, "end {source}/{epoch}/{sequence}"),
            Self::Garbage(hash) => write!(f, "garbage {hash:016x}"),
            Self::Stranger(place) => write!(f, "stranger at {place}"),
        }
    }
}

/// What is known of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Acknowledged: it must come out.
    Sent,
    /// No answer: it may come out.
    Unknown,
    /// Its transaction was aborted, or the send failed for sure: it must not come out.
    Never,
}

#[derive(Debug)]
pub struct Intent<'a> {
    pub item: &'a Item,
    pub key: Key,
    pub transaction: Option<u64>,
    pub fate: Fate,
}

/// A topic between two stages.
#[derive(Debug)]
pub struct Keyed<'a> {
    pub records: &'a [Record],
    /// In the order of the records.
    pub keys: Vec<Key>,
    pub counts: HashMap<Key, u64>,
}

#[derive(Debug)]
pub struct View<'a> {
    pub history: &'a History,
    pub intents: Vec<Intent<'a>>,
    pub by_key: HashMap<Key, usize>,
    pub input: Keyed<'a>,
    /// Each stage's output.
    pub outputs: Vec<Keyed<'a>>,
}

impl<'a> View<'a> {
    pub fn of(history: &'a History) -> Self {
        let intents = intents(&history.publish);
        let by_key = (0..).zip(&intents).map(|(at, one)| (one.key.clone(), at));
        let places: HashMap<(i32, i64), &Record> = history
            .input
            .iter()
            .map(|record| ((record.partition, record.offset), record))
            .collect();
        let keyed = |records: &'a [Record]| {
            let keys: Vec<Key> = records.iter().map(|one| key(one, &places)).collect();
            let mut counts = HashMap::new();
            for key in &keys {
                *counts.entry(key.clone()).or_default() += 1;
            }
            Keyed {
                records,
                keys,
                counts,
            }
        };
        Self {
            by_key: by_key.collect(),
            input: keyed(&history.input),
            outputs: history
                .stages
                .iter()
                .map(|stage| keyed(&stage.output))
                .collect(),
            intents,
            history,
        }
    }

    /// The topic that a stage reads.
    pub fn input_of(&self, stage: usize) -> &Keyed<'a> {
        match stage.checked_sub(1) {
            None => &self.input,
            Some(before) => &self.outputs[before],
        }
    }

    pub fn intent(&self, key: &Key) -> Option<&Intent<'a>> {
        self.by_key.get(key).map(|at| &self.intents[*at])
    }
}

impl Keyed<'_> {
    pub fn count(&self, key: &Key) -> u64 {
        self.counts.get(key).copied().unwrap_or(0)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Record, &Key)> {
        self.records.iter().zip(&self.keys)
    }
}

/// What a record stands for. A gap in the place of garbage is told by its origin, which is in the input.
fn key(record: &Record, input: &HashMap<(i32, i64), &Record>) -> Key {
    let stranger = || Key::Stranger(record.place());
    match &record.message {
        Message::Frame(frame) => match &frame.id {
            Some(id) => Key::Frame(id.source_id.clone(), id.epoch, id.sequence),
            None => stranger(),
        },
        Message::End(end) => match &end.last {
            Some(id) => Key::End(id.source_id.clone(), id.epoch, id.sequence),
            None => stranger(),
        },
        Message::Undecodable => Key::Garbage(of_bytes(&record.payload)),
        Message::Gap(gap) if gap.reason() == Reason::Undecodable => {
            let origin = gap.origin.as_ref();
            let origin = origin.and_then(|at| input.get(&(at.partition, at.offset)));
            origin.map_or_else(stranger, |origin| Key::Garbage(of_bytes(&origin.payload)))
        }
        Message::Gap(_) => stranger(),
    }
}

fn intents(lines: &[PublishLine]) -> Vec<Intent<'_>> {
    let mut answers: HashMap<u64, Outcome> = HashMap::new();
    let mut transactions: BTreeMap<u64, (Option<Ending>, Outcome)> = BTreeMap::new();
    for line in lines {
        match line {
            PublishLine::Answer { number, outcome } => {
                answers.insert(*number, *outcome);
            }
            PublishLine::Ending {
                transaction,
                ending,
            } => {
                transactions.insert(*transaction, (Some(*ending), Outcome::Unknown));
            }
            PublishLine::Ended {
                transaction,
                outcome,
            } => {
                if let Some(known) = transactions.get_mut(transaction) {
                    known.1 = *outcome;
                }
            }
            PublishLine::Intent { .. } => {}
        }
    }
    let fate = |number: &u64, transaction: &Option<u64>| match transaction {
        None => match answers.get(number) {
            Some(Outcome::Ok) => Fate::Sent,
            Some(Outcome::Failed) => Fate::Never,
            Some(Outcome::Unknown) | None => Fate::Unknown,
        },
        Some(transaction) => match transactions.get(transaction) {
            Some((Some(Ending::Commit), Outcome::Ok)) => Fate::Sent,
            Some((Some(Ending::Commit), _)) => Fate::Unknown,
            // Aborted, or never asked to be committed.
            _ => Fate::Never,
        },
    };
    lines
        .iter()
        .filter_map(|line| match line {
            PublishLine::Intent {
                number,
                item,
                payload,
                transaction,
                ..
            } => Some(Intent {
                key: match item {
                    Item::Garbage { .. } => Key::Garbage(*payload),
                    Item::Frame {
                        source,
                        epoch,
                        sequence,
                        ..
                    } => Key::Frame(source.clone(), *epoch, *sequence),
                    Item::End {
                        source,
                        epoch,
                        sequence,
                    } => Key::End(source.clone(), *epoch, *sequence),
                },
                item,
                transaction: *transaction,
                fate: fate(number, transaction),
            }),
            _ => None,
        })
        .collect()
}
