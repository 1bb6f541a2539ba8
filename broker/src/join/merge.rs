//! Branches of one stream put together again, place by place: pure and deterministic.
//!
//! Branches are topics that were made of one stream, each by stages that keep its order and leave nothing out without a
//! word. So this is a merge, not a lookup: the heads of the branches are of the same frame. Where they are not (retention
//! took records from one, or one was begun later), what the branches have behind their heads tells which head comes first:
//! the one behind which another branch's head follows. Nothing is decided before it is certain, so what comes out depends
//! on the branches alone and not on when their records arrive.
//!
//! Branches that have the same records in different orders (two stages that each merge the same topics) cannot be told from
//! such that lost some, before one of them comes with what was written without it. That is where it ends: nothing is doubled.

use super::key::Key;
use super::passed::Passed;
use std::collections::{HashSet, VecDeque};

/// Records of the branches that wait for each other. The first branch leads: a branch that is met for the first time
/// begins where the first one is.
#[derive(Debug)]
pub struct Merge<T> {
    branches: Vec<Branch<T>>,
}

#[derive(Debug)]
struct Branch<T> {
    queue: VecDeque<(Key, T)>,
    /// It has had a record in common with the others.
    is_aligned: bool,
    /// What was written without it.
    passed: Passed,
}

/// What can be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// The records of one place, by branch. At least one; None: the branch has no record there.
    Row(Vec<Option<T>>),
    /// The same of a place before the beginning: none of these branches has had anything in common with the first yet.
    Skipped(Vec<Option<T>>),
    /// It depends on what these branches have next.
    Wait(Vec<usize>),
    /// The branches are not of one stream: nothing that could still be read decides which of these two comes first.
    Stuck(Key, Key),
    /// The branches have the same records in different orders: this branch has one behind its head, or as its head, that
    /// was written without it or would have to be.
    Crossed(Key, usize),
}

/// Which of two heads comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    First,
    Later,
    Open,
}

impl<T> Merge<T> {
    /// As many branches as are given; each says whether it goes on (rather than begins).
    pub fn new(go_on: impl IntoIterator<Item = bool>) -> Self {
        let branch = |is_aligned| Branch {
            queue: VecDeque::new(),
            is_aligned,
            passed: Passed::default(),
        };
        Self {
            branches: go_on.into_iter().map(branch).collect(),
        }
    }

    /// What was written without a branch before a restart.
    pub fn remember(&mut self, branch: usize, passed: Passed) {
        self.branches[branch].passed = passed;
    }

    /// What was written without a branch: to go on with after a restart.
    pub fn passed(&self, branch: usize) -> &Passed {
        &self.branches[branch].passed
    }

    /// The next record of a branch.
    pub fn push(&mut self, branch: usize, key: Key, record: T) {
        self.branches[branch].queue.push_back((key, record));
    }

    /// Records of a branch that wait.
    pub fn waiting(&self, branch: usize) -> usize {
        self.branches[branch].queue.len()
    }

    /// Whether each branch has begun: to go on with after a restart.
    pub fn is_aligned(&self, branch: usize) -> bool {
        self.branches[branch].is_aligned
    }

    /// The next place, or why there is none yet. `is_full`: no more records of this branch can come before some have left.
    pub fn next(&mut self, is_full: impl Fn(usize) -> bool) -> Next<T> {
        let empty: Vec<usize> = self.indices(|_, branch| branch.queue.is_empty());
        if !empty.is_empty() {
            return Next::Wait(empty);
        }
        let others = |head: usize| (0..self.branches.len()).filter(move |other| *other != head);
        // In the order of the branches, so that of two heads that could both be next it is always the same one.
        for head in 0..self.branches.len() {
            let orders: Vec<_> = others(head)
                .map(|other| (other, self.order(head, other, &is_full)))
                .collect();
            if orders.iter().all(|(_, order)| *order == Order::First) {
                return self.take(head);
            }
            if orders.iter().any(|(_, order)| *order == Order::Later) {
                continue;
            }
            let may_grow = self.indices(|n, _| !is_full(n));
            if may_grow.is_empty() {
                let open = orders.iter().find(|(_, order)| *order == Order::Open);
                let other = open.map_or(head, |(other, _)| *other);
                return Next::Stuck(self.head(head).clone(), self.head(other).clone());
            }
            return Next::Wait(may_grow);
        }
        // Each comes behind another, by epochs that are not in their order: none is more right than another. But the one
        // that comes first in a stream that they have in common is behind no head.
        let behind = |head: usize| {
            others(head).find(|other| self.keys(*other).skip(1).any(|key| key == self.head(head)))
        };
        let first = (0..self.branches.len()).find(|head| behind(*head).is_none());
        match (first, behind(0)) {
            (None, Some(other)) => Next::Crossed(self.head(0).clone(), other),
            (first, _) => self.take(first.unwrap_or(0)),
        }
    }

    /// Whether the head of one branch goes before (or with) that of another. If before, the other branch has lost it.
    fn order(&self, one: usize, other: usize, is_full: &impl Fn(usize) -> bool) -> Order {
        let (head, other_head) = (self.head(one), self.head(other));
        let ordered = |is_before| match is_before {
            true => Order::First,
            false => Order::Later,
        };
        if *head == Key::Own || head == other_head {
            return Order::First;
        }
        if *other_head == Key::Own {
            return Order::Later;
        }
        if let Some(is_before) = head.before_in_epoch(other_head) {
            return ordered(is_before);
        }
        let others: HashSet<&Key> = self.keys(other).collect();
        if others.contains(head) {
            return Order::Later; // what is before it there comes first
        }
        if let Some(common) = self.keys(one).skip(1).find(|key| others.contains(key)) {
            // The other branch would have had it by then. What it has before that may be the older of the same source,
            // which comes first though nothing else says so.
            let mut until_then = self.keys(other).take_while(|key| *key != common);
            return ordered(!until_then.any(|key| key.is_older_than(head)));
        }
        // Epochs follow each other, but for the last records of an older one. Those are close behind.
        match head.before_in_source(other_head) {
            Some(true) if is_full(one) => Order::First,
            Some(false) if is_full(other) => Order::Later,
            _ => Order::Open,
        }
    }

    fn head(&self, branch: usize) -> &Key {
        let (key, _) = &self.branches[branch].queue[0];
        key
    }

    fn keys(&self, branch: usize) -> impl Iterator<Item = &Key> {
        self.branches[branch].queue.iter().map(|(key, _)| key)
    }

    /// Takes the head of a branch, and the same of the others.
    fn take(&mut self, first: usize) -> Next<T> {
        let key = self.head(first).clone();
        let has_it = |(n, branch): (usize, &Branch<T>)| {
            let is_same = |(head, _): &(Key, T)| key != Key::Own && *head == key;
            n == first || branch.queue.front().is_some_and(is_same)
        };
        let with: Vec<bool> = self.branches.iter().enumerate().map(has_it).collect();
        let mut present = self.branches.iter().zip(&with).filter(|(_, has)| **has);
        let has_begun = with[0] || present.any(|(branch, _)| branch.is_aligned);
        let was_written =
            |(branch, has): (&Branch<T>, &bool)| *has && has_begun && branch.passed.has(&key);
        if let Some(branch) = self.branches.iter().zip(&with).position(was_written) {
            return Next::Crossed(key, branch);
        }
        let mut row = Vec::with_capacity(with.len());
        for (branch, has) in self.branches.iter_mut().zip(with) {
            let record = match has {
                true => branch.queue.pop_front().map(|(_, record)| record),
                false => None,
            };
            branch.is_aligned |= record.is_some() && has_begun;
            if has_begun {
                branch.passed.written(&key, has);
            }
            row.push(record);
        }
        match has_begun {
            true => Next::Row(row),
            false => Next::Skipped(row),
        }
    }

    fn indices(&self, which: impl Fn(usize, &Branch<T>) -> bool) -> Vec<usize> {
        let branches = self.branches.iter().enumerate();
        branches
            .filter(|(n, branch)| which(*n, branch))
            .map(|(n, _)| n)
            .collect()
    }
}

#[cfg(test)]
mod tests;
