//! One stream to any number of viewers: the newest few items are shared, each viewer has a place of its own in them.
//!
//! ```text
//! push ─▶ [n-3 n-2 n-1 n]      a viewer takes what comes next;
//!            ▲       ▲         one whose next item is gone goes on with the newest and is told how many it missed
//!            a       b
//! ```
//! Nothing waits for a viewer, and a viewer costs one number. [`Ring`] is pure; [`Fan`] adds the waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The newest items, numbered from 0. Numbers are left out for what never became an item.
#[derive(Debug)]
pub struct Ring<T> {
    items: VecDeque<(u64, T)>,
    capacity: usize,
    /// The number that the next item gets.
    next: u64,
    /// Behind the newest of the items that had to go.
    gone: u64,
}

/// A viewer's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The number of the item to be taken next.
    next: u64,
}

/// An item, and how many were left out before it since the last one taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken<T> {
    pub item: T,
    pub left_out: u64,
}

impl<T: Clone> Ring<T> {
    /// Keeps this many items, at least 1.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            items: VecDeque::with_capacity(capacity),
            capacity,
            next: 0,
            gone: 0,
        }
    }

    /// Adds an item, before which so many were left out; the oldest goes if there is no room.
    pub fn push(&mut self, item: T, left_out: u64) {
        if self.items.len() == self.capacity
            && let Some((number, _)) = self.items.pop_front()
        {
            self.gone = number + 1;
        }
        let number = self.next + left_out;
        self.items.push_back((number, item));
        self.next = number + 1;
    }

    pub fn newest(&self) -> Option<&T> {
        self.items.back().map(|(_, item)| item)
    }

    /// The place of a new viewer: it is given the newest item first, if there is one.
    pub fn join(&self) -> Cursor {
        let next = self.next - u64::from(!self.items.is_empty());
        Cursor { next }
    }

    /// The next item; the newest if that one is gone. None if the viewer has had everything.
    pub fn take(&self, cursor: &mut Cursor) -> Option<Taken<T>> {
        if cursor.next < self.gone {
            return self.take_newest(cursor);
        }
        let is_new = |(number, _): &&(u64, T)| *number >= cursor.next;
        let next = self.items.iter().find(is_new)?;
        Some(Self::given(next, cursor))
    }

    /// The newest item, whatever lies between. None if the viewer has had it.
    pub fn take_newest(&self, cursor: &mut Cursor) -> Option<Taken<T>> {
        let newest = self.items.back();
        let newest = newest.filter(|(number, _)| *number >= cursor.next)?;
        Some(Self::given(newest, cursor))
    }

    fn given((number, item): &(u64, T), cursor: &mut Cursor) -> Taken<T> {
        let left_out = number - cursor.next;
        cursor.next = number + 1;
        Taken {
            item: item.clone(),
            left_out,
        }
    }
}

/// A [`Ring`] that viewers can wait at.
#[derive(Debug)]
pub struct Fan<T> {
    ring: Mutex<Ring<T>>,
    pushed: watch::Sender<()>,
}

/// A viewer of a [`Fan`].
#[derive(Debug)]
pub struct View<T> {
    fan: Arc<Fan<T>>,
    cursor: Cursor,
    pushed: watch::Receiver<()>,
}

impl<T: Clone> Fan<T> {
    pub fn new(capacity: usize) -> Self {
        Self {
            ring: Mutex::new(Ring::new(capacity)),
            pushed: watch::Sender::new(()),
        }
    }

    pub fn push(&self, item: T) {
        self.push_behind(item, 0);
    }

    /// An item before which so many were left out that every viewer would have been given.
    pub fn push_behind(&self, item: T, left_out: u64) {
        self.ring().push(item, left_out);
        self.pushed.send_replace(());
    }

    pub fn newest(&self) -> Option<T> {
        self.ring().newest().cloned()
    }

    pub fn view(self: &Arc<Self>) -> View<T> {
        View {
            cursor: self.ring().join(),
            pushed: self.pushed.subscribe(),
            fan: Arc::clone(self),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring<T>> {
        // A push is complete before the lock is released, so a panic elsewhere leaves it consistent.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> View<T> {
    /// As [`Ring::take`]; waits for an item. Cancelled, it has taken nothing.
    pub async fn next(&mut self) -> Taken<T> {
        self.wait_for(Ring::take).await
    }

    /// As [`Ring::take_newest`]; waits for an item. Cancelled, it has taken nothing.
    pub async fn newest(&mut self) -> Taken<T> {
        self.wait_for(Ring::take_newest).await
    }

    async fn wait_for(
        &mut self,
        take: impl Fn(&Ring<T>, &mut Cursor) -> Option<Taken<T>>,
    ) -> Taken<T> {
        loop {
            self.pushed.borrow_and_update(); // before the look: what is pushed after it ends the waiting
            if let Some(taken) = take(&self.fan.ring(), &mut self.cursor) {
                return taken;
            }
            if self.pushed.changed().await.is_err() {
                std::future::pending::<()>().await; // not reached: we hold the sender
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What happens, in any order.
    #[derive(Debug, Clone)]
    enum Step {
        Push(u64),
        Join,
        Take(usize),
        TakeNewest(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop_oneof![2 => Just(0), 1 => 0..4_u64].prop_map(Step::Push),
            1 => Just(Step::Join),
            4 => any::<usize>().prop_map(Step::Take),
            1 => any::<usize>().prop_map(Step::TakeNewest),
        ]
    }

    /// A viewer that keeps accounts.
    struct Viewer {
        cursor: Cursor,
        first: u64,
        taken: u64,
        left_out: u64,
        last: Option<u64>,
    }

    proptest! {
        #[test]
        fn every_item_is_given_or_counted_and_none_twice(
            capacity in 1..6_usize,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut ring = Ring::new(capacity);
            let mut viewers: Vec<Viewer> = Vec::new();
            let mut pushed = 0_u64;
            let mut items: Vec<u64> = Vec::new();
            for step in steps {
                let (at, newest_only) = match step {
                    Step::Push(left_out) => {
                        pushed += left_out;
                        ring.push(pushed, left_out);
                        items.push(pushed);
                        pushed += 1;
                        prop_assert!(ring.items.len() <= capacity, "memory is bounded");
                        continue;
                    }
                    Step::Join => {
                        let cursor = ring.join();
                        viewers.push(Viewer { cursor, first: cursor.next, taken: 0, left_out: 0, last: None });
                        continue;
                    }
                    Step::Take(at) => (at, false),
                    Step::TakeNewest(at) => (at, true),
                };
                if viewers.is_empty() {
                    continue;
                }
                let count = viewers.len();
                let others: Vec<_> = viewers.iter().map(|viewer| viewer.cursor).collect();
                let viewer = &mut viewers[at % count];
                let has_all = viewer.first + viewer.taken + viewer.left_out == pushed;
                let taken = match newest_only {
                    true => ring.take_newest(&mut viewer.cursor),
                    false => ring.take(&mut viewer.cursor),
                };
                prop_assert_eq!(taken.is_none(), has_all, "something is given if and only if there is something new");
                if let Some(Taken { item, left_out }) = taken {
                    prop_assert!(viewer.last.is_none_or(|last| item > last), "order");
                    let had = viewer.first + viewer.taken + viewer.left_out;
                    let mut waiting = items.iter().filter(|item| **item >= had);
                    let next = waiting.next();
                    if !newest_only && waiting.count() < capacity {
                        prop_assert_eq!(Some(&item), next, "a viewer that keeps up misses no item");
                    } else {
                        prop_assert_eq!(item, pushed - 1, "one that does not goes on with the newest");
                    }
                    viewer.last = Some(item);
                    viewer.taken += 1;
                    viewer.left_out += left_out;
                    prop_assert_eq!(viewer.first + viewer.taken + viewer.left_out, item + 1, "accounts");
                }
                for (index, viewer) in viewers.iter().enumerate() {
                    prop_assert!(index == at % count || viewer.cursor == others[index], "nobody else is moved");
                }
            }
        }
    }

    #[test]
    fn a_new_viewer_begins_with_the_newest() {
        let mut ring = Ring::new(3);
        assert_eq!(ring.take(&mut ring.join()), None);
        (0..5).for_each(|item| ring.push(item, 0));
        let taken = ring.take(&mut ring.join());
        assert_eq!(
            taken.map(|taken| (taken.item, taken.left_out)),
            Some((4, 0))
        );
    }

    #[tokio::test]
    async fn waiting_viewers_are_woken_by_a_push() {
        let fan = Arc::new(Fan::new(2));
        let mut views = [fan.view(), fan.view()];
        let waiting = tokio::spawn(async move {
            let [first, second] = &mut views;
            (first.next().await.item, second.newest().await.item)
        });
        tokio::task::yield_now().await;
        fan.push(7);
        assert_eq!(waiting.await.unwrap(), (7, 7));
    }
}
