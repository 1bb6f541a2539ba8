//! What every test needs: a Kafka, processes, frames, and a look at what came of them.

mod browser;
mod foreign;
mod frames;
mod kafka;
mod lab;
mod lines;
mod process;
mod receiver;
mod wait;
mod web;

pub use browser::Browser;
pub use foreign::{add_partitions, create_foreign_topic, create_small_topic, delete_topic};
pub use frames::{
    Follower, Seen, assert_complete, clip, frame, ids_of, large_frame, offsets_used, publish,
    publish_raw, publish_records, publish_while, read_committed,
};
pub use kafka::{name, shared, topic};
pub use lab::{Lab, lines_so_far};
pub use lines::{Lines, consume, pictures};
pub use process::{Process, broker, processor, program, run, run_ok, scrape};
pub use receiver::{Receiver, Request};
pub use wait::wait_for;
pub use web::{Answer, Door, Gateway, Socket, get, request, send};
