//! What a consumer does about its sources: which ones it reads, and what happens when one closes. Pure: time is an
//! argument.

use super::standing::{Standing, Subject};
use registry::model::WhenClosed;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// A source counts as closed when it has been for so long: one that is opened again with new settings, or by another
/// host, is away for a moment only.
const SETTLED: Duration = Duration::from_secs(1);

/// What has to be remembered between two decisions.
#[derive(Debug, Default)]
pub struct Choice {
    /// Of `next`: what is read.
    current: Option<String>,
    /// Of `next`: on-demand sources that ended while this consumer read them, in this version. They would open again for
    /// ever, one after the other.
    spent: HashMap<String, u64>,
    /// Since when sources are closed and read to their ends.
    closed_since: HashMap<String, Instant>,
    /// Of `placeholder`: what was shown last.
    shown: HashMap<String, String>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// The sources to read; these are also the ones that are to be open.
    pub read: Vec<String>,
    /// Sources to show a placeholder for, and why.
    pub placeholders: BTreeMap<String, String>,
    /// Everything was shown.
    pub is_over: bool,
}

impl Choice {
    /// Decides about the sources, which come in the order of preference.
    pub fn decide(&mut self, when: WhenClosed, sources: &[Subject], now: Instant) -> Decision {
        self.take_in(sources, now);
        let all = || sources.iter().map(|source| source.name.clone()).collect();
        match when {
            WhenClosed::Wait => Decision {
                read: all(),
                ..Decision::default()
            },
            WhenClosed::Exit => Decision {
                read: all(),
                is_over: self.have_all_ended(sources, now),
                ..Decision::default()
            },
            WhenClosed::Placeholder => Decision {
                read: all(),
                placeholders: self.new_placeholders(sources, now),
                ..Decision::default()
            },
            WhenClosed::Next => Decision {
                read: self.next(sources, now).into_iter().collect(),
                ..Decision::default()
            },
        }
    }

    /// A placeholder could not be handed over: it is decided about again.
    pub fn take_back(&mut self, source: &str) {
        self.shown.remove(source);
    }

    fn take_in(&mut self, sources: &[Subject], now: Instant) {
        let is_known = |name: &String| sources.iter().any(|source| source.name == *name);
        self.closed_since.retain(|name, _| is_known(name));
        self.shown.retain(|name, _| is_known(name));
        for source in sources {
            match source.standing {
                Standing::Closed { .. } if source.is_read => {
                    self.closed_since.entry(source.name.clone()).or_insert(now);
                }
                _ => {
                    self.closed_since.remove(&source.name);
                }
            }
            if source.standing == Standing::Open {
                self.shown.remove(&source.name);
            }
        }
    }

    fn is_settled(&self, name: &str, now: Instant) -> bool {
        let since = self.closed_since.get(name);
        since.is_some_and(|since| now.saturating_duration_since(*since) >= SETTLED)
    }

    fn have_all_ended(&self, sources: &[Subject], now: Instant) -> bool {
        let has_ended = |source: &Subject| {
            let has_ended = matches!(
                source.standing,
                Standing::Closed {
                    has_ended: true,
                    ..
                }
            );
            has_ended && self.is_settled(&source.name, now)
        };
        !sources.is_empty() && sources.iter().all(has_ended)
    }

    fn new_placeholders(&mut self, sources: &[Subject], now: Instant) -> BTreeMap<String, String> {
        let mut fresh = BTreeMap::new();
        for source in sources {
            let Standing::Closed { why, .. } = &source.standing else {
                continue;
            };
            let is_shown = self.shown.get(&source.name) == Some(why);
            if !is_shown && self.is_settled(&source.name, now) {
                self.shown.insert(source.name.clone(), why.clone());
                fresh.insert(source.name.clone(), why.clone());
            }
        }
        fresh
    }

    fn next(&mut self, sources: &[Subject], now: Instant) -> Option<String> {
        let current = self.current.take();
        let present = current.and_then(|name| sources.iter().find(|source| source.name == name));
        if let Some(source) = present {
            if !self.is_settled(&source.name, now) {
                self.current = Some(source.name.clone());
                return self.current.clone();
            }
            if source.opens_for_watchers {
                self.spent.insert(source.name.clone(), source.version);
            }
            tracing::info!(source = source.name, "closed; going on to the next");
        }
        let can_be_read = |source: &&Subject| {
            let is_spent = self.spent.get(&source.name) == Some(&source.version);
            match source.standing {
                Standing::Open => true,
                Standing::OnDemand { .. } => !is_spent,
                Standing::Closed { .. } => false,
            }
        };
        let chosen = sources.iter().find(can_be_read);
        self.current = chosen.map(|source| source.name.clone());
        self.current.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str, standing: Standing) -> Subject {
        Subject {
            name: name.to_owned(),
            version: 1,
            standing,
            is_read: true,
            opens_for_watchers: false,
        }
    }

    fn closed(why: &str) -> Standing {
        Standing::Closed {
            why: why.to_owned(),
            has_ended: true,
        }
    }

    fn on_demand() -> Standing {
        Standing::OnDemand {
            why: "opens when somebody watches it".to_owned(),
        }
    }

    /// Decides twice, before and after the sources have settled.
    fn settle(choice: &mut Choice, when: WhenClosed, sources: &[Subject]) -> (Decision, Decision) {
        let now = Instant::now();
        let before = choice.decide(when, sources, now);
        (before, choice.decide(when, sources, now + SETTLED))
    }

    #[test]
    fn exit_needs_every_source_ended_read_and_settled() {
        let ended = subject("a", closed("finished"));
        let mut choice = Choice::default();
        let mut is_over = |sources: &[Subject]| {
            let (before, after) = settle(&mut choice, WhenClosed::Exit, sources);
            assert!(!before.is_over, "not settled");
            after.is_over
        };
        assert!(!is_over(&[]));
        assert!(!is_over(&[ended.clone(), subject("b", Standing::Open)]));
        assert!(!is_over(&[ended.clone(), subject("b", on_demand())]));
        let mut unread = ended.clone();
        unread.is_read = false;
        assert!(!is_over(&[unread]));
        let lost = Standing::Closed {
            why: "its producer is lost".to_owned(),
            has_ended: false,
        };
        assert!(!is_over(&[subject("c", lost)]));
        assert!(is_over(&[subject("d", closed("finished"))]));
    }

    #[test]
    fn next_stays_with_a_source_until_it_has_closed_and_then_takes_the_first_that_is_open() {
        let mut choice = Choice::default();
        let (open, gone) = (
            |name| subject(name, Standing::Open),
            |name| subject(name, closed("x")),
        );
        let mut read = |sources: &[Subject]| {
            settle(&mut choice, WhenClosed::Next, sources)
                .1
                .read
                .join(",")
        };
        assert_eq!(read(&[gone("a"), open("b"), open("c")]), "b");
        assert_eq!(read(&[open("a"), open("b"), open("c")]), "b");
        assert_eq!(read(&[open("a"), gone("b"), open("c")]), "a");
        assert_eq!(read(&[gone("a"), gone("b"), gone("c")]), "");
        assert_eq!(read(&[gone("a"), gone("b"), open("c")]), "c");
        assert_eq!(read(&[open("a")]), "a", "no longer assigned");
    }

    #[test]
    fn next_opens_each_on_demand_source_once() {
        let demanded = |name: &str, standing| Subject {
            opens_for_watchers: true,
            ..subject(name, standing)
        };
        let mut choice = Choice::default();
        let mut read = |sources: &[Subject]| {
            settle(&mut choice, WhenClosed::Next, sources)
                .1
                .read
                .join(",")
        };
        assert_eq!(
            read(&[demanded("a", on_demand()), demanded("b", on_demand())]),
            "a"
        );
        assert_eq!(
            read(&[demanded("a", Standing::Open), demanded("b", on_demand())]),
            "a"
        );
        assert_eq!(
            read(&[demanded("a", closed("end")), demanded("b", on_demand())]),
            "b"
        );
        assert_eq!(
            read(&[demanded("a", on_demand()), demanded("b", closed("end"))]),
            ""
        );
        let mut changed = demanded("a", on_demand());
        changed.version = 2;
        assert_eq!(read(&[changed, demanded("b", on_demand())]), "a");
    }

    #[test]
    fn a_placeholder_is_shown_once_for_each_reason_and_again_after_the_source_was_back() {
        let mut choice = Choice::default();
        let mut shown = |standing| {
            let sources = [subject("a", standing)];
            let (before, after) = settle(&mut choice, WhenClosed::Placeholder, &sources);
            assert_eq!(after.read, ["a"]);
            let all = before.placeholders.into_iter().chain(after.placeholders);
            all.map(|(_, why)| why).collect::<Vec<_>>()
        };
        assert_eq!(shown(Standing::Open), Vec::<String>::new());
        assert_eq!(shown(closed("finished")), ["finished"]);
        assert_eq!(shown(closed("finished")), Vec::<String>::new());
        assert_eq!(shown(closed("deleted")), ["deleted"]);
        assert_eq!(shown(Standing::Open), Vec::<String>::new());
        assert_eq!(shown(closed("deleted")), ["deleted"]);
    }

    #[test]
    fn a_source_that_is_away_for_a_moment_is_not_closed() {
        let mut choice = Choice::default();
        let now = Instant::now();
        let mut shown = |standing, after_ms| {
            let at = now + Duration::from_millis(after_ms);
            let sources = [subject("a", standing)];
            let decision = choice.decide(WhenClosed::Placeholder, &sources, at);
            !decision.placeholders.is_empty()
        };
        assert!(!shown(closed("x"), 0));
        assert!(!shown(closed("x"), 900));
        assert!(!shown(Standing::Open, 950));
        assert!(!shown(closed("x"), 1_500));
        assert!(shown(closed("x"), 2_500));
    }
}
