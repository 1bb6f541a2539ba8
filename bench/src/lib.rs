//! Benchmarks: figures of Framelane as ratios to what the field would do without it, taken in the same minute.
//!
//! - [`lab`]: a Kafka, processes under measurement, topics.
//! - [`load`]: what goes in.   [`measure`]: what comes out.
//! - [`viewers`]: many viewers of the web edge.
//! - [`baselines`]: the programs of comparison.   [`simulate`]: what no program can beat.
//! - [`cases`]: the rows of the table.   [`report`]: the table.
//!
//! `cargo xtask bench` runs it; BENCHMARKS.md says how and what came out.

pub mod baselines;
pub mod cases;
pub mod cli;
pub mod lab;
pub mod load;
pub mod measure;
pub mod report;
pub mod simulate;
pub mod viewers;
