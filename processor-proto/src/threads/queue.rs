//! Places for calls, fair between callers: a pure structure, without clock or threads.
//!
//! ```text
//! enter ── room? ─────────────────────────────▶ the caller's own line
//!       └─ full: who has most loses its newest ─▶ as long as that brings the two closer; else refused
//! next ── one from each line in turn
//! ```
//! That is round robin with the longest line cut (McKenney, "Stochastic Fairness Queueing", 1990): a caller that asks
//! for more than its share waits in its own line, and cannot keep others out by filling all places.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

use crate::processor::Caller;

/// Names one call for as long as the process runs.
pub(super) type Ticket = u64;

/// Calls waiting or running, at most as many as there are places.
pub(super) struct Queue<T> {
    places: usize,
    taken: usize,
    lines: BTreeMap<Caller, Line<T>>,
    /// Whose line was served last.
    served: Option<Caller>,
    next_ticket: Ticket,
}

struct Line<T> {
    waiting: VecDeque<(Ticket, T)>,
    running: usize,
}

impl<T> Line<T> {
    fn places(&self) -> usize {
        self.waiting.len() + self.running
    }
}

/// What became of a call that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered<T> {
    /// It waits.
    Waiting(Ticket),
    /// It waits in the place of this one, which has to go.
    InsteadOf(Ticket, T),
    /// There is no room for it.
    Refused(T),
}

impl<T> Queue<T> {
    pub fn new(places: usize) -> Self {
        Self {
            places,
            taken: 0,
            lines: BTreeMap::new(),
            served: None,
            next_ticket: 0,
        }
    }

    /// Calls waiting or running.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Puts a call into its caller's line.
    pub fn enter(&mut self, caller: Caller, call: T) -> Entered<T> {
        let mut displaced = None;
        if self.taken >= self.places {
            displaced = self.displace_for(caller);
            if displaced.is_none() {
                return Entered::Refused(call);
            }
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.taken += 1;
        let line = self.lines.entry(caller).or_insert_with(|| Line {
            waiting: VecDeque::new(),
            running: 0,
        });
        line.waiting.push_back((ticket, call));
        match displaced {
            None => Entered::Waiting(ticket),
            Some(displaced) => Entered::InsteadOf(ticket, displaced),
        }
    }

    /// The newest waiting call of the caller with the most places, if it has at least two more than this one has: with
    /// less the two would take places from each other for ever.
    fn displace_for(&mut self, caller: Caller) -> Option<T> {
        let own = self.lines.get(&caller).map_or(0, Line::places);
        let (_, longest) = self
            .lines
            .iter_mut()
            .filter(|(_, line)| !line.waiting.is_empty())
            .max_by_key(|(_, line)| line.places())?;
        if longest.places() < own + 2 {
            return None;
        }
        let (_, call) = longest.waiting.pop_back()?;
        self.taken -= 1;
        Some(call)
    }

    /// The next call to run, one from each line in turn. Its place is kept until [`Self::has_run`].
    pub fn next(&mut self) -> Option<(Caller, T)> {
        let is_waiting = |(_, line): &(&Caller, &mut Line<T>)| !line.waiting.is_empty();
        let after = self.served.map_or(Unbounded, Excluded);
        let turn = self
            .lines
            .range_mut((after, Unbounded))
            .find(is_waiting)
            .map(|(caller, _)| *caller);
        let turn = turn.or_else(|| self.lines.iter_mut().find(is_waiting).map(|(c, _)| *c))?;
        self.served = Some(turn);
        let line = self.lines.get_mut(&turn)?;
        let (_, call) = line.waiting.pop_front()?;
        line.running += 1;
        Some((turn, call))
    }

    /// A call that [`Self::next`] gave is over: its place is free.
    pub fn has_run(&mut self, caller: Caller) {
        if let Some(line) = self.lines.get_mut(&caller) {
            line.running -= 1;
            self.taken -= 1;
        }
        self.forget_if_empty(caller);
    }

    /// Takes a waiting call out, if it still waits: nobody wants its answer.
    pub fn leave(&mut self, caller: Caller, ticket: Ticket) -> Option<T> {
        let line = self.lines.get_mut(&caller)?;
        let at = line.waiting.iter().position(|(t, _)| *t == ticket)?;
        let (_, call) = line.waiting.remove(at)?;
        self.taken -= 1;
        self.forget_if_empty(caller);
        Some(call)
    }

    /// Callers come and go: only those with calls are remembered.
    fn forget_if_empty(&mut self, caller: Caller) {
        if self.lines.get(&caller).is_some_and(|l| l.places() == 0) {
            self.lines.remove(&caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;

    fn caller(port: u16) -> Caller {
        Caller::at(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn drain(queue: &mut Queue<&'static str>) -> String {
        std::iter::from_fn(|| queue.next())
            .map(|(_, call)| call)
            .collect()
    }

    #[test]
    fn lines_are_served_in_turn_and_each_in_its_order() {
        let mut queue = Queue::new(9);
        for (port, call) in [(1, "a"), (1, "b"), (1, "c"), (2, "x"), (3, "p"), (2, "y")] {
            queue.enter(caller(port), call);
        }
        assert_eq!(drain(&mut queue), "axpbyc");
    }

    #[test]
    fn a_full_queue_takes_from_the_longest_line_until_shares_are_equal() {
        let mut queue = Queue::new(4);
        for call in ["a", "b", "c", "d"] {
            queue.enter(caller(1), call);
        }
        assert_eq!(queue.enter(caller(1), "e"), Entered::Refused("e"));
        assert_eq!(queue.enter(caller(2), "x"), Entered::InsteadOf(4, "d"));
        assert_eq!(queue.enter(caller(2), "y"), Entered::InsteadOf(5, "c"));
        assert_eq!(queue.enter(caller(2), "z"), Entered::Refused("z"));
        assert_eq!(queue.enter(caller(1), "f"), Entered::Refused("f"));
        assert_eq!(drain(&mut queue), "axby");
    }

    #[test]
    fn running_calls_keep_their_places_and_are_never_displaced() {
        let mut queue = Queue::new(2);
        queue.enter(caller(1), "a");
        queue.enter(caller(1), "b");
        assert!(queue.next().is_some() && queue.next().is_some());
        assert_eq!(queue.enter(caller(2), "x"), Entered::Refused("x"));
        queue.has_run(caller(1));
        assert_eq!(queue.enter(caller(2), "x"), Entered::Waiting(2));
    }

    #[test]
    fn a_call_that_leaves_frees_its_place_once() {
        let mut queue = Queue::new(1);
        let Entered::Waiting(ticket) = queue.enter(caller(1), "a") else {
            panic!("there was room")
        };
        assert_eq!(queue.leave(caller(1), ticket), Some("a"));
        assert_eq!(queue.leave(caller(1), ticket), None);
        assert_eq!(queue.taken(), 0);
        assert!(matches!(queue.enter(caller(2), "x"), Entered::Waiting(_)));
    }

    proptest! {
        /// However greedy others are: who is refused has no place less than anybody who waits, but for one.
        #[test]
        fn nobody_is_kept_out_and_no_call_is_lost(
            places in 1_usize..12,
            steps in prop::collection::vec((0_u8..4, 1_u16..5), 1..300),
        ) {
            let mut queue = Queue::new(places);
            let (mut running, mut waiting, mut serial) = (Vec::new(), Vec::new(), 0_u32);
            for (step, port) in steps {
                let who = caller(port);
                match step {
                    0 | 1 => {
                        serial += 1;
                        let share = places_of(&running, &waiting, who);
                        match queue.enter(who, serial) {
                            Entered::Waiting(_) => waiting.push((who, serial)),
                            Entered::InsteadOf(_, gone) => {
                                let before = waiting.len();
                                waiting.retain(|c| c.1 != gone);
                                prop_assert_eq!(waiting.len(), before - 1);
                                waiting.push((who, serial));
                            }
                            Entered::Refused(back) => {
                                prop_assert_eq!(back, serial);
                                prop_assert_eq!(running.len() + waiting.len(), places);
                                let longest = waiting.iter().map(|c| places_of(&running, &waiting, c.0)).max();
                                prop_assert!(longest.is_none_or(|longest| longest < share + 2));
                            }
                        }
                    }
                    2 => {
                        let next = queue.next();
                        prop_assert_eq!(next.is_none(), waiting.is_empty());
                        if let Some(next) = next {
                            waiting.retain(|c| *c != next);
                            running.push(next);
                        }
                    }
                    _ => {
                        if let Some((who, _)) = running.pop() {
                            queue.has_run(who);
                        }
                    }
                }
                prop_assert_eq!(queue.taken(), running.len() + waiting.len());
                prop_assert!(queue.taken() <= places);
            }
        }
    }

    fn places_of(running: &[(Caller, u32)], waiting: &[(Caller, u32)], who: Caller) -> usize {
        running.iter().chain(waiting).filter(|c| c.0 == who).count()
    }
}
