//! The ordering core: an `event -> actions` machine without clock, I/O or async.
//!
//! ```text
//! Arrived ─▶ slot ─▶ Completed (any order) ─▶ done prefix ─▶ Write(batch) ─▶ Committed ─▶ Release
//!            └────────────── Window, one per lane ──────────────┘   │ Aborted: the same outputs again
//!                                                                   │ Unknown: Recover, read offsets, decide
//!            └───────────────────── Delivery, all lanes of an instance ───────────────────────────┘
//! ```
//! A frame takes its slot before any work starts, so order is a matter of construction. What is written is always the
//! contiguous done prefix, so the offset to commit is simply the one behind it: no draining, no encoding of holes.

mod delivery;
mod window;

pub use delivery::{Action, Batch, BatchLane, CommitPolicy, Delivery, Event, LaneId, Weight};
pub use window::{Completion, Window};
