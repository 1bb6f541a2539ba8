//! All that is not inside of one broker: Kafka, the network, and what is noted of a schedule.

use crate::coverage::{Coverage, Event};
use crate::kafka::{Epoch, Kafka, Output, Packet, Request};
use pipeline::ordering::LaneId;
use std::collections::BTreeMap;

/// A mistake of a part that the model has to imitate (the broker's engine, the feed, the client) or of Kafka itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cheat {
    None,
    /// The group stamp is taken when the transaction is made, not when the batch is.
    StampOfTheCommit,
    /// Nobody compares member ids.
    IgnoredExpulsion,
    /// A reply counts for whoever has the partition now.
    RepliesOfEarlierLanes,
    /// A connection that breaks is not noticed, as if the client did not tell.
    UnnoticedDisturbance,
    /// A static member that is back takes over at once what it is given first: its last life may have claimed that.
    OldClaims,
    /// Kafka before KIP-890.
    NoVerification,
}

/// All that is not inside of one broker.
pub struct Outside {
    pub kafka: Kafka,
    pub network: Vec<Packet>,
    pub coverage: Coverage,
    cheat: Cheat,
    pub trace: Option<Vec<String>>,
    next_packet: u32,
    next_lane: LaneId,
    partitions: Vec<usize>,
}

impl Outside {
    pub fn new(cheat: Cheat, is_traced: bool) -> Self {
        Self {
            kafka: Kafka::new(cheat != Cheat::NoVerification),
            network: Vec::new(),
            coverage: Coverage::new(),
            cheat,
            trace: is_traced.then(Vec::new),
            next_packet: 1,
            next_lane: 0,
            partitions: Vec::new(),
        }
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("    {}", what()));
        }
    }

    pub fn count(&mut self, event: Event) {
        self.coverage.count(event);
        self.say(|| format!("-- {event:?}"));
    }

    pub fn send(&mut self, name: usize, epoch: Epoch, request: Request) -> u32 {
        let number = self.next_packet;
        self.next_packet += 1;
        self.say(|| format!("{name} (epoch {epoch}) sends #{number} {request:?}"));
        self.network.push(Packet {
            number,
            name,
            epoch,
            request,
        });
        number
    }

    pub fn new_lane(&mut self, partition: usize) -> LaneId {
        self.next_lane += 1;
        self.partitions.push(partition);
        self.next_lane
    }

    pub fn notices_broken_connections(&self) -> bool {
        self.cheat != Cheat::UnnoticedDisturbance
    }

    pub fn ignores_old_claims(&self) -> bool {
        self.cheat == Cheat::OldClaims
    }

    pub fn ignores_expulsion(&self) -> bool {
        self.cheat == Cheat::IgnoredExpulsion
    }

    pub fn takes_the_stamp_late(&self) -> bool {
        self.cheat == Cheat::StampOfTheCommit
    }

    pub fn cheats_with_the_lane(&self, output: Output, lanes: &BTreeMap<LaneId, usize>) -> LaneId {
        let mut now = lanes
            .iter()
            .filter(|(_, partition)| **partition == output.partition);
        match (self.cheat, now.next()) {
            (Cheat::RepliesOfEarlierLanes, Some((lane, _))) => *lane,
            _ => output.lane,
        }
    }
}
