//! What the publisher does, step by step: pure, from the plan.

use crate::dice::drawn;
use crate::frames::{COMMITTED, DOOMED, Item, Picture};
use crate::ledger::{Ending, PublishLine};
use crate::plan::{Plan, Workload};
use std::collections::BTreeMap;

/// Numbers of one step's sends.
const PER_STEP: u64 = 100;
/// The numbers of the records that end a life's epochs lie above those of all steps.
const ENDS: u64 = 1 << 40;
/// Frames that are sent and never answered.
const LAST_WORDS: usize = 4;

/// The step that a send's number belongs to; None for the ends.
pub fn step_of(number: u64) -> Option<u64> {
    (number < ENDS).then_some(number / PER_STEP)
}

/// Where the next life begins: behind every step in the ledger.
pub fn steps_before(lines: &[PublishLine]) -> u64 {
    let numbers = lines.iter().filter_map(|line| match line {
        PublishLine::Intent { number, .. } => step_of(*number),
        _ => None,
    });
    numbers.max().map_or(0, |step| step + 1)
}

/// One step.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Number, partition, what.
    Send(u64, i32, Item),
    Transaction(Transaction),
}

/// Some frames that are visible together, or never.
#[derive(Debug, PartialEq)]
pub struct Transaction {
    pub number: u64,
    pub ending: Ending,
    pub sends: Vec<(u64, i32, Item)>,
}

/// The steps of one life.
#[derive(Debug)]
pub struct Script {
    seed: u64,
    workload: Workload,
    epoch: u64,
    step: u64,
    /// The next sequence of each source.
    next: BTreeMap<String, u64>,
}

impl Script {
    pub fn new(plan: &Plan, epoch: u64, step: u64) -> Self {
        Self {
            seed: plan.seed,
            workload: plan.workload.clone(),
            epoch,
            step,
            next: BTreeMap::new(),
        }
    }

    /// The step that comes next.
    pub fn step(&self) -> u64 {
        self.step
    }

    pub fn next(&mut self) -> Step {
        let step = self.step;
        self.step += 1;
        // At different places of their rounds, so that none always stands where another one is due.
        let is_time = |every: Option<u64>, place: fn(u64) -> u64| {
            every.is_some_and(|every| step % every == place(every))
        };
        if is_time(Some(self.workload.transaction_every), |every| every - 1) {
            return Step::Transaction(self.transaction(step));
        }
        let number = step * PER_STEP;
        if is_time(self.workload.garbage_every, |every| every / 3) {
            return Step::Send(number, 0, Item::Garbage { number: step });
        }
        let picture = if !is_time(self.workload.bomb_every, |every| every / 2) {
            Picture::Sound
        } else if self.draw(step, 3).is_multiple_of(2) {
            Picture::Bomb
        } else {
            Picture::Truncated
        };
        let source = format!("s{}", self.draw(step, 1) % self.workload.sources);
        let (partition, item) = self.frame(source, picture);
        Step::Send(number, partition, item)
    }

    fn transaction(&mut self, step: u64) -> Transaction {
        let (source, ending) = if (step / self.workload.transaction_every).is_multiple_of(2) {
            (DOOMED, Ending::Abort)
        } else {
            (COMMITTED, Ending::Commit)
        };
        let count = 3 + self.draw(step, 2) % 6;
        let sends = (0..count).map(|at| {
            let (partition, item) = self.frame(source.to_owned(), Picture::Sound);
            (step * PER_STEP + at, partition, item)
        });
        Transaction {
            number: step,
            ending,
            sends: sends.collect(),
        }
    }

    /// The sends of a life that ends with them.
    pub fn last_words(&mut self) -> Vec<(u64, i32, Item)> {
        let step = self.step;
        let words = (0..LAST_WORDS).map(|at| {
            let source = format!("s{}", at as u64 % self.workload.sources);
            let (partition, item) = self.frame(source, Picture::Sound);
            (step * PER_STEP + at as u64, partition, item)
        });
        words.collect()
    }

    /// The records that end this life's epochs.
    pub fn ends(&self) -> Vec<(u64, i32, Item)> {
        let sources = self.next.iter().filter(|(source, _)| *source != DOOMED);
        let ends = sources.enumerate().map(|(at, (source, next))| {
            let item = Item::End {
                source: source.clone(),
                epoch: self.epoch,
                sequence: next - 1,
            };
            let number = ENDS + self.epoch * PER_STEP + at as u64;
            (number, self.partition(source), item)
        });
        ends.collect()
    }

    fn frame(&mut self, source: String, picture: Picture) -> (i32, Item) {
        let next = self.next.entry(source.clone()).or_default();
        let sequence = *next;
        *next += 1;
        let partition = self.partition(&source);
        let epoch = self.epoch;
        let item = Item::Frame {
            source,
            epoch,
            sequence,
            picture,
        };
        (partition, item)
    }

    /// A source stays in its partition. Those of transactions share one with others.
    fn partition(&self, source: &str) -> i32 {
        let index = match source {
            COMMITTED => 0,
            DOOMED => 1,
            other => other[1..].parse::<i32>().unwrap_or(0),
        };
        index % self.workload.partitions
    }

    fn draw(&self, step: u64, purpose: u64) -> u64 {
        drawn(self.seed, &[31, step, purpose])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Choice, draw};

    #[test]
    fn sequences_have_no_hole_and_the_end_names_the_last() {
        let choice = Choice {
            nodes: 1,
            rows: Some(vec![18, 19]),
        };
        let mut script = Script::new(&draw(1, &choice), 2, 40);
        let mut next: BTreeMap<String, u64> = BTreeMap::new();
        let mut transactions = 0;
        for _ in 0..1_000 {
            let items: Vec<Item> = match script.next() {
                Step::Send(_, _, item) => vec![item],
                Step::Transaction(transaction) => {
                    transactions += 1;
                    transaction
                        .sends
                        .into_iter()
                        .map(|(_, _, item)| item)
                        .collect()
                }
            };
            for item in items {
                let Some(id) = item.id() else { continue };
                let expected = next.entry(id.source_id.clone()).or_default();
                assert_eq!((id.epoch, id.sequence), (2, *expected));
                *expected += 1;
            }
        }
        assert!(transactions > 5);
        next.remove(DOOMED);
        for (_, _, end) in script.ends() {
            let id = end.id().unwrap();
            assert_eq!(next.remove(&id.source_id), Some(id.sequence + 1));
        }
        assert!(next.is_empty());
    }
}
