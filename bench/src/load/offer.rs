//! Cameras: each frame is made at its time, whether or not the one before has been taken (an open loop).
//!
//! A frame's capture time is when it was meant to be made, so a publisher that falls behind counts as latency rather than
//! as fewer frames (no coordinated omission).

use super::{frame, picture, record, source};
use crate::lab::Topic;
use anyhow::{Context, Result, anyhow};
use pipeline::kafka::{KafkaConfig, Writer};
use pipeline::wire;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the cameras give. One camera a partition.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Frames a second of each camera.
    pub fps: u32,
    /// Of a picture.
    pub bytes: usize,
}

/// Cameras that run.
#[derive(Debug)]
pub struct Offer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Offer {
    /// Starts one camera for each partition of the topic, their frames evenly apart.
    ///
    /// # Errors
    /// There is no way to write to Kafka.
    pub fn start(servers: &str, topic: &Topic, load: Load) -> Result<Self> {
        let writer = Writer::new(&KafkaConfig::new(servers)?)?;
        let stop = Arc::new(AtomicBool::new(false));
        let cameras = Cameras {
            writer,
            topic: Arc::clone(&topic.name),
            partitions: u32::try_from(topic.partitions).context("a topic without partitions")?,
            load,
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("cameras".to_owned())
            .spawn(move || cameras.run(&stopped))?;
        Ok(Self { stop, thread })
    }

    /// Stops the cameras; returns how many frames they gave, once Kafka has them all.
    ///
    /// # Errors
    /// Kafka did not take them.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the cameras' thread panicked"))?
    }
}

struct Cameras {
    writer: Writer,
    topic: Arc<str>,
    partitions: u32,
    load: Load,
}

impl Cameras {
    fn run(&self, stop: &AtomicBool) -> Result<u64> {
        const LAST_ACKNOWLEDGEMENTS: Duration = Duration::from_secs(20);
        let picture = picture(self.load.bytes);
        let interval = Duration::from_secs(1) / (self.load.fps * self.partitions);
        let (start, start_unix_ns) = (Instant::now(), wire::now_unix_ns());
        let mut sent: u32 = 0;
        while !stop.load(Ordering::Relaxed) {
            let due = interval * sent;
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let partition = i32::try_from(sent % self.partitions).context("too many partitions")?;
            let captured = start_unix_ns + i64::try_from(due.as_nanos())?;
            let sequence = u64::from(sent / self.partitions);
            let frame = frame(&source(partition), sequence, captured, &picture);
            // What is not delivered is missed at the other end.
            drop(self.writer.send(&record(&self.topic, partition, frame))?);
            sent += 1;
        }
        self.writer.flush(LAST_ACKNOWLEDGEMENTS)?;
        Ok(u64::from(sent))
    }
}
