//! The checker: a pure function from what is known of a run to a verdict on each invariant.
//!
//! A check that had nothing to look at has failed: silence proves nothing.

mod consumers;
mod content;
mod delivery;
mod health;
mod offsets;
mod order;

mod vacuity;
mod view;

#[cfg(test)]
mod tests;

use crate::history::History;
use serde::Serialize;
use view::View;

pub use health::Ceilings;

/// Violations that are kept in words; the rest is counted.
const MOST_WORDS: usize = 20;

/// The verdict on one invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// As in the list of invariants; 0 for what makes a run worth anything at all.
    pub number: u32,
    pub name: &'static str,
    /// How many things were looked at.
    pub checked: u64,
    pub violations: u64,
    /// The first violations, in words.
    pub words: Vec<String>,
}

impl Check {
    fn new(number: u32, name: &'static str) -> Self {
        Self {
            number,
            name,
            checked: 0,
            violations: 0,
            words: Vec::new(),
        }
    }

    /// One more thing was looked at, and was found to be so or not.
    fn that(&mut self, holds: bool, word: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.violated(word());
        }
    }

    fn violated(&mut self, word: String) {
        self.violations += 1;
        if self.words.len() < MOST_WORDS {
            self.words.push(word);
        }
    }

    /// Whether the invariant was seen to hold.
    pub fn holds(&self) -> bool {
        self.violations == 0
    }

    fn closed(mut self) -> Self {
        if self.checked == 0 {
            self.violated("nothing was checked".to_owned());
        }
        self
    }
}

/// All verdicts, in the order of their numbers.
pub fn judge(history: &History, ceilings: &Ceilings) -> Vec<Check> {
    let view = View::of(history);
    let checks = [
        vacuity::planned_faults_happened(history),
        delivery::acknowledged_input_comes_out_once(&view),
        delivery::every_output_has_an_intent(&view),
        delivery::unknown_sends_come_out_at_most_once(&view),
        order::sequences_grow_without_a_gap(&view),
        content::outputs_are_what_was_expected(&view),
        offsets::committed_is_behind_the_last_processed(&view),
        delivery::transactions_are_visible_whole_or_not_at_all(&view),
        consumers::the_live_consumer_saw_what_is_there(&view),
        consumers::replays_are_identical(&view),
        consumers::a_killed_consumer_has_no_gap_or_duplicate(&view),
        health::progress_within_a_minute(history),
        health::resources_stay_under_their_ceilings(history, ceilings),
        health::nothing_panicked(history),
    ];
    checks.into_iter().map(Check::closed).collect()
}
