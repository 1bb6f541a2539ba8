//! One frame to one processor: which replica, how often, how long.
//!
//! ```text
//! Caller::call ─▶ Balancer (least in flight, healthy, fair between lanes) ─▶ Replica (channel, limit, health)
//!     │ first by way of the Batcher, if the replicas ask for several frames in a call
//!     ▲ retries on another replica                     watched by Watch (addresses, health checks; target: TLS)
//! ```

mod balancer;
mod batcher;
mod caller;
mod failure;
mod replica;
mod target;
mod trust;
mod watch;

pub use balancer::Balancer;
pub use caller::{CallLimits, Caller, Outcome, Progress};
pub use target::{Target, TlsArgs, targets};
pub use watch::watch;
