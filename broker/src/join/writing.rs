//! What the delivery protocol tells a join to do: write rows, find out what became of them, give records back.

use super::engine::JoinEngine;
use super::lane::Freed;
use crate::output::Output;
use crate::writer::Command;
use pipeline::ordering::{Action, Batch, Event, LaneId};
use std::time::Instant;

impl JoinEngine {
    pub(super) fn handle(&mut self, event: Event<Output>) {
        for action in self.delivery.handle(event, self.now()) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action<Output>) {
        match action {
            Action::Write(batch) => self.write(batch),
            Action::Recover { lanes } => self.recover(&lanes),
            Action::Hold { lane, bytes } => {
                if let Some((join, _)) = self.joins.get_mut(&lane) {
                    join.hold(bytes);
                    self.feed.hold(lane, bytes);
                }
                if let Some(ours) = self.lanes.get_mut(lane) {
                    ours.bytes += bytes;
                }
            }
            // A row is done when it is there: its records are freed when it is committed.
            Action::Release { .. } => {}
            Action::Done { lane, records, .. } => self.done(lane, records),
            Action::Gone { lane } => {
                self.joins.remove(&lane);
                self.lanes.gone(lane); // ends the reading of its branches too
            }
            Action::Conflict { lane, .. } => {
                let lane = self.lanes.get(lane).map(|ours| ours.tp.to_string());
                self.feed.doubt(format!(
                    "{}: the group is not where this broker left it: another member works on this partition. If this \
                     repeats, another broker runs under the same --group and --instance: give each its own name",
                    lane.unwrap_or_default()
                ));
            }
        }
    }

    fn done(&mut self, lane: LaneId, rows: usize) {
        self.status.commit(rows);
        if let Some(ours) = self.lanes.get_mut(lane) {
            ours.rates.committed(rows, Instant::now());
        }
        if let Some((join, _)) = self.joins.get_mut(&lane) {
            let freed = join.done(rows);
            self.free(lane, &freed);
        }
    }

    /// Gives records back to the branches' feeds.
    pub(super) fn free(&mut self, lane: LaneId, freed: &[Freed]) {
        let Some((join, others)) = self.joins.get(&lane) else {
            return;
        };
        for (branch, freed) in freed.iter().enumerate() {
            let feed = if branch == 0 { &self.feed } else { others };
            if let Some(of) = join.lane_of(branch) {
                feed.release(of, freed.records, freed.bytes);
            }
            if let Some(ours) = self.lanes.get_mut(lane) {
                ours.bytes -= freed.bytes;
            }
        }
    }

    fn write(&mut self, batch: Batch<Output>) {
        let parts = batch.lanes.iter();
        self.writing = parts
            .clone()
            .map(|part| (part.lane, part.next_offset))
            .collect();
        let revision = self.fence.revision();
        let bookmarks = parts.filter_map(|part| {
            let (join, _) = self.joins.get(&part.lane)?;
            Some(join.bookmarks(part.next_offset, revision))
        });
        let bookmarks = bookmarks.flatten().collect();
        // The stamp is of now, when these lanes are ours: if they are lost before the commit, Kafka refuses it.
        self.command(Command::Write {
            outputs: batch.outputs,
            bookmarks,
            stamp: self.feed.group_stamp(),
        });
    }

    fn recover(&mut self, lanes: &[LaneId]) {
        let partitions = lanes.iter().flat_map(|lane| {
            let join = self.joins.get(lane);
            let partitions = join.map_or_else(Vec::new, |(join, _)| join.partitions());
            partitions.into_iter().map(|tp| (*lane, tp))
        });
        let lanes = partitions.collect();
        self.command(Command::Recover { lanes });
    }

    /// What the group has, in rows.
    pub(super) fn rows_of(
        &self,
        committed: &[(LaneId, Option<i64>)],
    ) -> Vec<(LaneId, Option<i64>)> {
        let rows = self.writing.iter().filter_map(|(lane, number)| {
            let (join, _) = self.joins.get(lane)?;
            let own = committed.iter().filter(|(of, _)| of == lane);
            let own: Vec<_> = own.map(|(_, offset)| *offset).collect();
            // Beyond all rows: whose they are is not known here.
            Some((*lane, join.row_of(*number, &own).unwrap_or(Some(i64::MAX))))
        });
        rows.collect()
    }

    fn command(&mut self, command: Command) {
        if let Some(commands) = &self.commands {
            // A writer that has ended shows as the end of its reports.
            let _ = commands.send(command);
        }
    }
}
