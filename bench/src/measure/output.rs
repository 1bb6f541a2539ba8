//! The viewer at the end: reads an output topic as it grows and notes when each frame came.

use crate::lab::{Topic, wait_for};
use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use pipeline::envelope::Kind;
use pipeline::kafka::{
    Feed, FeedControl, FeedEvent, Incoming, KafkaConfig, LaneBounds, Position, StartPolicy,
    TopicPartition,
};
use pipeline::wire;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The largest latency told apart.
const MAX_LATENCY_US: u64 = 600 * 1_000_000;

/// One frame that came out.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// When it was read.
    pub at: Instant,
    /// Where.
    pub partition: i32,
    /// Its place in its source.
    pub sequence: u64,
    /// Since it was meant to be made.
    pub latency_us: u64,
}

/// A viewer that reads.
#[derive(Debug)]
pub struct Output {
    control: FeedControl,
    newest: Arc<Newest>,
    thread: JoinHandle<Result<Vec<Arrival>>>,
    partitions: i32,
}

/// What a viewer can be asked while it reads.
#[derive(Debug)]
struct Newest {
    /// Frames so far.
    count: AtomicU64,
    /// By partition: when its newest frame was meant to be made, Unix nanoseconds.
    captured_unix_ns: Vec<AtomicI64>,
}

/// Everything that came out.
#[derive(Debug)]
pub struct Seen {
    /// In the order of arrival.
    pub arrivals: Vec<Arrival>,
    partitions: i32,
}

impl Output {
    /// Begins to read committed records from the oldest on.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn watch(servers: &str, topic: &Topic) -> Result<Self> {
        let lanes: Vec<_> = (0..topic.partitions)
            .map(|partition| TopicPartition::new(Arc::clone(&topic.name), partition))
            .collect();
        let bounds = LaneBounds {
            lane_records: 1000,
            lane_bytes: 64 << 20,
            total_bytes: 256 << 20,
        };
        let start = StartPolicy::new(Position::Earliest);
        let feed = Feed::assign(&KafkaConfig::new(servers)?, &lanes, start, bounds)?;
        let control = feed.control();
        let newest = Arc::new(Newest {
            count: AtomicU64::new(0),
            captured_unix_ns: lanes.iter().map(|_| AtomicI64::new(0)).collect(),
        });
        let counted = Arc::clone(&newest);
        let thread = std::thread::Builder::new()
            .name("viewer".to_owned())
            .spawn(move || read(feed, &counted))?;
        Ok(Self {
            control,
            newest,
            thread,
            partitions: topic.partitions,
        })
    }

    /// Waits until so many frames have come in all.
    ///
    /// # Errors
    /// They do not.
    pub fn wait_for(&self, frames: u64, limit: Duration) -> Result<()> {
        wait_for(&format!("{frames} frames in the output"), limit, || {
            ensure!(!self.thread.is_finished(), "the viewer has ended");
            Ok((self.count() >= frames).then_some(()))
        })
    }

    /// Frames so far.
    pub fn count(&self) -> u64 {
        self.newest.count.load(Ordering::Relaxed)
    }

    /// True if every partition's newest frame is young: nothing stands still, no backlog is being worked off.
    pub fn is_live(&self) -> bool {
        const YOUNG: Duration = Duration::from_millis(500);
        let now = wire::now_unix_ns();
        let is_young = |captured: &AtomicI64| {
            i128::from(now - captured.load(Ordering::Relaxed)) < YOUNG.as_nanos() as i128
        };
        self.newest.captured_unix_ns.iter().all(is_young)
    }

    /// Stops reading.
    ///
    /// # Errors
    /// What went wrong while reading.
    pub fn stop(self) -> Result<Seen> {
        self.control.close();
        let arrivals = self
            .thread
            .join()
            .map_err(|_| anyhow!("the viewer's thread panicked"))??;
        Ok(Seen {
            arrivals,
            partitions: self.partitions,
        })
    }
}

fn read(mut feed: Feed, newest: &Newest) -> Result<Vec<Arrival>> {
    let control = feed.control();
    let mut arrivals = Vec::new();
    while let Some(event) = feed.next_blocking() {
        match event {
            FeedEvent::Record { lane, record } => {
                let (at, now_unix_ns) = (Instant::now(), wire::now_unix_ns());
                control.release(lane, 1, record.memory_bytes());
                let arrival = arrival(&record, at, now_unix_ns)?;
                let captured = now_unix_ns - arrival.latency_us as i64 * 1000;
                newest.captured_unix_ns[arrival.partition as usize]
                    .store(captured, Ordering::Relaxed);
                arrivals.push(arrival);
                newest.count.fetch_add(1, Ordering::Relaxed);
            }
            FeedEvent::Failed(fault) => return Err(fault).context("reading the output"),
            FeedEvent::Expired { .. } => {
                return Err(anyhow!("Kafka removed records of the output"));
            }
            FeedEvent::Assigned(_) | FeedEvent::ReachedEnd { .. } | FeedEvent::Revoked { .. } => {}
        }
    }
    feed.close_blocking();
    Ok(arrivals)
}

fn arrival(record: &Incoming, at: Instant, now_unix_ns: i64) -> Result<Arrival> {
    let Kind::Frame(frame) = wire::from_record(record)? else {
        return Err(anyhow!("a record that is no frame in the output"));
    };
    let latency_ns = now_unix_ns - frame.capture_time_unix_ns;
    Ok(Arrival {
        at,
        partition: record.lane.partition,
        sequence: frame.id.map_or(0, |id| id.sequence),
        latency_us: u64::try_from(latency_ns / 1000).unwrap_or(0),
    })
}

impl Seen {
    /// Latencies of the frames that came after a time.
    ///
    /// # Errors
    /// There are none.
    pub fn latencies_us(&self, since: Instant) -> Result<Histogram<u64>> {
        let mut latencies = Histogram::new_with_max(MAX_LATENCY_US, 3)?;
        for arrival in self.arrivals.iter().filter(|arrival| arrival.at >= since) {
            latencies.saturating_record(arrival.latency_us);
        }
        ensure!(!latencies.is_empty(), "no frame came out");
        Ok(latencies)
    }

    /// The longest time without a frame, in any one partition, between two moments.
    ///
    /// # Errors
    /// A partition has no frame in that time.
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Result<Duration> {
        let gap_of = |partition| {
            let mut times: Vec<Instant> = self
                .arrivals
                .iter()
                .filter(|arrival| arrival.partition == partition)
                .map(|arrival| arrival.at)
                .filter(|at| (from..=to).contains(at))
                .collect();
            ensure!(
                !times.is_empty(),
                "no frame came out of partition {partition}"
            );
            times.insert(0, from);
            times.push(to);
            Ok(times.windows(2).map(|pair| pair[1] - pair[0]).max())
        };
        let gaps: Vec<_> = (0..self.partitions).map(gap_of).collect::<Result<_>>()?;
        gaps.into_iter()
            .flatten()
            .max()
            .context("a topic without partitions")
    }

    /// Checks that each partition gave its sequences from 0 on, each once and in order, `frames` in all.
    ///
    /// # Errors
    /// It did not.
    pub fn must_be_complete(&self, frames: u64) -> Result<()> {
        let mut next = vec![0; usize::try_from(self.partitions)?];
        for arrival in &self.arrivals {
            let next = &mut next[usize::try_from(arrival.partition)?];
            ensure!(
                arrival.sequence == *next,
                "partition {}: frame {} where {next} belongs",
                arrival.partition,
                arrival.sequence
            );
            *next += 1;
        }
        let found = self.arrivals.len() as u64;
        ensure!(found == frames, "{found} of {frames} frames came out");
        Ok(())
    }
}
