//! The broker's engine (`broker/src/engine.rs`): it takes in what happens and does what the real core says.

use crate::coverage::Event;
use crate::feed::{Feed, FeedEvent};
use crate::kafka::{Output, offset_of, position};
use crate::outside::Outside;
use crate::writer::{Command, Report};
use pipeline::ordering::{
    Action, Batch, CommitPolicy, Delivery, Event as CoreEvent, LaneId, Outcome,
};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug)]
pub struct Engine {
    pub delivery: Delivery<Output>,
    /// The partition of each lane of ours.
    pub lanes: BTreeMap<LaneId, usize>,
    /// Calls under way, also of lanes that are gone.
    pub calls: Vec<Output>,
    pub command: Option<Command>,
    /// The lanes that a revocation waits for.
    revoking: Vec<LaneId>,
    has_drained: bool,
    /// What was written first for each record.
    written: Vec<Output>,
    attempts: u8,
    is_writing: bool,
    is_recovering: bool,
}

impl Engine {
    pub fn new() -> Self {
        Self {
            delivery: Delivery::new(CommitPolicy {
                linger: Duration::from_millis(5),
                max_records: 3,
                max_bytes: 1000,
                max_lane_bytes: 25, // two and a half records of 10
            }),
            lanes: BTreeMap::new(),
            calls: Vec::new(),
            command: None,
            revoking: Vec::new(),
            has_drained: false,
            written: Vec::new(),
            attempts: 0,
            is_writing: false,
            is_recovering: false,
        }
    }

    /// Takes the next event of the feed.
    pub fn read(
        &mut self,
        feed: &mut Feed,
        now: Duration,
        out: &mut Outside,
    ) -> Result<(), String> {
        match feed.events.pop_front() {
            None => Ok(()),
            Some(FeedEvent::Assigned {
                lane,
                partition,
                start,
            }) => {
                self.lanes.insert(lane, partition);
                self.handle(CoreEvent::Assigned { lane, start }, feed, now, out)
            }
            Some(FeedEvent::Record { lane, offset }) => {
                let Some(partition) = self.lanes.get(&lane) else {
                    return Ok(());
                };
                self.attempts = self.attempts.wrapping_add(1);
                self.calls.push(Output {
                    partition: *partition,
                    offset,
                    lane,
                    attempt: self.attempts,
                });
                let bytes = 10;
                let arrived = CoreEvent::Arrived {
                    lane,
                    offset,
                    bytes,
                };
                self.handle(arrived, feed, now, out)
            }
            Some(FeedEvent::Revoked { lanes, lost }) => {
                self.note_revocation(lost, out);
                if lost {
                    let result = self.handle(CoreEvent::Lost { lanes }, feed, now, out);
                    feed.done = true;
                    return result;
                }
                let ours = |lane: &LaneId| self.lanes.contains_key(lane);
                self.revoking = lanes.iter().copied().filter(ours).collect();
                self.has_drained = false;
                feed.done = self.revoking.is_empty();
                self.handle(CoreEvent::Revoking { lanes }, feed, now, out)
            }
        }
    }

    fn note_revocation(&self, lost: bool, out: &mut Outside) {
        match (lost, self.is_writing, self.is_recovering) {
            (true, true, _) => out.count(Event::LostWhileCommitting),
            (true, _, true) => out.count(Event::LostWhileRecovering),
            (false, true, _) => out.count(Event::RevokedWhileCommitting),
            _ => {}
        }
    }

    /// The time for a revocation's work is over.
    pub fn end_drain(
        &mut self,
        feed: &mut Feed,
        now: Duration,
        out: &mut Outside,
    ) -> Result<(), String> {
        if self.revoking.is_empty() || self.has_drained {
            return Ok(());
        }
        self.has_drained = true;
        if self.is_writing {
            out.count(Event::DrainExpiredWhileCommitting);
        } else if self.is_recovering {
            out.count(Event::DrainExpiredWhileRecovering);
        }
        let lanes = self.revoking.clone();
        self.handle(CoreEvent::DrainExpired { lanes }, feed, now, out)
    }

    /// A call is answered; `again`: and will be answered once more.
    pub fn reply(
        &mut self,
        at: usize,
        again: bool,
        feed: &mut Feed,
        now: Duration,
        out: &mut Outside,
    ) -> Result<(), String> {
        if self.calls.is_empty() {
            return Ok(());
        }
        let at = at % self.calls.len();
        let output = self.calls[at];
        if again {
            out.count(Event::RepeatedReply);
            self.calls[at].attempt = self.calls[at].attempt.wrapping_add(100);
        } else {
            self.calls.remove(at);
        }
        if !self.lanes.contains_key(&output.lane) {
            out.count(Event::LateReply);
        }
        let completed = CoreEvent::Completed {
            lane: out.cheats_with_the_lane(output, &self.lanes),
            offset: output.offset,
            output,
        };
        self.handle(completed, feed, now, out)
    }

    pub fn take_in(
        &mut self,
        report: Report,
        feed: &mut Feed,
        now: Duration,
        out: &mut Outside,
    ) -> Result<(), String> {
        self.is_writing = false;
        self.is_recovering = false;
        let event = match report {
            Report::Outcome(Outcome::Committed) => CoreEvent::Committed,
            Report::Outcome(Outcome::Aborted) => CoreEvent::Aborted,
            Report::Outcome(Outcome::Unknown) => CoreEvent::Unknown,
            Report::Recovered(committed) => {
                self.note_recovery(&committed, out);
                CoreEvent::Recovered { committed }
            }
        };
        self.handle(event, feed, now, out)
    }

    fn note_recovery(&self, committed: &[(LaneId, Option<i64>)], out: &mut Outside) {
        for (lane, offset) in committed {
            let first = self.written.iter().rfind(|output| output.lane == *lane);
            match (self.lanes.get(lane), first) {
                (None, _) => out.count(Event::UnknownThenTheLaneWasGone),
                (Some(partition), Some(last)) => {
                    let is_behind =
                        position(*partition, *offset) > position(*partition, Some(last.offset));
                    out.count(match is_behind {
                        true => Event::UnknownThenCommitted,
                        false => Event::UnknownThenRewound,
                    });
                }
                _ => {}
            }
        }
    }

    pub fn tick(
        &mut self,
        feed: &mut Feed,
        now: Duration,
        out: &mut Outside,
    ) -> Result<(), String> {
        self.handle(CoreEvent::Tick, feed, now, out)
    }

    fn handle(
        &mut self,
        event: CoreEvent<Output>,
        feed: &mut Feed,
        now: Duration,
        out: &mut Outside,
    ) -> Result<(), String> {
        for action in self.delivery.handle(event, now) {
            match action {
                Action::Write(batch) => self.write(batch, feed, out)?,
                Action::Recover { lanes } => {
                    self.is_recovering = true;
                    let lanes = lanes
                        .into_iter()
                        .filter_map(|lane| Some((lane, *self.lanes.get(&lane)?)))
                        .collect();
                    self.command = Some(Command::Recover { lanes });
                }
                Action::Hold { .. } => return Err("outputs are as large as inputs here".to_owned()),
                Action::Release { lane, slots, .. } => feed.release(lane, slots),
                Action::Done { .. } => {} // bytes are not bounded here
                Action::Gone { lane } => {
                    self.lanes.remove(&lane);
                    let waited = !self.revoking.is_empty();
                    self.revoking.retain(|other| *other != lane);
                    feed.done |= waited && self.revoking.is_empty();
                }
                Action::Conflict { lane, .. } => {
                    out.count(Event::ConflictBeforeAnybodyTold);
                    out.say(|| format!("lane {lane} is another's by now"));
                    feed.doubts = true;
                }
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        batch: Batch<Output>,
        feed: &mut Feed,
        out: &mut Outside,
    ) -> Result<(), String> {
        if self.is_writing || self.is_recovering {
            return Err("two batches at once".to_owned());
        }
        self.is_writing = true;
        for output in &batch.outputs {
            if !batch.lanes.iter().any(|part| part.lane == output.lane) {
                return Err(format!(
                    "{output:?} is the reply to a call of a lane that is gone"
                ));
            }
            let same = |other: &&Output| other.lane == output.lane && other.offset == output.offset;
            match self.written.iter().find(same) {
                Some(before) if before != output => {
                    return Err(format!("{before:?} is written again as {output:?}"));
                }
                Some(_) => {}
                None => self.written.push(*output),
            }
        }
        let offsets: Vec<_> = batch
            .lanes
            .iter()
            .filter_map(|part| Some((*self.lanes.get(&part.lane)?, part.next_offset)))
            .collect();
        out.say(|| {
            let outputs: Vec<_> = batch
                .outputs
                .iter()
                .map(|output| (output.partition, output.offset))
                .collect();
            format!("a batch of (partition, offset) {outputs:?} with offsets {offsets:?}")
        });
        self.command = Some(Command::Write {
            outputs: batch.outputs,
            offsets,
            // As the broker does it: the stamp is of now, when these lanes are ours.
            stamp: feed.group_stamp(out),
        });
        Ok(())
    }
}

/// Offsets in the order of reading.
pub fn next_offset(partition: usize, at: usize) -> Option<i64> {
    (at < crate::kafka::RECORDS).then(|| offset_of(partition, at))
}
