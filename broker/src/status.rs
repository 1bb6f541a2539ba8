//! What people and monitors see: a line a second, metrics, and a word when a lane is stuck.

use crate::args::Guarantee;
use crate::calls::Balancer;
use crate::lanes::Lanes;
use crate::output::Output;
use pipeline::kafka::{FeedControl, TopicPartition};
use pipeline::ordering::{Delivery, LaneId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Status {
    watchdog: Duration,
    guarantee: Guarantee,
    start: Instant,
    /// Records whose work is done.
    frames: u64,
    /// Records whose place in the output is committed.
    committed: u64,
    failed: u64,
    frames_before: u64,
    last_line: Instant,
    /// Where each lane has been stuck, since when, and whether that was said.
    stuck: HashMap<LaneId, (i64, Instant, bool)>,
    /// Records behind, all lanes together; asked for on a thread of its own. -1: not known yet.
    lag: Arc<AtomicI64>,
    lag_task: Option<tokio::task::JoinHandle<()>>,
}

impl Status {
    pub fn new(watchdog: Duration, guarantee: Guarantee) -> Self {
        Self {
            watchdog,
            guarantee,
            start: Instant::now(),
            frames: 0,
            committed: 0,
            failed: 0,
            frames_before: 0,
            last_line: Instant::now(),
            stuck: HashMap::new(),
            lag: Arc::new(AtomicI64::new(-1)),
            lag_task: None,
        }
    }

    pub fn count(&mut self, lane: &TopicPartition, outcome: &'static str) {
        self.frames += 1;
        self.failed += u64::from(matches!(outcome, "error" | "timeout" | "undecodable"));
        metrics::counter!("framelane_broker_frames_total", "topic" => lane.topic.to_string(),
            "partition" => lane.partition.to_string(), "outcome" => outcome)
        .increment(1);
    }

    pub fn commit(&mut self, records: usize) {
        self.committed += records as u64;
    }

    pub fn every_second(
        &mut self,
        delivery: &Delivery<Output>,
        lanes: &Lanes,
        balancer: &Balancer,
        feed: &FeedControl,
    ) {
        self.measure_lag(lanes, feed);
        self.line(delivery, lanes, balancer);
        self.watch(delivery, lanes, balancer);
    }

    fn line(&mut self, delivery: &Delivery<Output>, lanes: &Lanes, balancer: &Balancer) {
        let fps =
            (self.frames - self.frames_before) as f64 / self.last_line.elapsed().as_secs_f64();
        self.last_line = Instant::now();
        self.frames_before = self.frames;
        let (up, replicas, in_flight) = balancer.summary();
        let mut slots = 0;
        for (id, lane) in lanes.iter() {
            let taken = delivery.slots(id);
            slots += taken;
            let labels = [
                ("topic", lane.tp.topic.to_string()),
                ("partition", lane.tp.partition.to_string()),
            ];
            metrics::gauge!("framelane_broker_window_slots", &labels).set(taken as f64);
            metrics::gauge!("framelane_broker_window_bytes", &labels).set(lane.bytes as f64);
        }
        for (replica, calls) in balancer.in_flight() {
            metrics::gauge!("framelane_broker_in_flight", "replica" => replica.to_string())
                .set(calls as f64);
        }
        metrics::gauge!("framelane_broker_replicas", "state" => "up").set(up as f64);
        metrics::gauge!("framelane_broker_replicas", "state" => "down").set((replicas - up) as f64);
        let lag = match self.lag.load(Ordering::Relaxed) {
            ..0 => "?".to_owned(),
            lag => lag.to_string(),
        };
        eprintln!(
            "{fps:.1} fps, {in_flight} calls in flight, {slots} frames waiting, lag {lag}, {} failed, \
             {up}/{replicas} processors up, {} partitions",
            self.failed,
            lanes.iter().count(),
        );
    }

    /// Asks Kafka for the ends of the partitions, unless the last answer is still awaited.
    fn measure_lag(&mut self, lanes: &Lanes, feed: &FeedControl) {
        if self
            .lag_task
            .as_ref()
            .is_some_and(|task| !task.is_finished())
        {
            return;
        }
        let positions: Vec<_> = lanes
            .iter()
            .map(|(_, lane)| (lane.tp.clone(), lane.position))
            .collect();
        let (feed, total) = (feed.clone(), Arc::clone(&self.lag));
        self.lag_task = Some(tokio::task::spawn_blocking(move || {
            let mut sum = 0;
            for (lane, position) in positions {
                let Some(end) = feed.end_offset(&lane) else {
                    continue;
                };
                let lag = (end - position).max(0);
                sum += lag;
                metrics::gauge!("framelane_broker_lag_records", "topic" => lane.topic.to_string(),
                    "partition" => lane.partition.to_string())
                .set(lag as f64);
            }
            total.store(sum, Ordering::Relaxed);
        }));
    }

    /// A lane whose oldest frame has been the same for too long is reported, once.
    fn watch(&mut self, delivery: &Delivery<Output>, lanes: &Lanes, balancer: &Balancer) {
        let now = Instant::now();
        let fronts: Vec<_> = delivery.fronts().collect();
        self.stuck.retain(|lane, (offset, ..)| {
            fronts
                .iter()
                .any(|(id, front, _)| id == lane && front == offset)
        });
        for (id, offset, is_done) in fronts {
            let (_, since, told) = self.stuck.entry(id).or_insert((offset, now, false));
            let time = now.duration_since(*since);
            let Some(lane) = lanes.get(id).filter(|_| !*told && time >= self.watchdog) else {
                continue;
            };
            *told = true;
            let (frame, progress) = match lane.under_way.get(&offset) {
                Some((frame, progress)) => (frame.to_string(), format!("{:?}", progress.get())),
                None => ("processed".to_owned(), "-".to_owned()),
            };
            let cause = if is_done {
                "Kafka does not take the results".to_owned()
            } else {
                let (up, replicas, _) = balancer.summary();
                format!("{progress}, {up}/{replicas} processors up")
            };
            tracing::error!(lane = %lane.tp, offset, frame, cause, time_s = time.as_secs(),
                "no progress: everything behind this frame waits for it");
        }
    }

    pub fn summary(&self) {
        let guarantee = match self.guarantee {
            Guarantee::ExactlyOnce => "exactly once",
            Guarantee::AtLeastOnce => "at least once",
        };
        let time_s = self.start.elapsed().as_secs_f64();
        tracing::info!(
            "stopped after {time_s:.0} s: {} records written, {guarantee}; {} failed",
            self.committed,
            self.failed
        );
        match self.frames.saturating_sub(self.committed) {
            0 => {}
            rest => tracing::info!(
                "{rest} finished results came too late to be written: their frames are processed again"
            ),
        }
    }
}
