//! Watches what comes out while the run is under way: when, not what.

use super::Client;
use anyhow::{Context, Result};
use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(100);

/// A partition counts as flowing at a moment if something came out of it in the time before.
const FLOWING: Duration = Duration::from_secs(3);

/// When records came out, and of which partition.
#[derive(Debug, Default)]
pub struct Arrivals {
    times: Mutex<Times>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Times {
    count: usize,
    /// Ascending.
    lanes: BTreeMap<i32, Vec<Instant>>,
}

impl Arrivals {
    /// So many came out up to now.
    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// Waits until so many came out; false if they did not within `limit`.
    pub fn wait_for(&self, count: usize, limit: Duration) -> bool {
        let missing = |times: &mut Times| times.count < count;
        let waited = self
            .more
            .wait_timeout_while(self.lock(), limit, missing)
            .unwrap_or_else(PoisonError::into_inner);
        waited.0.count >= count
    }

    /// When, after `moment`, something had come out of every partition that was flowing at `before`; None if that has
    /// not happened.
    pub fn flow_again(&self, before: Instant, moment: Instant) -> Option<Instant> {
        let times = self.lock();
        let firsts = times
            .flowing(before)
            .map(|lane| lane.get(lane.partition_point(|at| *at <= moment)).copied());
        let firsts: Option<Vec<Instant>> = firsts.collect();
        // If nothing was flowing, any record shows that something is now.
        let any = || {
            times
                .lanes
                .values()
                .filter_map(|lane| lane.last())
                .find(|at| **at > moment)
        };
        firsts?.into_iter().max().or_else(|| any().copied())
    }

    /// The longest time without a record of some partition that was flowing at the first of these moments.
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let times = self.lock();
        let gaps = times.flowing(from).map(|lane| gap(lane, from, to));
        gaps.max().unwrap_or_default()
    }

    fn arrived(&self, partition: i32) {
        let mut times = self.lock();
        times.count += 1;
        times
            .lanes
            .entry(partition)
            .or_default()
            .push(Instant::now());
        self.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Times {
    fn flowing(&self, moment: Instant) -> impl Iterator<Item = &Vec<Instant>> {
        self.lanes.values().filter(move |lane| {
            let before = lane.partition_point(|at| *at <= moment).checked_sub(1);
            before.is_some_and(|last| moment - lane[last] <= FLOWING)
        })
    }
}

fn gap(lane: &[Instant], from: Instant, to: Instant) -> Duration {
    let first = lane.partition_point(|at| *at <= from);
    let last = lane.partition_point(|at| *at <= to);
    let mut before = from;
    let mut longest = Duration::ZERO;
    for at in lane[first..last].iter().copied().chain([to]) {
        longest = longest.max(at.saturating_duration_since(before));
        before = at;
    }
    longest
}

/// A thread that reads a topic as it grows; it ends when dropped.
#[derive(Debug)]
pub struct Follower {
    arrivals: Arc<Arrivals>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Follows all partitions of a topic that exists, from their beginning, committed records only.
    pub fn start(client: &Client, topic: &str, partitions: i32) -> Result<Self> {
        let consumer = client.consumer("prove-follower", "read_committed")?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list).context("following the output")?;
        let arrivals = Arc::new(Arrivals::default());
        let ends = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("follower".to_owned());
        let thread = thread.spawn({
            let (arrivals, ends) = (Arc::clone(&arrivals), Arc::clone(&ends));
            move || {
                while !ends.load(Ordering::Acquire) {
                    // Errors pass: Kafka is killed now and then. What was missed shows in the final read.
                    if let Some(Ok(message)) = consumer.poll(POLL) {
                        arrivals.arrived(message.partition());
                    }
                }
            }
        })?;
        Ok(Self {
            arrivals,
            ends,
            thread: Some(thread),
        })
    }

    /// What it saw, and will see.
    pub fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the arrivals it missed fail the run.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_stands_still_shows_beside_one_that_flows() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let lanes = [
            (0, (0..50).map(|tenth| at(100 * tenth)).collect()),
            (1, vec![at(50), at(4_000)]),
        ];
        let arrivals = Arrivals {
            times: Mutex::new(Times {
                count: 52,
                lanes: lanes.into(),
            }),
            more: Condvar::new(),
        };
        assert_eq!(arrivals.longest_gap(at(100), at(4_900)).as_millis(), 3_900);
        assert_eq!(arrivals.flow_again(at(100), at(1_000)), Some(at(4_000)));
        // Long before, nothing had come out of partition 1: it is not expected to flow.
        assert_eq!(arrivals.flow_again(at(3_900), at(3_950)), Some(at(4_000)));
        assert_eq!(arrivals.flow_again(at(4_850), at(4_950)), None);
    }
}
