//! One address of the service as one instance knows it: its connection, what it can take, and when to ask it again.

use crate::targets::Target;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use processor_proto::MAX_MESSAGE_BYTES;
use processor_proto::v1::processor_client::ProcessorClient;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// A service that is away is asked again after this, then after twice as long, up to the longest.
const FIRST_REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Replica {
    pub client: ProcessorClient<Channel>,
    pub in_flight: usize,
    /// Calls it may have now; below what was asked for while it says that it is busy.
    limit: usize,
    answered_at_limit: usize,
    pub rests_until: Option<Instant>,
    rests: ExponentialBackoff,
}

impl Replica {
    /// At most `limit` calls at once. The error says why the address cannot be used.
    pub fn new(target: &Target, address: SocketAddr, limit: usize) -> Result<Self, String> {
        let channel = target
            .connect(address)
            .map_err(|error| format!("{address} cannot be used: {error}"))?;
        Ok(Self {
            client: ProcessorClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            in_flight: 0,
            limit,
            answered_at_limit: 0,
            rests_until: None,
            rests: rests(),
        })
    }

    pub fn has_room(&self) -> bool {
        self.in_flight < self.limit
    }

    pub fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }

    /// Additive increase: one call more for each round of answers, up to `most`.
    pub fn has_answered(&mut self, most: usize) {
        self.rests = rests();
        self.answered_at_limit += 1;
        if self.limit < most && self.answered_at_limit >= self.limit {
            self.limit += 1;
            self.answered_at_limit = 0;
        }
    }

    /// Multiplicative decrease; returns how long to send it nothing: once to twice what it asked for, so that many
    /// clients do not come back at the same moment.
    pub fn is_busy(&mut self, asked_for: Duration) -> Duration {
        self.limit = (self.limit.min(self.in_flight) * 3 / 4).max(1);
        self.answered_at_limit = 0;
        let mut once = ExponentialBuilder::default()
            .with_min_delay(asked_for)
            .with_max_delay(asked_for)
            .with_jitter()
            .build();
        once.next().unwrap_or(asked_for)
    }

    /// Returns how long to send it nothing: longer each time, until it answers.
    pub fn has_failed(&mut self) -> Duration {
        self.rests.next().unwrap_or(LONGEST_REST)
    }
}

fn rests() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_REST)
        .with_max_delay(LONGEST_REST)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn replica(limit: usize) -> Replica {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Replica::new(&Target::plain(address), address, limit).unwrap()
    }

    #[tokio::test]
    async fn a_busy_replica_gets_fewer_calls_and_then_slowly_more() {
        let mut replica = replica(8);
        replica.in_flight = 8;
        let asked_for = Duration::from_millis(40);
        let rest = replica.is_busy(asked_for);
        assert!(rest >= asked_for && rest <= asked_for * 2, "{rest:?}");
        assert_eq!(replica.limit, 6);
        (0..6).for_each(|_| replica.has_answered(8));
        assert_eq!(replica.limit, 7);
        (0..100).for_each(|_| replica.has_answered(8));
        assert_eq!(replica.limit, 8);
        replica.in_flight = 0;
        replica.is_busy(asked_for);
        assert_eq!(replica.limit, 1);
    }

    #[tokio::test]
    async fn one_that_is_away_is_asked_less_and_less_often_until_it_answers() {
        let mut replica = replica(8);
        let first = replica.has_failed();
        assert!(first >= FIRST_REST && first <= FIRST_REST * 2);
        let later = (0..20).map(|_| replica.has_failed()).last().unwrap();
        assert!(later >= LONGEST_REST && later <= LONGEST_REST * 2);
        replica.has_answered(8);
        assert!(replica.has_failed() <= FIRST_REST * 2);
    }
}
