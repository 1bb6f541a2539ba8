//! The ordering core: an `event -> actions` machine without clock, I/O or async.
//!
//! ```text
//! Arrived ─▶ slot ─▶ Completed (any order) ─▶ done prefix ─▶ Write(batch) ─▶ Committed ─▶ Done
//!            └────────────── Window, one per lane ──────────────┘   │ Aborted: the same outputs again
//!                                                                   │ Unknown: Recover, read offsets, decide
//!            └───────────────────── Delivery, all lanes of an instance ───────────────────────────┘
//! ```
//! A frame takes its slot before any work starts, so order is a matter of construction. What is written is always the
//! contiguous done prefix, so the offset to commit is simply the one behind it: no draining, no encoding of holes.
//!
//! [`Transactions`] decides in the same way how a batch is written: which call of Kafka's client comes next, and when an
//! outcome is sure. [`Assignee`] decides who may commit for the lanes.

mod assignee;
mod delivery;
mod protocol;
mod size;
mod transaction;
mod window;

pub use assignee::Assignee;
pub use delivery::Delivery;
pub use protocol::{Action, Batch, BatchLane, CommitPolicy, Event, LaneId, Weight};
pub use size::BatchSize;
pub use transaction::{
    Answer, CALL_TIMEOUT, Call, DECISION_TIMEOUT, Next, Offsets, Outcome, Recovery, Transactions,
};
pub use window::{Completion, Window};
