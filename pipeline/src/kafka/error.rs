//! What can go wrong with Kafka, told apart by what a person or a caller does next.

use super::TopicPartition;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// An error of Kafka or of the way to it.
#[derive(Debug, thiserror::Error)]
pub enum KafkaFault {
    /// The address itself is unusable: a configuration error.
    #[error("{0:?} is not an address of a Kafka node: write HOST:PORT, e.g. localhost:9092")]
    BadAddress(String),
    /// No node answered in time.
    #[error(
        "no Kafka node answers at {servers}: {cause}. Start one (`docker compose up kafka`) or give its address with \
         --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS"
    )]
    Unreachable {
        /// The addresses tried.
        servers: String,
        /// librdkafka's words.
        cause: KafkaError,
    },
    /// The topic does not exist.
    #[error(
        "topic {0} does not exist: check its name, or start the producer or broker that makes it"
    )]
    NoTopic(String),
    /// Settings (ours or a topic's) that do not fit; the text says how to mend them. A configuration error.
    #[error("{0}")]
    Unfit(String),
    /// Something else that should not be; the text says what.
    #[error("{0}")]
    Failed(String),
    /// Another client took this one's place (same instance name or transactional id).
    #[error(
        "{what} was taken over by a newer instance with the same name: this one stops. If both were meant to run, \
         give each its own --instance"
    )]
    Fenced {
        /// What was taken over.
        what: String,
    },
    /// A record was refused or not acknowledged.
    #[error("Kafka did not take a record for {topic}: {cause}")]
    NotDelivered {
        /// The topic written to.
        topic: String,
        /// Why.
        cause: KafkaError,
    },
    /// Reading one partition failed.
    #[error("reading {lane} failed: {cause}")]
    Read {
        /// The partition.
        lane: TopicPartition,
        /// Why.
        cause: KafkaError,
    },
    /// Any other failed request.
    #[error("{doing} failed: {cause}")]
    Request {
        /// What was asked for.
        doing: String,
        /// Why.
        cause: KafkaError,
    },
}

impl KafkaFault {
    pub(super) fn request(doing: impl Into<String>) -> impl FnOnce(KafkaError) -> Self {
        let doing = doing.into();
        move |cause| match cause.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::FencedInstanceId) => {
                Self::Fenced { what: doing }
            }
            _ => Self::Request { doing, cause },
        }
    }

    pub(super) fn no_thread(cause: std::io::Error) -> Self {
        Self::Failed(format!("the system starts no more threads: {cause}"))
    }

    /// True if the settings have to change before another try can help.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::BadAddress(_) | Self::Unfit(_))
    }
}

/// Errors that pass by themselves: leaders move, nodes restart. Trying again is the thing to do.
pub(super) fn is_passing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::ReplicaNotAvailable
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::NotCoordinator
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::CoordinatorLoadInProgress
            | RDKafkaErrorCode::OffsetNotAvailable
            | RDKafkaErrorCode::UnstableOffsetCommit
            | RDKafkaErrorCode::FetchSessionIdNotFound
            | RDKafkaErrorCode::InvalidFetchSessionEpoch
    )
}
