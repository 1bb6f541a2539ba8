//! One frame to one processor: which replica, how often, how long.
//!
//! ```text
//! Caller::call ─▶ Balancer (least in flight, healthy, fair between lanes) ─▶ Replica (channel, limit, health)
//!     ▲ retries on another replica                     watched by Watch (addresses, health checks)
//! ```

mod balancer;
mod caller;
mod failure;
mod replica;
mod watch;

pub use balancer::Balancer;
pub use caller::{CallLimits, Caller, Outcome, Progress};
pub use watch::watch;
