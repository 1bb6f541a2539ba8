//! A client that has forgotten every node.
//!
//! When a node stalls, the others (or itself, if it is the only one) take it off the list of nodes until it is heard of again.
//! A client that asks in that moment and is told of no node at all gives up all its connections, the configured addresses
//! among them, and never asks again (librdkafka 2.12; its issue 5430 describes the same answer). It says nothing: no error comes,
//! and no record. So now and then, while it brings no records, the client is asked for something that it must ask Kafka for.
//! One that is lost is told the configured addresses again, and goes on with all that it has to send.
#![allow(unsafe_code)]

use super::KafkaConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::{ClientConfig, bindings};
use std::ffi::CString;
use std::time::{Duration, Instant};

/// Between two looks whether a client is lost.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// For an answer. A client that knows no node says so after this time.
const ASK: Duration = Duration::from_secs(1);
/// Without an answer for so long, a new client is tried: if it gets one, Kafka is not away (any more). Short, because whoever
/// stops meanwhile waits only so long for the last frames; telling one that would have come back by itself costs nothing.
const PATIENCE: Duration = Duration::from_secs(3);
/// By then a client that still knows a node has connected too: it tries again at least every 4 s (the system sends a connection's
/// first packet again after 1, 2 and 4 s, then librdkafka begins anew: `socket.connection.setup.timeout.ms` is 10 s here).
const RECONNECTS_WITHIN: Duration = Duration::from_secs(10);
/// For the answer to a new client, which has to connect first, perhaps to a place far away.
const ASK_ANEW: Duration = Duration::from_secs(10);
/// What is said of such a client.
pub(super) const LOST_ALL_NODES: &str = "Kafka's client has lost all nodes, though Kafka answers (it does that when Kafka stalls for some seconds)";

/// Whether a client that reaches nobody is lost, or Kafka is away. Pure but for the question to a new client.
#[derive(Debug, Default)]
pub struct Silence {
    /// Since when this client reaches nobody.
    since: Option<Instant>,
    /// When it was told where Kafka is.
    told: Option<Instant>,
}

/// What is to be done with a client that reaches nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Wait,
    /// A new client does reach Kafka: tell this one the addresses again, and say so by [`Silence::was_told`].
    Tell,
    /// It was told, and still reaches nobody: it never will.
    Lost,
}

impl Silence {
    /// The client reaches somebody.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    /// It reaches nobody, again. `only_anew`: whether a new client is answered, and this one still is not.
    pub fn goes_on(&mut self, now: Instant, only_anew: impl FnOnce() -> bool) -> Verdict {
        let silent = now.duration_since(*self.since.get_or_insert(now));
        let may_reconnect = |told| now.duration_since(told) < RECONNECTS_WITHIN;
        if silent < PATIENCE || self.told.is_some_and(may_reconnect) {
            return Verdict::Wait;
        }
        match (only_anew(), self.told) {
            (true, Some(_)) => Verdict::Lost,
            (true, None) => Verdict::Tell,
            (false, _) => {
                self.told = None; // Kafka is away, or reached again
                Verdict::Wait
            }
        }
    }

    /// It has been told the addresses.
    pub fn was_told(&mut self, now: Instant) {
        self.told = Some(now);
    }
}

/// Tells a client where Kafka is, as when it was made. Addresses that it knows are none the worse for it.
pub(super) fn tell_addresses<C: ClientContext>(client: &Client<C>, addresses: &str) {
    tracing::warn!("{LOST_ALL_NODES}: it is told where Kafka is");
    let Ok(addresses) = CString::new(addresses) else {
        return; // no client was ever made with such a text
    };
    // SAFETY: the client is alive for as long as it is borrowed, and librdkafka copies the text.
    unsafe { bindings::rd_kafka_brokers_add(client.native_ptr(), addresses.as_ptr()) };
}

pub(super) struct NodeWatch<'a> {
    client: &'a ClientConfig,
    look_at: Instant,
    silence: Silence,
    /// What the client had brought at the last look.
    heard: u64,
}

impl<'a> NodeWatch<'a> {
    pub(super) fn new(client: &'a ClientConfig, now: Instant) -> Self {
        Self {
            client,
            look_at: now + LOOK_EVERY,
            silence: Silence::default(),
            heard: 0,
        }
    }

    /// True if this consumer reaches no node, although a new client does and this one was told the addresses again. `heard`
    /// grows with all that it brings: on a slow connection the question may wait long behind records.
    pub(super) fn is_forgotten_by<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        heard: u64,
        now: Instant,
    ) -> bool {
        if now < self.look_at {
            return false;
        }
        self.look_at = now + LOOK_EVERY;
        let brings_something = std::mem::replace(&mut self.heard, heard) != heard;
        if brings_something || reaches_a_node(consumer) {
            self.silence.end();
            return false;
        }
        let config = self.client;
        // Asking the new one takes its time, in which this one may have come back.
        let only_anew = || answers(config) && !reaches_a_node(consumer);
        let verdict = self.silence.goes_on(now, only_anew);
        if verdict == Verdict::Tell {
            let addresses = config.get("bootstrap.servers").unwrap_or_default();
            tell_addresses(consumer.client(), addresses);
            self.silence.was_told(Instant::now()); // the question took its time
        }
        verdict == Verdict::Lost
    }
}

/// Whether Kafka answers a client that is made for the question. Blocks for up to 10 s.
pub fn answers_a_new_client(kafka: &KafkaConfig) -> bool {
    answers(&kafka.consumer())
}

fn answers(client: &ClientConfig) -> bool {
    let mut client = client.clone();
    // It must not be taken for a member.
    client.remove("group.id").remove("group.instance.id");
    BaseConsumer::from_config(&client).is_ok_and(|consumer| ask(&consumer, ASK_ANEW).is_ok())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A look at second `seconds`, when a new client is answered or not; the client is told if need be.
    fn look(silence: &mut Silence, start: Instant, seconds: u64, another: bool) -> Verdict {
        let now = start + Duration::from_secs(seconds);
        let verdict = silence.goes_on(now, || another);
        if verdict == Verdict::Tell {
            silence.was_told(now);
        }
        verdict
    }

    /// When a silence that is looked at every 5 s first comes to each verdict, if a new client is answered at these looks.
    fn comes_to(another_reaches: impl Fn(u64) -> bool) -> [Option<u64>; 2] {
        [Verdict::Tell, Verdict::Lost].map(|verdict| {
            let (mut silence, start) = (Silence::default(), Instant::now());
            (0..20).map(|look| look * 5).find(|seconds| {
                look(&mut silence, start, *seconds, another_reaches(*seconds)) == verdict
            })
        })
    }

    #[test]
    fn a_client_is_told_once_a_new_one_is_answered_and_lost_if_that_does_not_help() {
        assert_eq!(comes_to(|_| true), [Some(5), Some(15)]);
        assert_eq!(comes_to(|seconds| seconds >= 40), [Some(40), Some(50)]);
    }

    #[test]
    fn no_client_is_lost_while_kafka_is_away_or_comes_for_moments() {
        assert_eq!(comes_to(|_| false), [None, None]);
        assert_eq!(comes_to(|seconds| seconds % 15 == 0), [Some(15), None]);
    }

    #[test]
    fn the_time_to_reconnect_begins_when_it_is_told() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        let second = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(silence.goes_on(second(0), || true), Verdict::Wait);
        assert_eq!(silence.goes_on(second(2), || true), Verdict::Wait);
        assert_eq!(silence.goes_on(second(3), || true), Verdict::Tell);
        silence.was_told(second(13));
        assert_eq!(silence.goes_on(second(22), || true), Verdict::Wait);
        assert_eq!(silence.goes_on(second(23), || true), Verdict::Lost);
    }

    #[test]
    fn a_client_that_reaches_somebody_is_given_all_the_time_again() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        assert_eq!(look(&mut silence, start, 0, true), Verdict::Wait);
        assert_eq!(look(&mut silence, start, 5, true), Verdict::Tell);
        silence.end();
        assert_eq!(look(&mut silence, start, 15, true), Verdict::Wait);
        assert_eq!(look(&mut silence, start, 20, true), Verdict::Tell);
        assert_eq!(look(&mut silence, start, 30, true), Verdict::Lost);
    }
}
