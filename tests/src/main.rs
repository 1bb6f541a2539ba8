//! Integration tests: the real binaries as processes, a real Kafka, random topics.
//!
//! Kafka is found as everywhere (`KAFKA_BOOTSTRAP_SERVERS`, Docker, jars); tests that kill Kafka start one of their own.
//! `cargo test -p framelane-tests NAME` runs one of them; logs of its processes are printed when it fails.

#![allow(clippy::unwrap_used)] // all of this is tests, helpers included

mod harness;

mod boundaries;
mod broker_delivery;
mod broker_policies;
mod consumer;
mod consumer_kills;
mod errors;
mod kafka_faults;
mod pipeline;
mod producer;
mod producer_restarts;
