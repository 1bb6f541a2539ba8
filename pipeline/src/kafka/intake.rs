//! One thread per partition: waits for room, takes the next record, hands it on.

use super::error::is_passing;
use super::feed::{FeedContext, FeedEvent, Lane, Shared};
use super::gate::Room;
use super::start::{Position, resolve_position};
use super::{Incoming, KafkaFault};
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
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
    pub consumer: Arc<rdkafka::consumer::BaseConsumer<FeedContext>>,
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
                Some(Err(cause)) => match self.recover(cause) {
                    Some(event) => event,
                    None => continue,
                },
            };
            if !self.shared.send(event) {
                return; // nobody listens any more
            }
        }
    }

    /// Retention may have removed records that were not read yet: say so and go on behind them.
    fn recover(&mut self, cause: KafkaError) -> Option<FeedEvent> {
        let lane = &self.lane.tp;
        match cause.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {}
            Some(code) if is_passing(code) => {
                tracing::warn!(%lane, %cause, "reading is interrupted; trying again");
                return None;
            }
            _ => {
                let lane = lane.clone();
                return Some(FeedEvent::Failed(KafkaFault::Read { lane, cause }));
            }
        }
        let resumed = resolve_position(&*self.consumer, lane, Position::Earliest).and_then(|low| {
            let mut list = rdkafka::TopicPartitionList::new();
            list.add_partition_offset(&lane.topic, lane.partition, Offset::Offset(low))
                .and_then(|()| self.consumer.incremental_unassign(&list))
                .and_then(|()| self.consumer.incremental_assign(&list))
                .map(|()| low)
                .map_err(KafkaFault::request(format!(
                    "going on in {lane} at offset {low}"
                )))
        });
        match resumed {
            Ok(low) if low > self.position => {
                let from = std::mem::replace(&mut self.position, low);
                self.shared.gate.take(self.lane.id, 0); // the gap takes a slot like a record
                Some(FeedEvent::Expired {
                    lane: self.lane.id,
                    from,
                    to: low,
                })
            }
            // The position lies beyond the end: the topic was emptied or made anew under the group's feet.
            Ok(low) => Some(FeedEvent::Failed(KafkaFault::Unfit(format!(
                "{lane} has no offset {}, only from {low} on: was the topic deleted and made anew? Use another --group \
                 or reset this one's offsets",
                self.position
            )))),
            Err(fault) => Some(FeedEvent::Failed(fault)),
        }
    }
}
