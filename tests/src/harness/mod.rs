//! What every test needs: a Kafka, processes, frames, and a look at what came of them.

mod frames;
mod kafka;
mod process;
mod wait;

pub use frames::{Ids, Seen, ids_of, publish, read_committed, read_until};
pub use kafka::{config, shared, topic};
pub use process::{Process, processor};
pub use wait::wait_for;
