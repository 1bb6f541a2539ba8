//! A client that has forgotten every node.
//!
//! When a node stalls, the others (or itself, if it is the only one) take it off the list of nodes until it is heard of again.
//! A client that asks in that moment and is told of no node at all gives up all its connections, the configured addresses
//! among them, and never asks again (librdkafka 2.12; its issue 5430 describes the same answer). It says nothing: no error comes,
//! and no record. So now and then, while it brings no records, the client is asked for something that it must ask Kafka for.

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use std::time::{Duration, Instant};

/// Between two looks.
const RHYTHM: Duration = Duration::from_secs(5);
/// For an answer. A client that knows no node says so after this time.
const ASK: Duration = Duration::from_secs(1);
/// Without an answer for so long, a new client is asked: if it gets one, Kafka is not away any more.
const PATIENCE: Duration = Duration::from_secs(15);
/// By then a client that still knows a node has connected too: it tries again at least every 4 s (the system sends a connection's
/// first packet again after 1, 2 and 4 s, then librdkafka begins anew: `socket.connection.setup.timeout.ms` is 10 s here).
pub const RECONNECT_GRACE: Duration = Duration::from_secs(10);
/// For the answer to a new client, which has to connect first, perhaps to a place far away.
const ASK_ANEW: Duration = Duration::from_secs(10);

/// What is said of such a client.
pub(super) const LOST_ALL_NODES: &str = "Kafka's client has lost all nodes, though Kafka answers (it does that when Kafka stalls for some seconds)";

pub(super) struct NodeWatch<'a> {
    client: &'a ClientConfig,
    look_at: Instant,
    /// Since when there is no answer.
    silent_since: Option<Instant>,
    /// Since when a new client gets an answer.
    another_is_answered_since: Option<Instant>,
    /// What the client had brought at the last look.
    heard: u64,
}

impl<'a> NodeWatch<'a> {
    pub(super) fn new(client: &'a ClientConfig, now: Instant) -> Self {
        Self {
            client,
            look_at: now + RHYTHM,
            silent_since: None,
            another_is_answered_since: None,
            heard: 0,
        }
    }

    /// True if this consumer reaches no node, although a new client does. `heard` grows with all that it brings: on a slow
    /// connection the question may wait long behind records.
    pub(super) fn is_forgotten_by<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        heard: u64,
        now: Instant,
    ) -> bool {
        if now < self.look_at {
            return false;
        }
        self.look_at = now + RHYTHM;
        let brings_something = std::mem::replace(&mut self.heard, heard) != heard;
        if brings_something || reaches_a_node(consumer) {
            self.silent_since = None;
            self.another_is_answered_since = None;
            return false;
        }
        let silent = now.duration_since(*self.silent_since.get_or_insert(now));
        let is_back_for = self
            .another_is_answered_since
            .map(|since| now.duration_since(since));
        if silent < PATIENCE || is_back_for.is_some_and(|time| time < RECONNECT_GRACE) {
            return false;
        }
        match (self.answers_a_new_client(), is_back_for) {
            (true, Some(_)) => return true,
            (true, None) => self.another_is_answered_since = Some(Instant::now()),
            (false, _) => self.another_is_answered_since = None, // Kafka is away
        }
        false
    }

    fn answers_a_new_client(&self) -> bool {
        let mut client = self.client.clone();
        // It must not be taken for a member.
        client.remove("group.id").remove("group.instance.id");
        BaseConsumer::from_config(&client).is_ok_and(|consumer| ask(&consumer, ASK_ANEW).is_ok())
    }
}

/// A question that nobody answered in time was asked: some node is connected.
fn reaches_a_node<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> bool {
    let code = ask(consumer, ASK)
        .err()
        .and_then(|cause| cause.rdkafka_error_code());
    !matches!(code, Some(RDKafkaErrorCode::BrokerTransportFailure))
}

fn ask<C: ConsumerContext>(consumer: &BaseConsumer<C>, at_most: Duration) -> KafkaResult<Metadata> {
    // About a topic that need not exist: the answer is small.
    consumer.fetch_metadata(Some(PROBE), at_most)
}

/// Asked for by those who only want to know whether Kafka answers.
pub(super) const PROBE: &str = "framelane-probe";
