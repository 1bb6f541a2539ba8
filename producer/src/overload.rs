//! The queue between a source and its encoders, and what it does when it is full. Pure: no clock, no threads.
//!
//! Frames have their ids before they come here. What a policy drops becomes a [`Run`] in its place, so that the
//! sequence of what comes out has no silent hole.

use crate::options::Overload;
use std::collections::VecDeque;

/// A frame that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting<T> {
    /// Its number in the epoch.
    pub sequence: u64,
    /// Nanoseconds since the Unix epoch.
    pub captured_unix_ns: i64,
    /// What it costs to keep it in memory.
    pub bytes: usize,
    /// The frame.
    pub frame: T,
}

/// Frames in a row that were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first one's number.
    pub first: u64,
    /// How many, at least 1.
    pub count: u64,
    /// When the first one was captured, nanoseconds since the Unix epoch.
    pub captured_unix_ns: i64,
}

/// What comes out, in the order of the sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<T> {
    /// A frame.
    Frame(Waiting<T>),
    /// Frames that are missing on purpose.
    Gap(Run),
}

/// What became of a frame that was offered.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer<T> {
    /// It waits; this many frames were dropped because of it, itself perhaps among them.
    Settled { dropped: u64 },
    /// There is no room: offer it again after a [`OverloadQueue::take`].
    Full(Waiting<T>),
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// At least 1.
    pub frames: usize,
    /// A single frame may be larger.
    pub bytes: usize,
}

/// Waiting frames, bounded by count and bytes.
#[derive(Debug)]
pub struct OverloadQueue<T> {
    policy: Overload,
    bounds: Bounds,
    entries: VecDeque<Entry<T>>,
    frames: usize,
    bytes: usize,
    /// `every-nth`: frames seen since thinning began; None while there is no need.
    thinning: Option<u64>,
}

impl<T> OverloadQueue<T> {
    /// An empty queue.
    pub fn new(policy: Overload, bounds: Bounds) -> Self {
        Self {
            policy,
            bounds,
            entries: VecDeque::new(),
            frames: 0,
            bytes: 0,
            thinning: None,
        }
    }

    /// Takes the frame in, drops it or others, or gives it back, as the policy says.
    pub fn offer(&mut self, frame: Waiting<T>) -> Offer<T> {
        let dropped = match self.policy {
            Overload::Wait if self.has_room_for(frame.bytes) => self.push(frame),
            Overload::Wait => return Offer::Full(frame),
            Overload::DropOldest => {
                let dropped = self.drop_oldest_until_room_for(frame.bytes);
                self.push(frame) + dropped
            }
            Overload::Latest => {
                let dropped = self.drop_all();
                self.push(frame) + dropped
            }
            Overload::EveryNth(n) => self.thin_out(frame, n.get()),
        };
        Offer::Settled { dropped }
    }

    /// The next entry, in the order of the sequence.
    pub fn take(&mut self) -> Option<Entry<T>> {
        let entry = self.entries.pop_front()?;
        if let Entry::Frame(frame) = &entry {
            self.frames -= 1;
            self.bytes -= frame.bytes;
        }
        if self.entries.is_empty() {
            self.thinning = None;
        }
        Some(entry)
    }

    fn has_room_for(&self, bytes: usize) -> bool {
        self.frames == 0
            || (self.frames < self.bounds.frames && self.bytes + bytes <= self.bounds.bytes)
    }

    fn push(&mut self, frame: Waiting<T>) -> u64 {
        self.frames += 1;
        self.bytes += frame.bytes;
        self.entries.push_back(Entry::Frame(frame));
        0
    }

    /// Gaps only ever form in front here: at most one, before the frames.
    fn drop_oldest_until_room_for(&mut self, bytes: usize) -> u64 {
        let mut run: Option<Run> = None;
        let mut dropped = 0;
        while !self.has_room_for(bytes) {
            match self.take() {
                Some(Entry::Frame(frame)) => {
                    dropped += 1;
                    extend(&mut run, one(&frame));
                }
                Some(Entry::Gap(gap)) => extend(&mut run, gap),
                None => break,
            }
        }
        if let Some(run) = run {
            self.entries.push_front(Entry::Gap(run));
        }
        dropped
    }

    fn drop_all(&mut self) -> u64 {
        let mut run: Option<Run> = None;
        let dropped = self.frames as u64;
        while let Some(entry) = self.take() {
            match entry {
                Entry::Frame(frame) => extend(&mut run, one(&frame)),
                Entry::Gap(gap) => extend(&mut run, gap),
            }
        }
        self.entries.extend(run.map(Entry::Gap));
        dropped
    }

    fn thin_out(&mut self, frame: Waiting<T>, n: u64) -> u64 {
        let room = self.has_room_for(frame.bytes);
        if self.thinning.is_none() && !room {
            self.thinning = Some(0);
        }
        let wanted = match &mut self.thinning {
            None => true,
            Some(seen) => {
                *seen += 1;
                seen.is_multiple_of(n)
            }
        };
        if wanted && room {
            return self.push(frame);
        }
        match self.entries.back_mut() {
            Some(Entry::Gap(run)) => run.count += 1,
            _ => self.entries.push_back(Entry::Gap(one(&frame))),
        }
        1
    }
}

fn one<T>(frame: &Waiting<T>) -> Run {
    Run {
        first: frame.sequence,
        count: 1,
        captured_unix_ns: frame.captured_unix_ns,
    }
}

/// Entries follow each other without holes, so neighbouring runs are one.
fn extend(run: &mut Option<Run>, by: Run) {
    match run {
        Some(run) => run.count += by.count,
        None => *run = Some(by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(sequence: u64) -> Waiting<()> {
        Waiting {
            sequence,
            captured_unix_ns: sequence as i64,
            bytes: 10,
            frame: (),
        }
    }

    fn queue(policy: &str) -> OverloadQueue<()> {
        let bounds = Bounds {
            frames: 3,
            bytes: 1000,
        };
        OverloadQueue::new(policy.parse().unwrap(), bounds)
    }

    /// Offers frames `0..n`; answers how many were dropped.
    fn fill(queue: &mut OverloadQueue<()>, n: u64) -> u64 {
        (0..n)
            .map(|sequence| match queue.offer(frame(sequence)) {
                Offer::Settled { dropped } => dropped,
                Offer::Full(_) => panic!("frame {sequence} was given back"),
            })
            .sum()
    }

    /// What comes out: `5` for a frame, `2+3` for three dropped ones from 2 on.
    fn drain(queue: &mut OverloadQueue<()>) -> Vec<String> {
        std::iter::from_fn(|| queue.take())
            .map(|entry| match entry {
                Entry::Frame(frame) => frame.sequence.to_string(),
                Entry::Gap(run) => format!("{}+{}", run.first, run.count),
            })
            .collect()
    }

    #[test]
    fn waiting_gives_the_frame_back_and_loses_nothing() {
        let mut queue = queue("wait");
        fill(&mut queue, 3);
        assert_eq!(queue.offer(frame(3)), Offer::Full(frame(3)));
        queue.take();
        assert_eq!(queue.offer(frame(3)), Offer::Settled { dropped: 0 });
        assert_eq!(drain(&mut queue), ["1", "2", "3"]);
    }

    #[test]
    fn drop_oldest_keeps_the_newest_behind_one_gap() {
        let mut queue = queue("drop-oldest");
        assert_eq!(fill(&mut queue, 8), 5);
        assert_eq!(drain(&mut queue), ["0+5", "5", "6", "7"]);
    }

    #[test]
    fn latest_keeps_only_the_newest() {
        let mut queue = queue("latest");
        assert_eq!(fill(&mut queue, 8), 7);
        assert_eq!(drain(&mut queue), ["0+7", "7"]);
    }

    #[test]
    fn every_nth_thins_out_from_full_to_empty() {
        let mut queue = queue("every-nth=2");
        assert_eq!(fill(&mut queue, 5), 2); // 3 and 4 find it full
        queue.take();
        assert_eq!(queue.offer(frame(5)), Offer::Settled { dropped: 1 }); // there is room, but not for each
        assert_eq!(queue.offer(frame(6)), Offer::Settled { dropped: 0 });
        assert_eq!(drain(&mut queue), ["1", "2", "3+3", "6"]);
        assert_eq!(queue.offer(frame(7)), Offer::Settled { dropped: 0 });
        assert_eq!(queue.offer(frame(8)), Offer::Settled { dropped: 0 });
    }

    #[test]
    fn bytes_bound_it_too_but_one_frame_always_fits() {
        let bounds = Bounds {
            frames: 100,
            bytes: 25,
        };
        let mut queue = OverloadQueue::new(Overload::Wait, bounds);
        let huge = Waiting {
            bytes: 1000,
            ..frame(0)
        };
        assert_eq!(queue.offer(huge), Offer::Settled { dropped: 0 });
        assert_eq!(queue.offer(frame(1)), Offer::Full(frame(1)));
        queue.take();
        fill(&mut queue, 2);
        assert_eq!(queue.offer(frame(2)), Offer::Full(frame(2)));
    }

    #[test]
    fn every_number_comes_out_exactly_once_under_every_policy() {
        for policy in ["drop-oldest", "latest", "every-nth=3"] {
            let mut queue = queue(policy);
            let mut next = 0;
            for sequence in 0..200 {
                queue.offer(frame(sequence));
                // A reader that is slow in the first half and fast in the second.
                let takes = if sequence < 100 {
                    usize::from(sequence % 7 == 0)
                } else {
                    2
                };
                for entry in (0..takes).filter_map(|_| queue.take()).collect::<Vec<_>>() {
                    next = follow(next, &entry);
                }
            }
            while let Some(entry) = queue.take() {
                next = follow(next, &entry);
            }
            assert_eq!(next, 200, "{policy}");
        }
    }

    fn follow(expected: u64, entry: &Entry<()>) -> u64 {
        let (first, count) = match entry {
            Entry::Frame(frame) => (frame.sequence, 1),
            Entry::Gap(run) => (run.first, run.count),
        };
        assert_eq!(first, expected);
        first + count
    }
}
