//! What can go wrong with Kafka, told apart by what a person or a caller does next.

use super::{Resource, TopicPartition};
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
    /// Kafka answers, and one side does not let the other in.
    #[error("Kafka at {servers} and this client do not let each other in: {reason}. {advice}")]
    Refused {
        /// The addresses tried.
        servers: String,
        /// What was wrong.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// An access rule is missing.
    #[error(
        "Kafka does not allow this user the operation {operation} on {resource}. Allow it: kafka-acls.sh \
         --bootstrap-server HOST:PORT --add --allow-principal User:NAME --operation {operation} {}; docs/security.md has \
         all that each service needs",
        resource.option()
    )]
    Denied {
        /// In Kafka's words.
        operation: &'static str,
        /// What it was about.
        resource: Resource,
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
    /// Kafka takes the other records, but never these: writing them again is of no use.
    #[error("Kafka refuses {} of the records for {topic} for what they are: {cause}", records.len())]
    RefusedRecords {
        /// The topic written to.
        topic: String,
        /// Which, by their places in what was to be written; at least one.
        records: Vec<usize>,
        /// Why, for the first of them.
        cause: Box<KafkaError>,
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
            // Files and settings that the client itself refuses: a key that does not fit its certificate, for example.
            None if matches!(
                cause,
                KafkaError::ClientCreation(_) | KafkaError::ClientConfig(..)
            ) =>
            {
                Self::Unfit(format!("{doing} failed: {cause}"))
            }
            _ => Self::Request { doing, cause },
        }
    }

    pub(super) fn no_thread(cause: std::io::Error) -> Self {
        Self::Failed(format!("the system starts no more threads: {cause}"))
    }

    /// True if Kafka's access rules forbid it.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }

    /// True if asking again is likely to help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Request { cause, .. } | Self::Read { cause, .. } => {
                cause.rdkafka_error_code().is_some_and(is_passing)
            }
            _ => false,
        }
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
            | RDKafkaErrorCode::WaitingForCoordinator
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::TimedOutQueue
            | RDKafkaErrorCode::NetworkException
            | RDKafkaErrorCode::KafkaStorageError
            | RDKafkaErrorCode::FencedLeaderEpoch
            | RDKafkaErrorCode::UnknownLeaderEpoch
    )
}

/// Errors that a record has for what it is, whenever and however often it is written.
pub(super) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::InvalidRecord
    )
}
