//! One lane's ordered window: slots in the order of their offsets, filled in any order, left from the front only.

use std::collections::VecDeque;

/// The frames of one lane that have arrived and are not yet committed.
#[derive(Debug)]
pub struct Window<O> {
    slots: VecDeque<Slot<O>>,
    /// Slots at the front whose outputs are in a batch that is being written.
    emitted: usize,
    /// Slots at the front whose work is done. Nothing can take it back, so they count no more: new work need not wait
    /// for a commit. Only their bytes stay until then.
    done: usize,
    /// No offset below this one may arrive any more.
    next_arrival: i64,
}

#[derive(Debug)]
struct Slot<O> {
    offset: i64,
    bytes: usize,
    /// None until the slot's work is done.
    output: Option<O>,
}

/// What became of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The slot is filled.
    Accepted {
        /// It takes so many bytes more than on arrival.
        more: usize,
        /// So many slots are free now: the done prefix has become longer.
        free: usize,
    },
    /// There is no such slot, or it is filled already: the completion changes nothing.
    Stale,
}

impl<O> Window<O> {
    /// An empty window; `start` is the first offset that may arrive.
    pub fn new(start: i64) -> Self {
        Self {
            slots: VecDeque::new(),
            emitted: 0,
            done: 0,
            next_arrival: start,
        }
    }

    /// Takes a slot at the end. Returns false (and changes nothing) if the offset has been seen already.
    pub fn arrive(&mut self, offset: i64, bytes: usize) -> bool {
        if offset < self.next_arrival {
            return false;
        }
        self.next_arrival = offset + 1;
        self.slots.push_back(Slot {
            offset,
            bytes,
            output: None,
        });
        true
    }

    /// Fills the slot of this offset. From now on it takes the bytes of its output, if those are more.
    pub fn complete(&mut self, offset: i64, output: O, bytes: usize) -> Completion {
        // Slots are sorted by offset, but offsets have holes (transaction markers, compaction).
        match self.slots.binary_search_by_key(&offset, |slot| slot.offset) {
            Ok(at) if self.slots[at].output.is_none() => {
                let slot = &mut self.slots[at];
                let more = bytes.saturating_sub(slot.bytes);
                slot.output = Some(output);
                slot.bytes += more;
                let behind = self.slots.range(self.done..);
                let free = behind.take_while(|slot| slot.output.is_some()).count();
                self.done += free;
                Completion::Accepted { more, free }
            }
            _ => Completion::Stale,
        }
    }

    /// The outputs that may leave now, oldest first: the done prefix behind what is being written.
    pub fn ready(&self) -> impl Iterator<Item = (i64, &O)> {
        let ready = self.slots.range(self.emitted..self.done);
        ready.filter_map(|slot| slot.output.as_ref().map(|output| (slot.offset, output)))
    }

    /// Marks the next `count` outputs of [`Window::ready`] as being written.
    pub fn emit(&mut self, count: usize) {
        debug_assert!(self.emitted + count <= self.done);
        self.emitted += count;
    }

    /// What is being written is committed. Returns its records and bytes.
    pub fn commit(&mut self) -> (usize, usize) {
        let committed = std::mem::take(&mut self.emitted);
        self.done -= committed;
        let bytes = self.slots.drain(..committed).map(|slot| slot.bytes).sum();
        (committed, bytes)
    }

    /// What is being written was not committed: it is ready again, its outputs as they were.
    pub fn rewind(&mut self) {
        self.emitted = 0;
    }

    /// Gives up all slots behind the done prefix. They belong to the lane's next owner.
    pub fn truncate(&mut self) {
        self.slots.truncate(self.done);
        self.next_arrival = i64::MAX;
    }

    /// The oldest slot, which everything behind it waits for, and whether its work is done (then it waits for Kafka).
    pub fn front(&self) -> Option<(i64, bool)> {
        self.slots
            .front()
            .map(|slot| (slot.offset, slot.output.is_some()))
    }

    /// Slots taken: records whose work, or that of one before them, is not done.
    pub fn len(&self) -> usize {
        self.slots.len() - self.done
    }

    /// True if nothing has to be done or written any more.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(window: &Window<char>) -> String {
        window.ready().map(|(_, output)| *output).collect()
    }

    #[test]
    fn only_the_done_prefix_is_ready_whatever_the_order_of_completion() {
        let mut window = Window::new(10);
        for offset in [10, 11, 15] {
            assert!(window.arrive(offset, 1));
        }
        let free = |completion| match completion {
            Completion::Accepted { free, .. } => free,
            Completion::Stale => unreachable!("each offset is completed once"),
        };
        assert_eq!(free(window.complete(15, 'c', 1)), 0);
        assert_eq!(free(window.complete(11, 'b', 1)), 0);
        assert_eq!((ready(&window).as_str(), window.len()), ("", 3));
        assert_eq!(free(window.complete(10, 'a', 1)), 3);
        assert_eq!((ready(&window).as_str(), window.len()), ("abc", 0));
    }

    #[test]
    fn an_aborted_write_is_ready_again_with_the_same_outputs() {
        let mut window = Window::new(0);
        for offset in 0..3 {
            window.arrive(offset, 100);
            window.complete(offset, char::from(b'a' + offset as u8), 70);
        }
        window.emit(2);
        assert_eq!(ready(&window), "c");
        window.rewind();
        assert_eq!(ready(&window), "abc");
        window.emit(3);
        assert_eq!(window.commit(), (3, 300));
        assert!(window.is_empty());
    }

    #[test]
    fn repeated_offsets_and_completions_change_nothing() {
        let mut window = Window::new(5);
        assert!(!window.arrive(4, 1));
        assert!(window.arrive(5, 1));
        assert!(!window.arrive(5, 1));
        assert_eq!(window.complete(6, 'x', 1), Completion::Stale);
        assert_eq!(
            window.complete(5, 'a', 10),
            Completion::Accepted { more: 9, free: 1 }
        );
        assert_eq!(window.complete(5, 'b', 1), Completion::Stale);
        assert_eq!(ready(&window), "a");
    }

    #[test]
    fn a_truncated_window_keeps_what_is_done_and_takes_no_more() {
        let mut window = Window::new(0);
        for offset in 0..3 {
            window.arrive(offset, 1);
        }
        window.complete(0, 'a', 1);
        window.complete(2, 'c', 1);
        window.truncate();
        assert_eq!((window.len(), window.front()), (0, Some((0, true))));
        assert!(!window.arrive(3, 1));
        assert_eq!(window.complete(1, 'b', 1), Completion::Stale);
    }
}
