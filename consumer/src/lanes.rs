//! Which records of each partition were taken, which are with the sinks, and where a restart has to begin. Pure.

use crate::range::Until;
use pipeline::kafka::TopicPartition;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// How far one partition is done: every record below `next`, and those of `ahead`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneProgress {
    /// The first offset that is not done.
    pub next: i64,
    /// Done although a record before them is not (one that waits for its turn, see `--reorder`).
    pub ahead: BTreeSet<i64>,
}

impl LaneProgress {
    /// True if the record needs not be taken again.
    pub fn is_done(&self, offset: i64) -> bool {
        offset < self.next || self.ahead.contains(&offset)
    }

    /// What is done according to this or the other.
    pub fn union(&self, other: &Self) -> Self {
        let next = self.next.max(other.next);
        let ahead = self.ahead.union(&other.ahead).copied();
        Self {
            next,
            ahead: ahead.filter(|&offset| offset >= next).collect(),
        }
    }

    /// What is done according to both.
    pub fn intersection(&self, other: &Self) -> Self {
        let next = self.next.min(other.next);
        // Above the lesser `next`, the one it belongs to has a record only by its own `ahead`.
        let candidates = self.ahead.union(&other.ahead).copied();
        let ahead = candidates
            .filter(|&offset| offset >= next && self.is_done(offset) && other.is_done(offset));
        Self {
            next,
            ahead: ahead.collect(),
        }
    }
}

/// The records of one partition between Kafka and the sinks.
#[derive(Debug)]
pub struct Lane {
    /// The partition.
    pub tp: TopicPartition,
    /// Taken and not yet with the sinks.
    held: BTreeSet<i64>,
    /// With the sinks, although a record before it is held.
    ahead: BTreeSet<i64>,
    /// The offset behind the newest record taken.
    taken_to: i64,
    is_at_end: bool,
    /// When everything had been taken last.
    caught_up: Option<Instant>,
    is_finished: bool,
}

impl Lane {
    /// Nothing was taken yet; the first record has this offset or a later one.
    pub fn new(tp: TopicPartition, start: i64) -> Self {
        Self {
            tp,
            held: BTreeSet::new(),
            ahead: BTreeSet::new(),
            taken_to: start,
            is_at_end: false,
            caught_up: None,
            is_finished: false,
        }
    }

    /// A record was taken.
    pub fn take(&mut self, offset: i64) {
        self.is_at_end = false;
        self.taken_to = offset + 1;
        self.held.insert(offset);
    }

    /// A record was handed to the sinks.
    pub fn hand_over(&mut self, offset: i64) {
        self.held.remove(&offset);
        self.ahead.insert(offset);
        let next = self.next();
        while self.ahead.first().is_some_and(|&first| first < next) {
            self.ahead.pop_first();
        }
    }

    /// Everything that is in the partition has been taken.
    pub fn reach_end(&mut self, now: Instant) {
        self.is_at_end = true;
        self.caught_up = Some(now);
    }

    /// Everything that was in the partition at this time has been taken; None: not yet.
    pub fn caught_up(&self, now: Instant) -> Option<Instant> {
        if self.is_at_end || self.is_finished {
            Some(now)
        } else {
            self.caught_up
        }
    }

    /// The sinks have been given everything that is in the partition.
    pub fn is_read(&self) -> bool {
        self.is_at_end && self.held.is_empty()
    }

    /// What the sinks have been given.
    pub fn progress(&self) -> LaneProgress {
        LaneProgress {
            next: self.next(),
            ahead: self.ahead.clone(),
        }
    }

    fn next(&self) -> i64 {
        self.held.first().copied().unwrap_or(self.taken_to)
    }
}

/// Decides when enough was read.
#[derive(Debug)]
pub struct Finish {
    until: Until,
    /// `Until::End`: the offset behind the newest record at the start.
    ends: HashMap<TopicPartition, i64>,
    handed_over: u64,
}

/// Records may still be on their way from capture to the topic when their time is over.
const TIME_GRACE_MS: i64 = 2_000;

impl Finish {
    /// `ends` is needed for [`Until::End`]; a partition that is not in it was empty.
    pub fn new(until: Until, ends: HashMap<TopicPartition, i64>) -> Self {
        Self {
            until,
            ends,
            handed_over: 0,
        }
    }

    /// True if the record is not to be shown; its lane is then finished.
    pub fn refuses(&self, lane: &mut Lane, offset: i64, timestamp_ms: i64) -> bool {
        let is_beyond = match self.until {
            Until::End => offset >= self.end_of(lane),
            Until::Offset(end) => offset >= end,
            Until::Time(end_ms) => timestamp_ms >= end_ms,
            Until::Count(_) | Until::EndOfStreams | Until::Stopped => false,
        };
        lane.is_finished |= is_beyond;
        lane.is_finished
    }

    /// Everything there was has been taken from a lane.
    pub fn reached_end(&self, lane: &mut Lane, now: Instant) {
        lane.reach_end(now);
        lane.is_finished |= self.until == Until::End;
    }

    /// A record was handed to the sinks.
    pub fn count(&mut self) {
        self.handed_over += 1;
    }

    /// True if no record may be handed over any more.
    pub fn is_count_reached(&self) -> bool {
        matches!(self.until, Until::Count(count) if self.handed_over >= count)
    }

    /// True if no more records need to be taken from any lane.
    pub fn is_reading_over<'a>(
        &self,
        lanes: impl Iterator<Item = &'a mut Lane>,
        now_unix_ms: i64,
        have_sources_ended: impl Fn() -> bool,
    ) -> bool {
        if self.is_count_reached() {
            return true;
        }
        let mut lanes = lanes.peekable();
        if lanes.peek().is_none() {
            return false; // nothing is assigned yet
        }
        let mut is_done = |lane: &mut Lane| {
            lane.is_finished |= match self.until {
                Until::End => lane.taken_to >= self.end_of(lane),
                Until::Offset(end) => lane.taken_to >= end,
                Until::Time(end_ms) => lane.is_at_end && now_unix_ms >= end_ms + TIME_GRACE_MS,
                Until::Count(_) | Until::EndOfStreams | Until::Stopped => false,
            };
            match self.until {
                Until::EndOfStreams => lane.is_at_end,
                _ => lane.is_finished,
            }
        };
        let is_everything_read = lanes.all(&mut is_done);
        is_everything_read && (self.until != Until::EndOfStreams || have_sources_ended())
    }

    fn end_of(&self, lane: &Lane) -> i64 {
        self.ends.get(&lane.tp).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane() -> Lane {
        Lane::new(TopicPartition::new("t", 0), 3)
    }

    fn is_over(finish: &Finish, lane: &mut Lane) -> bool {
        finish.is_reading_over(std::iter::once(lane), 0, || true)
    }

    #[test]
    fn progress_stops_at_the_oldest_record_that_is_held() {
        let mut lane = lane();
        for offset in [3, 5, 6, 9] {
            lane.take(offset);
        }
        lane.hand_over(3);
        assert_eq!(lane.progress().next, 5);
        lane.hand_over(6);
        assert_eq!(lane.progress().next, 5);
        assert_eq!(lane.progress().ahead, BTreeSet::from([6]));
        lane.hand_over(5);
        assert_eq!(lane.progress().next, 9);
        lane.hand_over(9);
        assert_eq!(
            lane.progress(),
            LaneProgress {
                next: 10,
                ahead: BTreeSet::new()
            }
        );
    }

    #[test]
    fn progress_of_two_sinks_is_combined_record_by_record() {
        let a = LaneProgress {
            next: 5,
            ahead: BTreeSet::from([7, 9]),
        };
        let b = LaneProgress {
            next: 8,
            ahead: BTreeSet::from([9, 11]),
        };
        let both = a.intersection(&b);
        assert_eq!(both, b.intersection(&a));
        let either = a.union(&b);
        for offset in 0..20 {
            assert_eq!(
                both.is_done(offset),
                a.is_done(offset) && b.is_done(offset),
                "{offset}"
            );
            assert_eq!(
                either.is_done(offset),
                a.is_done(offset) || b.is_done(offset),
                "{offset}"
            );
        }
    }

    #[test]
    fn until_end_is_over_at_the_end_of_the_start_also_behind_markers() {
        let tp = TopicPartition::new("t", 0);
        let finish = Finish::new(Until::End, HashMap::from([(tp, 6)]));
        let mut first = lane();
        first.take(3);
        assert!(!is_over(&finish, &mut first));
        finish.reached_end(&mut first, Instant::now()); // 4 and 5 are transaction markers
        assert!(is_over(&finish, &mut first));
        let mut second = lane();
        second.take(5);
        assert!(is_over(&finish, &mut second));
        assert!(
            finish.refuses(&mut second, 6, 0),
            "a record that came later"
        );
    }

    #[test]
    fn until_time_waits_for_that_time_where_nothing_more_is_there() {
        let finish = Finish::new(Until::Time(10_000), HashMap::new());
        let mut lane = lane();
        assert!(!finish.refuses(&mut lane, 3, 9_999));
        finish.reached_end(&mut lane, Instant::now());
        let mut over_at = |ms| finish.is_reading_over(std::iter::once(&mut lane), ms, || true);
        assert!(!over_at(10_000));
        assert!(over_at(12_000));
    }

    #[test]
    fn until_eos_needs_every_source_ended_and_every_lane_read() {
        let finish = Finish::new(Until::EndOfStreams, HashMap::new());
        let mut lane = lane();
        assert!(!is_over(&finish, &mut lane));
        finish.reached_end(&mut lane, Instant::now());
        assert!(is_over(&finish, &mut lane));
        assert!(!finish.is_reading_over(std::iter::once(&mut lane), 0, || false));
        lane.take(3);
        assert!(!is_over(&finish, &mut lane));
    }
}
