//! What the consumer tells the outside while it runs: a line a second, and metrics.

use crate::delivery::{Content, Delivery};
use crate::stages::{Names, times};
use crate::tally::Tally;
use pipeline::kafka::{FeedControl, TopicPartition};
use pipeline::say;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_secs(1);
/// A group that nobody was killed in gives partitions within this time.
const PATIENCE: Duration = Duration::from_secs(4);

/// Counts and prints.
#[derive(Debug)]
pub struct Status {
    control: FeedControl,
    /// What the sinks have been given.
    pub tally: Tally,
    last_line: Instant,
    /// Asking Kafka for the ends of partitions takes a moment; the answer is printed with the next line.
    asking: Option<JoinHandle<Vec<(TopicPartition, i64)>>>,
    lags: Option<Vec<(TopicPartition, i64)>>,
    /// Stages whose times are in the metrics.
    stages: Names,
    undecodable: u64,
    next_warning: Option<Instant>,
    /// Since when no partition is ours; None once that was said, or is not so.
    idle_since: Option<Instant>,
}

impl Status {
    /// Begins to count.
    pub fn new(control: FeedControl) -> Self {
        Self {
            control,
            tally: Tally::default(),
            last_line: Instant::now(),
            asking: None,
            lags: None,
            stages: Names::default(),
            undecodable: 0,
            next_warning: None,
            idle_since: Some(Instant::now()),
        }
    }

    /// A record came from Kafka.
    pub fn received(&mut self, delivery: &Delivery) {
        let topic = delivery.tp.topic.to_string();
        metrics::counter!("framelane_consumer_records_total", "topic" => topic, "kind" => delivery.word())
            .increment(1);
        if let Some(frame) = delivery.frame() {
            let latency_ns = delivery
                .received_unix_ns
                .saturating_sub(frame.capture_time_unix_ns);
            metrics::histogram!("framelane_consumer_latency_seconds")
                .record(latency_ns as f64 / 1e9);
            for time in times(frame, delivery.received_unix_ns) {
                if self.stages.admit(time.stage) {
                    let parts = [("before", time.before_ns), ("inside", time.inside_ns)];
                    for (part, ns) in parts {
                        metrics::histogram!("framelane_consumer_stage_seconds",
                            "stage" => time.stage.to_owned(), "part" => part)
                        .record(ns as f64 / 1e9);
                    }
                }
            }
        }
        if let Content::Undecodable(cause) = &delivery.content {
            self.warn_of_undecodable(delivery, cause);
        }
    }

    /// Once a second at most: a topic full of them must not fill a disk with warnings.
    fn warn_of_undecodable(&mut self, delivery: &Delivery, cause: &str) {
        self.undecodable += 1;
        let now = Instant::now();
        if self.next_warning.is_none_or(|next| now >= next) {
            self.next_warning = Some(now + EVERY);
            let (record, so_far) = (delivery.place(), self.undecodable);
            tracing::warn!(
                record,
                cause,
                so_far,
                "a record is no message of ours; going on"
            );
        }
    }

    /// When [`Status::print_if_due`] next prints.
    pub fn next_due(&self) -> Instant {
        self.last_line + EVERY
    }

    /// Prints the line of the second; returns the time since the last one. `positions`: the next offset of each partition.
    pub fn print_if_due(
        &mut self,
        now: Instant,
        positions: impl FnOnce() -> Vec<(TopicPartition, i64)>,
    ) -> Option<Duration> {
        if now < self.next_due() {
            return None;
        }
        let since = now - self.last_line;
        let all = self.lags.as_ref().filter(|lags| !lags.is_empty());
        let lag = all.map(|lags| lags.iter().map(|(_, lag)| lag).sum());
        say(self.tally.line(since, lag));
        self.last_line = now;
        if self.asking.as_ref().is_none_or(JoinHandle::is_finished) {
            let (control, positions) = (self.control.clone(), positions());
            let asking = tokio::task::spawn_blocking(move || lags(&control, positions));
            self.asking = Some(asking);
        }
        Some(since)
    }

    /// Says once why nothing comes. `is_idle`: no partition is ours.
    pub fn tell_of_waiting(&mut self, now: Instant, is_idle: bool) {
        if !is_idle {
            self.idle_since = None;
        } else if let Some(since) = self.idle_since.take_if(|since| now - *since >= PATIENCE) {
            let waited = now - since;
            tracing::info!(
                ?waited,
                "waiting for Kafka to give this consumer a partition: others of its group have them all, or one that was \
                 killed keeps its own until its session is over (6 s; a name with --instance gets them back at once)"
            );
        }
    }

    /// Records of a partition that waited in Kafka a moment ago; None: not known.
    pub fn lag_of(&self, tp: &TopicPartition) -> Option<i64> {
        let lags = self.lags.as_ref()?;
        lags.iter().find(|(of, _)| of == tp).map(|(_, lag)| *lag)
    }

    /// Takes the answer of the last question, if it is there.
    pub async fn refresh_lag(&mut self) {
        if let Some(asking) = self.asking.take_if(|asking| asking.is_finished()) {
            self.lags = asking.await.ok();
        }
    }

    /// Waits for what is under way.
    pub async fn end(&mut self) {
        if let Some(asking) = self.asking.take() {
            let _ = asking.await; // only a number for people
        }
    }
}

/// A record is not where it belongs.
pub fn count_anomaly(delivery: &Delivery) {
    let verdict = &delivery.verdict;
    for (kind, count) in [
        ("lost", verdict.lost),
        ("duplicated", verdict.duplicated),
        ("out_of_order", verdict.out_of_order),
    ] {
        let topic = delivery.tp.topic.to_string();
        metrics::counter!("framelane_consumer_anomalies_total", "topic" => topic, "kind" => kind)
            .increment(count);
    }
}

/// Of each partition that Kafka answers about.
fn lags(
    control: &FeedControl,
    positions: Vec<(TopicPartition, i64)>,
) -> Vec<(TopicPartition, i64)> {
    let of = |(tp, next): (TopicPartition, i64)| {
        let lag = (control.end_offset(&tp)? - next).max(0);
        Some((tp, lag))
    };
    positions.into_iter().filter_map(of).collect()
}
