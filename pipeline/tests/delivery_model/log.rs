//! Partition logs: who writes to them, how transactions end in them, and what readers of committed records see. Rules as in
//! Apache Kafka 4, `ProducerAppendInfo.java`: `checkProducerEpoch`, `checkSequence`, `appendEndTxnMarker`.

use crate::coverage::{Coverage, Event};
use crate::kafka::{Ending, Epoch, NAMES, Output, RECORDS, Response, offset_of};

/// What one log knows about the producers that write to it.
#[derive(Debug, Clone)]
pub struct Producers {
    pub epoch: [Epoch; NAMES],
    sequence: [i32; NAMES],
    pub is_open: [bool; NAMES],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug, Clone)]
pub struct Log {
    pub producers: Producers,
    pub entries: Vec<(usize, Output, Fate)>,
    /// Entries before this one have been seen by a reader of committed records.
    read: usize,
    /// Records that it has seen.
    pub seen: usize,
}

/// The end of a transaction, to be written into one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    pub name: usize,
    pub epoch: Epoch,
    pub ending: Ending,
    pub log: usize,
}

impl Producers {
    pub fn new() -> Self {
        Self {
            epoch: [-1; NAMES],
            sequence: [-1; NAMES],
            is_open: [false; NAMES],
        }
    }

    /// `checkProducerEpoch`, `checkSequence`. Done: append it.
    pub fn check(&self, name: usize, epoch: Epoch, first: i32, count: i32) -> Result<(), Response> {
        if epoch == self.epoch[name] {
            let last = self.sequence[name];
            match first {
                _ if first == last + 1 => Ok(()),
                _ if first + count - 1 <= last => Err(Response::Done), // a repeated batch
                _ => Err(Response::OutOfOrderSequence),
            }
        } else if first == 0 || self.epoch[name] == -1 {
            Ok(())
        } else {
            Err(Response::OutOfOrderSequence)
        }
    }

    pub fn append(&mut self, name: usize, epoch: Epoch, last_sequence: i32) {
        self.epoch[name] = epoch;
        self.sequence[name] = last_sequence;
        self.is_open[name] = true;
    }

    pub fn end(&mut self, marker: Marker) {
        let name = marker.name;
        if marker.epoch > self.epoch[name] {
            self.epoch[name] = marker.epoch;
            self.sequence[name] = -1;
        }
        self.is_open[name] = false;
    }
}

impl Log {
    pub fn new() -> Self {
        Self {
            producers: Producers::new(),
            entries: Vec::new(),
            read: 0,
            seen: 0,
        }
    }

    pub fn end(&mut self, marker: Marker) {
        self.producers.end(marker);
        let fate = match marker.ending {
            Ending::Commit => Fate::Committed,
            Ending::Abort => Fate::Aborted,
        };
        for (name, _, entry) in &mut self.entries {
            if *name == marker.name && *entry == Fate::Open {
                *entry = fate;
            }
        }
    }

    /// A reader of committed records reads up to the first open transaction. What it sees is final.
    pub fn read_on(&mut self, partition: usize, coverage: &mut Coverage) -> Result<(), String> {
        while let Some((_, output, fate)) = self.entries.get(self.read) {
            match fate {
                Fate::Open => {
                    let later = &self.entries[self.read..];
                    if later.iter().any(|(_, _, fate)| *fate == Fate::Committed) {
                        coverage.count(Event::ReadersWaitedForAnOpenTransaction);
                    }
                    break;
                }
                Fate::Aborted => {}
                Fate::Committed => {
                    let expected = (self.seen < RECORDS).then(|| offset_of(partition, self.seen));
                    if output.partition != partition || Some(output.offset) != expected {
                        return Err(format!(
                            "a reader of partition {partition} sees {output:?} where offset {expected:?} is next"
                        ));
                    }
                    self.seen += 1;
                }
            }
            self.read += 1;
        }
        Ok(())
    }
}
