//! One address of a processor: its connection, what it can take, and how it has been doing.

use super::batcher::BatchLimits;
use super::failure::Failure;
use processor_proto::MAX_MESSAGE_BYTES;
use processor_proto::v1::DescribeResponse;
use processor_proto::v1::processor_client::ProcessorClient;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Calls in flight if neither the command line nor the processor says.
const DEFAULT_LIMIT: usize = 32;
/// This many failures in a row make a replica an outlier.
const OUTLIER_FAILURES: u32 = 5;
const FIRST_EJECTION: Duration = Duration::from_secs(2);
const LONGEST_EJECTION: Duration = Duration::from_secs(60);

/// Names one replica for as long as the process runs.
pub type ReplicaId = u64;

#[derive(Debug)]
pub struct Replica {
    pub address: Arc<str>,
    /// HOST:PORT as it was declared: a name may stand for several addresses.
    pub declared: Arc<str>,
    pub client: ProcessorClient<Channel>,
    pub name: Arc<str>,
    pub needs_pixels: bool,
    /// What it wants in one call.
    pub batch: BatchLimits,
    pub is_up: bool,
    pub in_flight: usize,
    /// Calls it may have now; below `most` while it says that it is busy.
    limit: usize,
    most: usize,
    successes_at_limit: usize,
    failures_in_row: u32,
    ejections_in_row: u32,
    ejected_until: Option<Instant>,
}

impl Replica {
    pub fn new(channel: Channel, address: SocketAddr, limit: Option<usize>) -> Self {
        let most = limit.unwrap_or(DEFAULT_LIMIT);
        let address: Arc<str> = address.to_string().into();
        Self {
            declared: Arc::clone(&address),
            address,
            client: ProcessorClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            name: "processor".into(),
            needs_pixels: true,
            batch: BatchLimits::SINGLE,
            is_up: false,
            in_flight: 0,
            limit: most,
            most,
            successes_at_limit: 0,
            failures_in_row: 0,
            ejections_in_row: 0,
            ejected_until: None,
        }
    }

    /// Takes over what it says of itself. `limit` is the user's bound on its calls, if there is one.
    pub fn described(&mut self, said: DescribeResponse, limit: Option<usize>) {
        let own_limit = (said.max_in_flight > 0).then_some(said.max_in_flight as usize);
        let most = limit.or(own_limit).unwrap_or(DEFAULT_LIMIT);
        if most != self.most {
            self.most = most;
            self.limit = most;
        }
        if !said.name.is_empty() {
            self.name = said.name.into();
        }
        self.needs_pixels = said.needs_pixels;
        self.batch = BatchLimits::described(said.max_batch, said.max_batch_wait_us);
    }

    pub fn has_room(&self) -> bool {
        self.in_flight < self.limit
    }

    pub fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }

    pub fn succeeded(&mut self) {
        self.failures_in_row = 0;
        self.ejections_in_row = 0;
        self.ejected_until = None;
        // Additive increase: one call more per round of successes.
        self.successes_at_limit += 1;
        if self.limit < self.most && self.successes_at_limit >= self.limit {
            self.limit += 1;
            self.successes_at_limit = 0;
        }
    }

    pub fn failed(&mut self, now: Instant, why: &Failure) {
        self.failures_in_row += 1;
        if self.failures_in_row < OUTLIER_FAILURES || self.is_ejected(now) {
            return;
        }
        let doubled = FIRST_EJECTION.saturating_mul(1 << self.ejections_in_row.min(10));
        let time = doubled.min(LONGEST_EJECTION);
        self.ejections_in_row += 1;
        self.ejected_until = Some(now + time);
        tracing::warn!(replica = %self.address, failures = self.failures_in_row, last = %why, ?time,
            "the replica fails again and again; others are preferred for a while");
    }

    /// It said RESOURCE_EXHAUSTED: multiplicative decrease.
    pub fn is_busy(&mut self) {
        self.limit = (self.limit.min(self.in_flight) * 3 / 4).max(1);
        self.successes_at_limit = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::transport::Endpoint;

    fn replica(limit: usize) -> Replica {
        let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        Replica::new(channel, ([127, 0, 0, 1], 1).into(), Some(limit))
    }

    #[tokio::test]
    async fn a_busy_replica_gets_fewer_calls_and_then_slowly_more() {
        let mut replica = replica(8);
        replica.in_flight = 8;
        replica.is_busy();
        assert_eq!(replica.limit, 6);
        (0..6).for_each(|_| replica.succeeded());
        assert_eq!(replica.limit, 7);
        (0..100).for_each(|_| replica.succeeded());
        assert_eq!(replica.limit, 8);
        replica.in_flight = 0;
        replica.is_busy();
        assert_eq!(replica.limit, 1);
    }

    #[tokio::test]
    async fn what_a_replica_says_again_does_not_undo_that_it_is_busy() {
        let mut replica = replica(8);
        let four = DescribeResponse {
            max_in_flight: 4,
            ..DescribeResponse::default()
        };
        replica.in_flight = 4;
        replica.described(four.clone(), None);
        replica.is_busy();
        replica.described(four, None);
        assert_eq!(replica.limit, 3);
        replica.described(DescribeResponse::default(), None);
        assert_eq!(replica.limit, DEFAULT_LIMIT);
        replica.described(DescribeResponse::default(), Some(2));
        assert_eq!(replica.limit, 2);
    }

    #[tokio::test]
    async fn an_outlier_is_ejected_for_longer_each_time_and_forgiven_after_a_success() {
        let mut replica = replica(8);
        let (now, why) = (Instant::now(), Failure::TimedOut);
        (1..OUTLIER_FAILURES).for_each(|_| replica.failed(now, &why));
        assert!(!replica.is_ejected(now));
        replica.failed(now, &why);
        assert!(replica.is_ejected(now + FIRST_EJECTION / 2));
        let later = now + FIRST_EJECTION;
        assert!(!replica.is_ejected(later));
        replica.failed(later, &why);
        assert!(replica.is_ejected(later + FIRST_EJECTION));
        replica.succeeded();
        assert!(!replica.is_ejected(later));
    }
}
