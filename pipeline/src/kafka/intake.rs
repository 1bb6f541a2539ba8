//! One thread per partition: waits for room, takes the next record, hands it on.

use super::access::{Access, denied};
use super::error::is_passing;
use super::feed::{FeedEvent, Lane};
use super::gate::Room;
use super::rebalance::FeedContext;
use super::shared::Shared;
use super::{Incoming, KafkaFault};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a closed lane's thread may take to notice; also the rhythm at which an idle one looks.
const POLL: Duration = Duration::from_millis(100);

/// A lane without room reads so much ahead, so that what comes in when it has room again need not be read and copied one
/// record after the other while the processor waits.
const AHEAD_RECORDS: usize = 64;
const AHEAD_BYTES: usize = 2 << 20;

pub(super) struct Intake {
    lane: Lane,
    /// The next offset to be read, at least.
    position: i64,
    queue: PartitionQueue<FeedContext>,
    shared: Arc<Shared>,
    /// What was read and waits for room, or behind what waits.
    ahead: VecDeque<Result<FeedEvent, KafkaError>>,
    ahead_bytes: usize,
}

impl Intake {
    pub(super) fn new(lane: Lane, queue: PartitionQueue<FeedContext>, shared: Arc<Shared>) -> Self {
        Self {
            position: lane.start,
            lane,
            queue,
            shared,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
        }
    }

    pub(super) fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name(format!("intake {}", self.lane.tp))
            .spawn(move || self.run())
    }

    fn run(mut self) {
        loop {
            match self.shared.gate.wait_for_room(self.lane.id, Duration::ZERO) {
                Room::Closed => return,
                Room::Full if self.is_far_ahead() || !self.read(Duration::ZERO) => {
                    self.shared.gate.wait_for_room(self.lane.id, POLL);
                }
                Room::Full => {}
                Room::Open => {
                    if self.ahead.is_empty() {
                        self.read(POLL);
                    }
                    if !self.hand_on() {
                        return; // nobody listens any more
                    }
                }
            }
        }
    }

    fn is_far_ahead(&self) -> bool {
        self.ahead.len() >= AHEAD_RECORDS || self.ahead_bytes >= AHEAD_BYTES
    }

    /// Takes the next record, or whatever else comes, from the client. False if nothing comes.
    fn read(&mut self, at_most: Duration) -> bool {
        let next = match self.queue.poll(at_most) {
            None => return false,
            Some(Ok(message)) => {
                let record = Incoming::copy_of(&message, self.lane.tp.clone());
                self.position = record.offset + 1;
                self.ahead_bytes += record.memory_bytes();
                let lane = self.lane.id;
                Ok(FeedEvent::Record { lane, record })
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                Ok(FeedEvent::ReachedEnd { lane: self.lane.id })
            }
            Some(Err(cause)) => Err(cause),
        };
        if next.is_ok() {
            self.shared.hear();
        }
        self.ahead.push_back(next);
        true
    }

    /// Hands on the oldest of what was read. False if nobody listens any more.
    fn hand_on(&mut self) -> bool {
        let event = match self.ahead.pop_front() {
            None => return true,
            Some(Ok(event)) => event,
            Some(Err(cause)) => match self.consequence(cause) {
                Some(fault) => FeedEvent::Failed(fault),
                None => return true,
            },
        };
        if let FeedEvent::Record { record, .. } = &event {
            self.ahead_bytes -= record.memory_bytes();
            self.shared.gate.take(self.lane.id, record.memory_bytes());
        }
        self.shared.send(event)
    }

    /// The fault, unless the error passes or is mended elsewhere.
    fn consequence(&self, cause: KafkaError) -> Option<KafkaFault> {
        let lane = self.lane.tp.clone();
        match cause.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.shared
                    .report_overtaken(self.lane.clone(), self.position);
                None
            }
            Some(code) if is_passing(code) => {
                tracing::warn!(%lane, %cause, "reading is interrupted; trying again");
                None
            }
            code => {
                let needs = [Access::to_topic("Read", &lane.topic)];
                Some(denied(code, &needs).unwrap_or(KafkaFault::Read { lane, cause }))
            }
        }
    }
}
