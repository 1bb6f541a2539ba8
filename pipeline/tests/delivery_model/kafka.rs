//! Kafka's side: transaction coordinator, partition logs (see [`crate::log`]), the group's offsets. Rules as in Apache
//! Kafka 4 for clients that do not speak KIP-890's second part (librdkafka does not: EndTxn up to version 1, one epoch for
//! many transactions):
//! - `TransactionCoordinator.scala`: `endTransaction`, `prepareInitProducerIdTransit`, `handleAddPartitionsToTransaction`
//! - `TransactionMetadata.prepareIncrementProducerEpoch`
//! - `OffsetMetadataManager.java`: `commitTransactionalOffset`, `fetchOffsets` with `requireStable`, pending offsets
//! - KIP-890, first part: a write that would open a transaction in a log is verified with the coordinator

use crate::coverage::{Coverage, Event};
use crate::group::{Group, Stamp};
use crate::log::{Fate, Log, Marker, Producers};
use pipeline::ordering::{LaneId, Weight};

pub const PARTITIONS: usize = 2;
pub const RECORDS: usize = 5;
/// Transactional ids, one per instance name.
pub const NAMES: usize = 3;
/// In a set of partitions, the one that stands for the group's offsets.
const OFFSETS: usize = PARTITIONS;

pub type Epoch = i16;
/// A set of partitions, one bit each.
pub type Partitions = u8;

/// The offset of a record, with holes that differ by partition.
pub fn offset_of(partition: usize, at: usize) -> i64 {
    (at + at / (partition + 2)) as i64
}

/// How many records of the partition lie before an offset. None: nothing is committed.
pub fn position(partition: usize, offset: Option<i64>) -> usize {
    let Some(offset) = offset else { return 0 };
    (0..RECORDS)
        .take_while(|at| offset_of(partition, *at) < offset)
        .count()
}

/// The output of one record, with what it must not be confused with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    pub partition: usize,
    pub offset: i64,
    /// The assignment whose reply it is.
    pub lane: LaneId,
    /// Calls for one record may differ in their results.
    pub attempt: u8,
}

impl Weight for Output {
    fn bytes(&self) -> usize {
        10
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Commit,
    Abort,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    InitProducerId {
        /// To go on from this epoch rather than to fence it.
        from: Option<Epoch>,
    },
    AddPartitions {
        partitions: Partitions,
    },
    Produce {
        partition: usize,
        sequence: i32,
        outputs: Vec<Output>,
    },
    AddOffsets,
    TxnOffsetCommit {
        stamp: Stamp,
        offsets: Vec<(usize, i64)>,
    },
    EndTxn(Ending),
}

/// A request of a producer on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub number: u32,
    /// The transactional id's owner.
    pub name: usize,
    pub epoch: Epoch,
    pub request: Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    Done,
    Epoch(Epoch),
    /// CONCURRENT_TRANSACTIONS: the client asks again.
    Concurrent,
    /// INVALID_PRODUCER_EPOCH or PRODUCER_FENCED.
    Fenced,
    InvalidTxnState,
    OutOfOrderSequence,
    /// ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID.
    NotOfThisGeneration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Empty,
    Ongoing,
    /// Decided; not all logs know it yet.
    Prepare(Ending),
    Complete(Ending),
}

#[derive(Debug, Clone)]
struct Transaction {
    epoch: Epoch,
    /// The epoch before the last bump, if its owner asked for it and may ask again.
    bumped_from: Epoch,
    status: Status,
    partitions: Partitions,
}

pub struct Kafka {
    /// KIP-890, first part.
    verifies: bool,
    transactions: [Transaction; NAMES],
    logs: [Log; PARTITIONS],
    offsets_log: Producers,
    pending: Vec<(usize, usize, i64)>,
    pub committed: [Option<i64>; PARTITIONS],
    pub markers: Vec<Marker>,
    pub group: Group,
}

impl Kafka {
    pub fn new(verifies: bool) -> Self {
        let transaction = Transaction {
            epoch: -1,
            bumped_from: -1,
            status: Status::Empty,
            partitions: 0,
        };
        Self {
            verifies,
            transactions: std::array::from_fn(|_| transaction.clone()),
            logs: std::array::from_fn(|_| Log::new()),
            offsets_log: Producers::new(),
            pending: Vec::new(),
            committed: [None; PARTITIONS],
            markers: Vec::new(),
            group: Group::new(),
        }
    }

    pub fn handle(&mut self, packet: &Packet, coverage: &mut Coverage) -> Response {
        let (name, epoch) = (packet.name, packet.epoch);
        let response = match &packet.request {
            Request::InitProducerId { from } => self.init(name, *from),
            Request::AddPartitions { partitions } => self.add(name, epoch, *partitions),
            Request::AddOffsets => self.add(name, epoch, 1 << OFFSETS),
            Request::Produce {
                partition,
                sequence,
                outputs,
            } => self.produce(name, epoch, *partition, *sequence, outputs, coverage),
            Request::TxnOffsetCommit { stamp, offsets } => {
                self.commit_offsets(name, epoch, stamp, offsets)
            }
            Request::EndTxn(ending) => self.end(name, epoch, *ending),
        };
        match response {
            Response::Concurrent => coverage.count(Event::ConcurrentTransactions),
            Response::Fenced => coverage.count(Event::RequestOfAnOldEpochRefused),
            Response::NotOfThisGeneration => coverage.count(Event::OldGenerationRefused),
            _ => {}
        }
        response
    }

    /// `prepareInitProducerIdTransit`
    fn init(&mut self, name: usize, from: Option<Epoch>) -> Response {
        let transaction = &mut self.transactions[name];
        match transaction.status {
            Status::Prepare(_) => return Response::Concurrent,
            Status::Ongoing => {
                self.fence(name);
                return Response::Concurrent;
            }
            Status::Empty | Status::Complete(_) => {}
        }
        match from {
            Some(from) if from != transaction.epoch => {
                if from != transaction.bumped_from {
                    return Response::Fenced;
                }
            }
            _ => {
                transaction.bumped_from = from.map_or(-1, |_| transaction.epoch);
                transaction.epoch += 1;
                transaction.status = Status::Empty;
            }
        }
        Response::Epoch(transaction.epoch)
    }

    /// Aborts the open transaction under an epoch that its owner does not have.
    fn fence(&mut self, name: usize) {
        let transaction = &mut self.transactions[name];
        transaction.epoch += 1;
        transaction.bumped_from = -1;
        self.prepare(name, Ending::Abort);
    }

    fn prepare(&mut self, name: usize, ending: Ending) {
        let transaction = &mut self.transactions[name];
        transaction.status = Status::Prepare(ending);
        let epoch = transaction.epoch;
        let markers = (0..=PARTITIONS).filter(|log| transaction.partitions & (1 << log) != 0);
        self.markers.extend(markers.map(|log| Marker {
            name,
            epoch,
            ending,
            log,
        }));
    }

    /// `handleAddPartitionsToTransaction`, `handleAddOffsetsToTransaction`
    fn add(&mut self, name: usize, epoch: Epoch, partitions: Partitions) -> Response {
        let transaction = &mut self.transactions[name];
        if transaction.epoch != epoch {
            return Response::Fenced;
        }
        if let Status::Prepare(_) = transaction.status {
            return Response::Concurrent;
        }
        transaction.status = Status::Ongoing;
        transaction.partitions |= partitions;
        Response::Done
    }

    /// A write may open a transaction in a log only if the coordinator knows of it.
    fn verify(&self, name: usize, epoch: Epoch, log: usize) -> Result<(), Response> {
        let transaction = &self.transactions[name];
        let known = match log {
            OFFSETS => &self.offsets_log,
            _ => &self.logs[log].producers,
        };
        if epoch < known.epoch[name] {
            return Err(Response::Fenced);
        }
        if known.is_open[name] || !self.verifies {
            return Ok(());
        }
        match transaction.status {
            _ if transaction.epoch != epoch => Err(Response::Fenced),
            Status::Prepare(_) => Err(Response::Concurrent),
            Status::Ongoing if transaction.partitions & (1 << log) != 0 => Ok(()),
            _ => Err(Response::InvalidTxnState),
        }
    }

    fn produce(
        &mut self,
        name: usize,
        epoch: Epoch,
        partition: usize,
        sequence: i32,
        outputs: &[Output],
        coverage: &mut Coverage,
    ) -> Response {
        let count = outputs.len() as i32;
        let checked = self.verify(name, epoch, partition).and_then(|()| {
            self.logs[partition]
                .producers
                .check(name, epoch, sequence, count)
        });
        if let Err(response) = checked {
            if response == Response::Done {
                coverage.count(Event::RepeatedBatchIgnored);
            }
            return response;
        }
        let log = &mut self.logs[partition];
        log.producers.append(name, epoch, sequence + count - 1);
        let entries = outputs.iter().map(|output| (name, *output, Fate::Open));
        log.entries.extend(entries);
        Response::Done
    }

    fn commit_offsets(
        &mut self,
        name: usize,
        epoch: Epoch,
        stamp: &Stamp,
        offsets: &[(usize, i64)],
    ) -> Response {
        if let Err(response) = self.verify(name, epoch, OFFSETS) {
            return response;
        }
        if !self.group.knows(stamp) {
            return Response::NotOfThisGeneration;
        }
        self.offsets_log.append(name, epoch, -1);
        let pending = offsets.iter().map(|(p, offset)| (name, *p, *offset));
        self.pending.extend(pending);
        Response::Done
    }

    /// `endTransaction`
    fn end(&mut self, name: usize, epoch: Epoch, ending: Ending) -> Response {
        let transaction = &self.transactions[name];
        if transaction.epoch != epoch {
            return Response::Fenced;
        }
        match transaction.status {
            Status::Ongoing => {
                self.prepare(name, ending);
                Response::Done
            }
            Status::Prepare(decided) if decided == ending => Response::Concurrent,
            Status::Complete(decided) if decided == ending => Response::Done,
            Status::Prepare(_) | Status::Complete(_) | Status::Empty => Response::InvalidTxnState,
        }
    }

    /// `abortTimedOutTransactions`
    pub fn time_out(&mut self, name: usize) -> bool {
        let is_open = self.is_ongoing(name);
        if is_open {
            self.fence(name);
        }
        is_open
    }

    pub fn is_ongoing(&self, name: usize) -> bool {
        self.transactions[name].status == Status::Ongoing
    }

    pub fn epoch(&self, name: usize) -> Epoch {
        self.transactions[name].epoch
    }

    /// The end of a transaction reaches one more log.
    pub fn write_marker(&mut self, at: usize, coverage: &mut Coverage) -> Result<(), String> {
        let marker = self.markers.swap_remove(at);
        if marker.log == OFFSETS {
            self.end_offsets(marker);
        } else {
            self.logs[marker.log].end(marker);
        }
        let is_last = !self.markers.iter().any(|other| other.name == marker.name);
        if is_last {
            let transaction = &mut self.transactions[marker.name];
            transaction.status = Status::Complete(marker.ending);
            transaction.partitions = 0;
        }
        for (partition, log) in self.logs.iter_mut().enumerate() {
            log.read_on(partition, coverage)?;
        }
        self.check_offsets()
    }

    fn end_offsets(&mut self, marker: Marker) {
        self.offsets_log.end(marker);
        let committed = &mut self.committed;
        self.pending.retain(|(name, partition, offset)| {
            let ends = *name == marker.name;
            if ends && marker.ending == Ending::Commit {
                committed[*partition] = Some(*offset);
            }
            !ends
        });
    }

    /// Offsets are never ahead of the outputs that are decided to be visible, and where no transaction is just being
    /// written they are as far.
    fn check_offsets(&self) -> Result<(), String> {
        let is_committing =
            |name: usize| self.transactions[name].status == Status::Prepare(Ending::Commit);
        let is_settled = !(0..NAMES).any(is_committing);
        for (partition, log) in self.logs.iter().enumerate() {
            let will_be_seen = log
                .entries
                .iter()
                .filter(|(name, _, fate)| match fate {
                    Fate::Committed => true,
                    Fate::Open => is_committing(*name),
                    Fate::Aborted => false,
                })
                .count();
            let done = position(partition, self.committed[partition]);
            if done > will_be_seen || (is_settled && done < will_be_seen) {
                return Err(format!(
                    "partition {partition}: the group is behind {done} records, {will_be_seen} outputs are committed"
                ));
            }
        }
        Ok(())
    }

    /// None: a transaction that is not decided may change it.
    pub fn fetch_offset(&self, partition: usize) -> Option<Option<i64>> {
        let is_stable = !self.pending.iter().any(|(_, p, _)| *p == partition);
        is_stable.then_some(self.committed[partition])
    }

    pub fn is_complete(&self) -> bool {
        self.markers.is_empty()
            && self.logs.iter().all(|log| log.seen == RECORDS)
            && (0..PARTITIONS).all(|p| self.committed[p] == Some(offset_of(p, RECORDS - 1) + 1))
    }

    /// What the end of a schedule looks like.
    pub fn state(&self) -> String {
        let seen: Vec<_> = self.logs.iter().map(|log| log.seen).collect();
        format!(
            "records seen {seen:?} of {RECORDS}, committed {:?}, transactions {:?}, pending {:?}, {:?}",
            self.committed, self.transactions, self.pending, self.group
        )
    }
}
