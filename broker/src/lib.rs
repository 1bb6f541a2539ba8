//! Ordered dispatch: every frame of the input topics goes to a processor, many at once, and leaves in order with one
//! more result, exactly once.
//!
//! ```text
//!            Feed ──▶ engine ──▶ work (one task per frame) ──▶ calls: balancer ──▶ replicas
//! Kafka ──▶ (threads)   │ ▲            │ completion
//!                       ▼ └────────────┘
//!            Kafka ◀── writer thread (transactions)
//! ```
//! The engine is one task that owns the ordering core; everything else talks to it by messages. `join` puts branches of a
//! stream together; `managed` runs the stages that the registry declares.

mod args;
mod calls;
mod ending;
mod engine;
mod join;
mod lanes;
mod managed;
mod note;
mod output;
mod policy;
mod rates;
mod refused;
mod report;
mod run;
mod status;
mod topics;
mod work;
mod writer;

pub use args::{Args, Config};
pub use run::run;
