//! Kafka, as Framelane uses it. The only module that names `rdkafka`.
//!
//! ```text
//! Feed    group or fixed partitions -> one thread per partition -> bounded events
//! Writer  idempotent records, each with a delivery receipt          (at-least-once)
//! TransactionalWriter  records + consumed offsets, all or none      (exactly-once)
//! Admin   topics, watermarks, limits          Lookup  single records by offset
//! ```
//! All calls of this module that talk to Kafka block; callers keep them off the async runtime.

mod access;
mod admin;
mod claims;
mod config;
mod consumer_protocol;
mod diagnosis;
mod error;
mod feed;
mod forgotten;
mod gate;
mod group_state;
mod handshake;
mod inspect;
mod intake;
mod lookup;
mod member_id;
mod orphans;
mod partitioner;
mod reader;
mod rebalance;
mod record;
mod secret;
mod security;
mod shared;
mod start;
mod stretch;
mod tail;
mod transaction;
mod writer;

pub use access::Resource;
pub use admin::{Admin, TopicInfo, TopicSpec};
pub use config::{KafkaArgs, KafkaConfig, MAX_REQUEST_BYTES};
pub use error::KafkaFault;
pub use feed::{
    Bookmark, Feed, FeedControl, FeedEvent, GroupMember, Lane, MAX_NOTE_BYTES, Membership,
};
pub use forgotten::{LOOK_EVERY, Silence, Verdict, answers_a_new_client};
pub use gate::{LaneBounds, SharedMemory};
pub use inspect::{GroupState, Inspector, Member, Node, PartitionState, Settings, TopicState};
pub use lookup::{Lookup, LookupError};
pub use partitioner::partition_of;
pub use processor_proto::MAX_RECORD_BYTES;
pub use record::{Incoming, Outgoing, TopicPartition, is_internal_topic};
pub use secret::Secret;
pub use security::{Mechanism, Protocol, SecurityArgs};
pub use start::{Position, StartPolicy};
pub use stretch::StretchReader;
pub use tail::{Tail, Tailed};
pub use transaction::{GroupStamp, TransactionFault, TransactionalWriter};
pub use writer::{Delivered, Pace, Receipt, Writer};

/// What is logged if RUST_LOG does not say. The client closes a consumer once more when it is dropped, and calls it an
/// error that it is closed already.
pub const DEFAULT_LOG_FILTER: &str = "info,rdkafka::consumer::base_consumer=off";
/// What a command logs by default: what it has to say of Kafka is in its result.
pub const COMMAND_LOG_FILTER: &str = "error,rdkafka=off";
