//! What every test needs: a Kafka, processes, frames, and a look at what came of them.

mod frames;
mod kafka;
mod process;
mod wait;

pub use frames::{
    Follower, Seen, assert_complete, frame, ids_of, offsets_used, publish, publish_raw,
    read_committed,
};
pub use kafka::{shared, topic};
pub use process::{Process, processor};
pub use wait::wait_for;
