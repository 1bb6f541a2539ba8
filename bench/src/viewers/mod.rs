//! Many viewers in one process: each takes frames by WebSocket or MJPEG and throws their pictures away.
//!
//! What is not looked at is discarded in the kernel (`MSG_TRUNC`): viewers that copied every picture would take as much of
//! the machine as the server under measurement.

mod connection;
pub mod sockets;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use connection::Connection;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connections are made so many at a time.
const AT_ONCE: usize = 50;

/// The viewers, and how long they watch.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// `HOST:PORT`
    #[arg(long)]
    pub address: String,
    /// Of the stream.
    #[arg(long)]
    pub path: String,
    #[arg(long, value_enum)]
    pub way: Way,
    #[arg(long)]
    pub viewers: usize,
    /// Not measured
    #[arg(long, default_value_t = 3.0)]
    pub warm_up_seconds: f64,
    #[arg(long)]
    pub seconds: f64,
    /// More viewers, that take nothing; not measured
    #[arg(long, default_value_t = 0)]
    pub stalled: usize,
    /// More viewers, that take so many bytes a second; not measured
    #[arg(long, default_value_t = 0)]
    pub slow: usize,
    #[arg(long, default_value_t = 50_000)]
    pub slow_bytes_per_second: u64,
}

/// How frames are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    Websocket,
    Mjpeg,
}

/// What the viewers saw.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Seen {
    pub viewers: usize,
    pub frames: u64,
    /// Frames between the first and the last of a viewer that it did not get.
    pub missed: u64,
    /// From a frame's capture to its last byte at the viewer, milliseconds.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Seen {
    /// The part of the frames that came, 0 to 1.
    pub fn share(&self) -> f64 {
        self.frames as f64 / (self.frames + self.missed).max(1) as f64
    }
}

/// One frame, as a viewer got it.
#[derive(Debug, Clone, Copy)]
struct Frame {
    sequence: u64,
    age: Duration,
}

/// Watches, and prints what was seen as JSON.
///
/// # Errors
/// A viewer is refused, or cut off.
pub fn run(args: &Args) -> Result<()> {
    rlimit::increase_nofile_limit(u64::MAX).context("raising the number of open files")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let seen = runtime.block_on(watch(args))?;
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

async fn watch(args: &Args) -> Result<Seen> {
    let mut connections = Vec::new();
    while connections.len() < args.viewers + args.stalled + args.slow {
        let wanted = args.viewers + args.stalled + args.slow - connections.len();
        let opening =
            (0..wanted.min(AT_ONCE)).map(|_| Connection::open(&args.address, &args.path, args.way));
        connections.extend(futures::future::try_join_all(opening).await?);
    }
    let _stalled: Vec<_> = connections.drain(..args.stalled).collect();
    let mut slow = JoinSet::new();
    for connection in connections.drain(..args.slow) {
        slow.spawn(connection.trickle(args.slow_bytes_per_second));
    }
    let begin = Instant::now() + Duration::from_secs_f64(args.warm_up_seconds);
    let end = begin + Duration::from_secs_f64(args.seconds);
    let mut viewers = JoinSet::new();
    for connection in connections {
        viewers.spawn(look(connection, begin, end));
    }
    let mut ages = histogram();
    let mut missed = 0;
    while let Some(viewer) = viewers.join_next().await {
        let view = viewer??;
        ages.add(&view.ages_us)?;
        missed += view.missed;
    }
    slow.shutdown().await;
    ensure!(
        !ages.is_empty(),
        "no viewer saw a frame in the time that was measured"
    );
    let ms = |us: u64| us as f64 / 1e3;
    Ok(Seen {
        viewers: args.viewers,
        frames: ages.len(),
        missed,
        p50_ms: ms(ages.value_at_quantile(0.5)),
        p99_ms: ms(ages.value_at_quantile(0.99)),
        max_ms: ms(ages.max()),
    })
}

struct View {
    ages_us: Histogram<u64>,
    missed: u64,
}

async fn look(mut connection: Connection, begin: Instant, end: Instant) -> Result<View> {
    let mut view = View {
        ages_us: histogram(),
        missed: 0,
    };
    let mut last = None;
    // A viewer that gets nothing any more is at its end too.
    while let Ok(frame) = tokio::time::timeout_at(end, connection.frame()).await {
        let frame = frame?;
        if Instant::now() >= begin {
            let age_us = u64::try_from(frame.age.as_micros()).unwrap_or(u64::MAX);
            view.ages_us.saturating_record(age_us.max(1));
            let after = last.map_or(0, |last| frame.sequence.saturating_sub(last + 1));
            view.missed += after;
            last = Some(frame.sequence);
        }
    }
    Ok(view)
}

/// Up to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("these bounds are in order")
}
