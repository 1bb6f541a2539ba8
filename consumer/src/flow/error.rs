//! Why a flow ends before everything was shown.

use crate::crew::CrewError;
use crate::monitor::MonitorError;
use crate::track::TrackError;
use pipeline::kafka::KafkaFault;
use std::time::Duration;

/// How long a commit may take before partitions are given back or the consumer ends without it. A node that restarts
/// answers within it.
pub const COMMIT_GRACE: Duration = Duration::from_secs(15);

/// Why the flow stops before its end.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// Reading or committing.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// Kafka did not answer when the last progress was to be committed.
    #[error(
        "Kafka did not answer within {COMMIT_GRACE:?}: the last progress of the group is not committed. Sinks that write \
         files have kept theirs: the same command goes on behind it"
    )]
    NoCommit,
    /// A sink.
    #[error(transparent)]
    Sinks(#[from] CrewError),
    /// Tracks.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// Alerts.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// What is written cannot be committed any more.
    #[error("{0}")]
    NoLedger(String),
}
