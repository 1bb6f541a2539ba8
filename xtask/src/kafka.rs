//! `cargo xtask kafka`: a Kafka for as long as a person wants one.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use kafka_node::{Kafka, Options};

use crate::interrupt::Interrupt;

/// How soon Ctrl-C is seen.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

pub fn run() -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let kafka = Kafka::find_or_start(&Options::from_env()?)?;
    eprintln!(
        "Kafka ({}) answers; Ctrl-C ends this. In other terminals:",
        kafka.provider()
    );
    println!(
        "export KAFKA_BOOTSTRAP_SERVERS={}",
        kafka.bootstrap_servers()
    );
    while !interrupt.is_asked() {
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}
