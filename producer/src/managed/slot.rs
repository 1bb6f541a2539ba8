//! One declared source: whether it runs, has ended, or has failed, and what is to be done about it. Pure but for the
//! token that tells a run to end; time is an argument.

use super::opening::{Door, Now, Wanted};
use crate::config::SourceConfig;
use crate::progress::{Meter, Progress};
use registry::model::{Opening, Version};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A source that failed is tried again after this time, then after twice that, and so on.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A run of this length shows that the source works: the next failure is a first one.
const LONG_RUN: Duration = Duration::from_secs(60);
/// What another of the crew took over is its own for so long, also while it says nothing. A frozen one that wakes may take
/// a source before it hears that its turn is over; it closes it then, and nobody would have it. Longer than a session with
/// the group, after which either of the two knows that it stands by.
const FREE_AFTER: Duration = Duration::from_secs(10);

/// What was declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// What to run.
    pub config: Arc<SourceConfig>,
    /// When.
    pub opening: Opening,
}

/// One declared source.
#[derive(Debug)]
pub struct Slot {
    /// None: it is declared no more. An error says why it cannot be run.
    declared: Option<Result<Declared, String>>,
    /// Of the object that was declared last.
    version: Version,
    door: Door,
    phase: Phase,
    /// What was run last, and how often it failed since it worked.
    tried: Option<Arc<SourceConfig>>,
    failures: u32,
}

/// What it is doing.
#[derive(Debug)]
pub enum Phase {
    /// Nothing, as it should; why.
    Closed(String),
    /// It runs.
    Running(Run),
    /// It was told to end.
    Stopping(Run, Then),
    /// It came to its end by itself.
    Ended(String),
    /// It cannot run.
    Failed {
        /// Why.
        why: String,
        /// What has to happen first.
        again: Again,
    },
}

/// When a source that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// At this moment.
    At(Instant),
    /// When something else is declared.
    Changed,
    /// Another start has it: also when this host's turn comes to this producer anew, as nobody else of the host has it then.
    NextTurn,
    /// As above; another of this host's crew took it, though it is not its turn. Also at this moment, which
    /// [`Slot::has_another`] puts off.
    OnceFree(Instant),
}

/// What comes after a run that was told to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// The next run, with other settings.
    Reopen,
    /// Nothing; why, for people.
    Close(String),
}

/// A source that runs.
#[derive(Debug)]
pub struct Run {
    /// With these settings.
    pub config: Arc<SourceConfig>,
    /// Ends it.
    pub stop: CancellationToken,
    /// What it has done.
    pub progress: Arc<Progress>,
    /// How fast, and what it said last.
    pub meter: Meter,
    /// Frames a second.
    pub fps: f64,
    /// Since when.
    pub begun: Instant,
    /// Whether it was begun in the turn of this producer that lasts, or in one before.
    pub turn: RunTurn,
}

/// In which turn of this producer a run was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunTurn {
    /// In this one: who takes it over is no producer of this host, or one that does not know yet that its turn is over.
    This,
    /// In one before: who took it over meanwhile was one of this host, and has left.
    Earlier,
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// It came to its end, or was told to.
    Done,
    /// It failed; another try may help.
    Failed(String),
    /// A newer start of the same source runs elsewhere.
    TakenOver(String, Taker),
}

/// Who took a source over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taker {
    /// Another managed producer of this host.
    Crew,
    /// Somebody else, who is to keep it.
    Stranger,
}

impl Default for Slot {
    /// Nothing is known of it yet.
    fn default() -> Self {
        Self {
            declared: None,
            version: 0,
            door: Door::default(),
            phase: Phase::Closed("not opened yet".to_owned()),
            tried: None,
            failures: 0,
        }
    }
}

impl Slot {
    /// What is declared now, in this version of its object.
    pub fn declare(&mut self, declared: Result<Declared, String>, version: Version) {
        self.declared = Some(declared);
        self.version = version;
    }

    /// True if this version is what is declared.
    pub fn is_at(&self, version: Version) -> bool {
        self.declared.is_some() && self.version == version
    }

    /// It is declared no more.
    pub fn withdraw(&mut self) {
        self.declared = None;
    }

    /// True if nothing is left of it.
    pub fn is_gone(&self) -> bool {
        self.declared.is_none() && self.run().is_none()
    }

    /// The version of the object last seen.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What it is doing.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The run, if it runs.
    pub fn run(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Running(run) | Phase::Stopping(run, _) => Some(run),
            _ => None,
        }
    }

    /// As [`Slot::run`].
    pub fn run_mut(&mut self) -> Option<&mut Run> {
        match &mut self.phase {
            Phase::Running(run) | Phase::Stopping(run, _) => Some(run),
            _ => None,
        }
    }

    /// Why its newest settings are not those that it runs with, if that is so.
    pub fn refusal(&self) -> Option<&str> {
        self.declared.as_ref()?.as_ref().err().map(String::as_str)
    }

    /// Tells it to end if it should, and answers what is to be started.
    pub fn step(&mut self, watchers: usize, now: Now) -> Option<Arc<SourceConfig>> {
        let declared = match &self.declared {
            None => {
                self.close("deleted".to_owned());
                return None;
            }
            Some(Err(why)) => {
                // What runs goes on: the settings before were good.
                if self.run().is_none() {
                    let (why, again) = (why.clone(), Again::Changed);
                    self.phase = Phase::Failed { why, again };
                    self.tried = None; // good settings are tried at once, also if they are the ones of before
                }
                return None;
            }
            Some(Ok(declared)) => declared.clone(),
        };
        if let Wanted::Closed(why) = self.door.wanted(&declared.opening, watchers, now) {
            self.close(why);
            return None;
        }
        let is_tried = self.tried.as_ref() == Some(&declared.config);
        match &self.phase {
            Phase::Running(_) if is_tried => None,
            Phase::Running(_) => {
                self.stop(Then::Reopen);
                None
            }
            Phase::Stopping(..) => None,
            Phase::Ended(_) if is_tried => None,
            Phase::Failed { again, .. }
                if is_tried
                    && !matches!(again, Again::At(at) | Again::OnceFree(at) if *at <= now.instant) =>
            {
                None
            }
            Phase::Closed(_) | Phase::Ended(_) | Phase::Failed { .. } => {
                if !is_tried {
                    self.failures = 0;
                }
                Some(declared.config)
            }
        }
    }

    /// It is not opened at present; why, for people. One that has ended or failed stays so.
    pub fn waits_for(&mut self, what: &str) {
        if let Phase::Closed(why) = &mut self.phase {
            what.clone_into(why);
        }
    }

    fn close(&mut self, why: String) {
        match &self.phase {
            Phase::Running(_) => self.stop(Then::Close(why)),
            Phase::Stopping(..) => {}
            Phase::Closed(_) | Phase::Ended(_) | Phase::Failed { .. } => {
                self.phase = Phase::Closed(why);
            }
        }
    }

    /// Tells a run to end.
    pub fn stop(&mut self, then: Then) {
        let before = std::mem::replace(&mut self.phase, Phase::Closed(String::new()));
        self.phase = match before {
            Phase::Running(run) => {
                run.stop.cancel();
                Phase::Stopping(run, then)
            }
            other => other,
        };
    }

    /// The turn of this producer has come: whoever of this host took a source over before has left. Others may tell us late,
    /// so that a run may still find that it was taken over in the turn before.
    pub fn begin_turn(&mut self) {
        if let Some(run) = self.run_mut() {
            run.turn = RunTurn::Earlier;
        }
        if let Phase::Failed {
            why,
            again: Again::NextTurn | Again::OnceFree(_),
        } = &mut self.phase
        {
            self.phase = Phase::Closed(std::mem::take(why));
        }
    }

    /// Whether [`Slot::has_another`] counts.
    pub fn waits_until_free(&self) -> bool {
        matches!(
            self.phase,
            Phase::Failed {
                again: Again::OnceFree(_),
                ..
            }
        )
    }

    /// Another of this host's crew says that it runs it: it is not taken back for a while.
    pub fn has_another(&mut self, now: Instant) {
        if let Phase::Failed {
            again: Again::OnceFree(at),
            ..
        } = &mut self.phase
        {
            *at = now + FREE_AFTER;
        }
    }

    /// It runs from now on.
    pub fn started(&mut self, run: Run) {
        self.tried = Some(Arc::clone(&run.config));
        self.phase = Phase::Running(run);
    }

    /// Its run has ended.
    pub fn ended(&mut self, outcome: Outcome, now: Instant) {
        let before = std::mem::replace(&mut self.phase, Phase::Closed(String::new()));
        let (run, was_told) = match before {
            Phase::Running(run) => (run, None),
            Phase::Stopping(run, then) => (run, Some(then)),
            other => {
                self.phase = other;
                return;
            }
        };
        let has_worked = now.duration_since(run.begun) >= LONG_RUN;
        self.phase = match (outcome, was_told) {
            (Outcome::Done, None) => Phase::Ended("it came to its end".to_owned()),
            (Outcome::Done, Some(Then::Close(why))) => Phase::Closed(why),
            (Outcome::Done, Some(Then::Reopen)) => Phase::Closed("it has new settings".to_owned()),
            (Outcome::TakenOver(why, _), _) if run.turn == RunTurn::Earlier => Phase::Closed(why),
            (Outcome::TakenOver(why, taker), _) => Phase::Failed {
                why,
                again: match taker {
                    Taker::Crew => Again::OnceFree(now + FREE_AFTER),
                    Taker::Stranger => Again::NextTurn,
                },
            },
            (Outcome::Failed(why), Some(_)) => Phase::Closed(why),
            (Outcome::Failed(why), None) => {
                self.failures = match has_worked {
                    true => 0,
                    false => self.failures.saturating_add(1),
                };
                let doublings = self.failures.saturating_sub(1).min(10);
                let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
                Phase::Failed {
                    why,
                    again: Again::At(now + pause),
                }
            }
        };
    }
}

#[cfg(test)]
mod tests;
