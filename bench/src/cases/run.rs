//! One run of a broker, or of the plain copy, through a topic that is full.

use crate::lab::{Lab, Process, Topic};
use crate::load;
use crate::measure::{Rate, follow, verify};
use anyhow::{Context, Result};

/// The plain copy commits this often: a commit takes some 10 ms, during which it reads and sends nothing.
pub const COPY_TRANSACTION: &str = "100ms";
/// Names the benchmark's broker: a restart gets its partitions back.
pub const INSTANCE: &str = "bench-0";

/// A topic with `frames` pictures of `bytes` each.
pub fn filled(lab: &Lab, partitions: i32, frames: u64, bytes: usize) -> Result<Topic> {
    let topic = lab.topic("in", partitions)?;
    load::fill(lab.servers(), &topic, frames, bytes)?;
    Ok(topic)
}

/// Starts a broker from one topic to another.
pub fn start_broker(
    lab: &Lab,
    (input, output): (&Topic, &Topic),
    processor: &str,
    group: &str,
    more: &[&str],
) -> Result<Process> {
    let mut args = vec!["--input", &*input.name, "--output", &*output.name];
    args.extend(["--processor", processor, "--group", group]);
    args.extend(more);
    if !more.contains(&"--instance") {
        args.extend(["--instance", INSTANCE]);
    }
    lab.product("broker", &args)
}

/// Starts the plain copy; in transactions of this length, if any.
pub fn start_copy(
    lab: &Lab,
    (input, output): (&Topic, &Topic),
    group: &str,
    transaction: Option<&str>,
) -> Result<Process> {
    let mut args = vec!["--bootstrap-servers", lab.servers()];
    args.extend(["--input", &*input.name, "--output", &*output.name]);
    args.extend(["--group", group, "--instance", INSTANCE]);
    args.extend(transaction.map(|_| "--transaction"));
    args.extend(transaction);
    lab.baseline("copy", &args)
}

/// Sends all frames of a topic through a broker.
pub fn through_broker(
    lab: &Lab,
    input: &Topic,
    frames: u64,
    processor: &str,
    more: &[&str],
) -> Result<Rate> {
    let (rate, broker) = through_broker_and_on(lab, input, frames, processor, more)?;
    broker.stop().context("stopping the broker")?;
    Ok(rate)
}

/// The same; the broker still runs.
pub fn through_broker_and_on(
    lab: &Lab,
    input: &Topic,
    frames: u64,
    processor: &str,
    more: &[&str],
) -> Result<(Rate, Process)> {
    let output = lab.topic("out", input.partitions)?;
    let group = lab.name("group");
    let mut broker = start_broker(lab, (input, &output), processor, &group, more)?;
    let rate = follow(lab.servers(), &group, input, frames, &mut broker)?;
    verify(lab.servers(), &output, frames).context("the broker's output")?;
    Ok((rate, broker))
}

/// Sends all frames of a topic through the plain copy, in transactions.
pub fn through_copy(lab: &Lab, input: &Topic, frames: u64) -> Result<Rate> {
    let output = lab.topic("copy", input.partitions)?;
    let group = lab.name("group");
    let mut copy = start_copy(lab, (input, &output), &group, Some(COPY_TRANSACTION))?;
    let rate = follow(lab.servers(), &group, input, frames, &mut copy)?;
    verify(lab.servers(), &output, frames).context("the copy's output")?;
    Ok(rate)
}

/// Kafka's Java compiles what it runs often: the first gigabyte through a new node is slower than all others.
pub fn warm_up(lab: &Lab) -> Result<()> {
    const FRAMES: u64 = 5_000;
    let input = filled(lab, 4, FRAMES, 100_000)?;
    for _ in 0..2 {
        through_copy(lab, &input, FRAMES)?;
    }
    Ok(())
}
