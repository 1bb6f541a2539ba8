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
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a closed lane's thread may take to notice; also the rhythm at which an idle one looks.
const POLL: Duration = Duration::from_millis(100);

pub(super) struct Intake {
    pub lane: Lane,
    /// The next offset to be read, at least.
    pub position: i64,
    pub queue: PartitionQueue<FeedContext>,
    pub shared: Arc<Shared>,
}

impl Intake {
    pub(super) fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name(format!("intake {}", self.lane.tp))
            .spawn(move || self.run())
    }

    fn run(mut self) {
        loop {
            match self.shared.gate.wait_for_room(self.lane.id, POLL) {
                Room::Closed => return,
                Room::Full => continue,
                Room::Open => {}
            }
            let event = match self.queue.poll(POLL) {
                None => continue,
                Some(Ok(message)) => {
                    let record = Incoming::copy_of(&message, self.lane.tp.clone());
                    drop(message);
                    self.position = record.offset + 1;
                    self.shared.gate.take(self.lane.id, record.memory_bytes());
                    FeedEvent::Record {
                        lane: self.lane.id,
                        record,
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    FeedEvent::ReachedEnd { lane: self.lane.id }
                }
                Some(Err(cause)) => match self.consequence(cause) {
                    Some(fault) => FeedEvent::Failed(fault),
                    None => continue,
                },
            };
            if !self.shared.send(event) {
                return; // nobody listens any more
            }
        }
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
