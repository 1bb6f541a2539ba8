//! What people and monitors see: a line a second, metrics, and a word when a lane is stuck.

use crate::args::Guarantee;
use crate::calls::Balancer;
use crate::lanes::Lanes;
use crate::output::Output;
use crate::report::{LaneReport, ReplicaReport, StageReport};
use metrics::Label;
use pipeline::kafka::{FeedControl, TopicPartition};
use pipeline::ordering::{Delivery, LaneId};
use pipeline::say;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Where the report of the second goes.
#[derive(Debug)]
pub enum Show {
    /// To a person, as a line.
    Line,
    /// To whoever runs the stage of this name.
    Report {
        stage: Arc<str>,
        reports: watch::Sender<StageReport>,
    },
}

/// Records behind, by partition; asked for on a thread of its own.
type Lags = Arc<Mutex<HashMap<TopicPartition, i64>>>;

#[derive(Debug)]
pub struct Status {
    watchdog: Duration,
    guarantee: Guarantee,
    show: Show,
    start: Instant,
    /// Records whose work is done.
    frames: u64,
    /// Records whose place in the output is committed.
    committed: u64,
    failed: u64,
    last_line: Instant,
    /// Where each lane has been stuck, since when, and whether that was said.
    stuck: HashMap<LaneId, (i64, Instant, bool)>,
    lags: Lags,
    lag_task: Option<tokio::task::JoinHandle<()>>,
}

/// What is looked at once a second.
pub struct Second<'a> {
    pub delivery: &'a Delivery<Output>,
    pub lanes: &'a mut Lanes,
    /// None: the stage calls nobody.
    pub balancer: Option<&'a Balancer>,
    pub feed: &'a FeedControl,
    /// What else each lane reads and waits for.
    pub branches: BTreeMap<LaneId, Branches>,
}

/// The other topics of a join, as one lane has them.
#[derive(Debug, Default)]
pub struct Branches {
    /// Behind the last record read.
    pub positions: Vec<(TopicPartition, i64)>,
    /// Records that wait for others, of all branches.
    pub waiting: usize,
    pub waits_for: Vec<Arc<str>>,
}

impl Status {
    pub fn new(watchdog: Duration, guarantee: Guarantee, show: Show) -> Self {
        Self {
            watchdog,
            guarantee,
            show,
            start: Instant::now(),
            frames: 0,
            committed: 0,
            failed: 0,
            last_line: Instant::now(),
            stuck: HashMap::new(),
            lags: Lags::default(),
            lag_task: None,
        }
    }

    pub fn count(&mut self, lane: &TopicPartition, outcome: &'static str) {
        self.frames += 1;
        self.failed += u64::from(matches!(outcome, "error" | "timeout" | "undecodable"));
        let mut labels = self.labels(lane);
        labels.push(Label::from_static_parts("outcome", outcome));
        metrics::counter!("framelane_broker_frames_total", labels).increment(1);
    }

    pub fn commit(&mut self, records: usize) {
        self.committed += records as u64;
    }

    pub fn every_second(&mut self, second: Second<'_>) {
        self.measure_lag(&second);
        self.watch(&second);
        self.show(second);
    }

    /// Of one partition. Where many stages run, a topic can be read by several.
    fn labels(&self, lane: &TopicPartition) -> Vec<Label> {
        let topic = Label::new("topic", lane.topic.to_string());
        let partition = Label::new("partition", lane.partition.to_string());
        let stage = self.stage_label();
        [topic, partition].into_iter().chain(stage).collect()
    }

    fn stage_label(&self) -> Option<Label> {
        match &self.show {
            Show::Line => None,
            Show::Report { stage, .. } => Some(Label::new("stage", stage.to_string())),
        }
    }

    /// Also tells the metrics.
    fn replicas(&self, balancer: &Balancer) -> Vec<ReplicaReport> {
        let replicas = balancer.replicas();
        for replica in &replicas {
            metrics::gauge!("framelane_broker_in_flight", "replica" => replica.address.to_string())
                .set(replica.in_flight as f64);
        }
        let up = replicas.iter().filter(|replica| replica.is_up).count();
        for (state, count) in [("up", up), ("down", replicas.len() - up)] {
            let mut labels = vec![Label::from_static_parts("state", state)];
            labels.extend(self.stage_label());
            metrics::gauge!("framelane_broker_replicas", labels).set(count as f64);
        }
        replicas
    }

    fn show(&mut self, second: Second<'_>) {
        let since = self.last_line.elapsed();
        self.last_line = Instant::now();
        let report = self.report(second, since);
        match &self.show {
            Show::Line => say(&report),
            Show::Report { reports, .. } => {
                reports.send_replace(report);
            }
        }
    }

    fn report(&self, second: Second<'_>, since: Duration) -> StageReport {
        let known = self
            .lags
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut report = StageReport {
            committed: self.committed,
            failed: self.failed,
            ..StageReport::default()
        };
        if let Some(balancer) = second.balancer {
            report.replicas = self.replicas(balancer);
            report.in_flight = report
                .replicas
                .iter()
                .map(|replica| replica.in_flight)
                .sum();
        }
        for (id, lane) in second.lanes.iter_mut() {
            let branches = second.branches.get(&id);
            let others = branches.map_or(&[][..], |branches| &branches.positions);
            let waiting = branches.map_or(0, |branches| branches.waiting);
            let partitions = std::iter::once(&lane.tp).chain(others.iter().map(|(tp, _)| tp));
            let lags = partitions.map(|tp| known.get(tp).copied());
            let slots = second.delivery.slots(id) + waiting;
            let labels = self.labels(&lane.tp);
            metrics::gauge!("framelane_broker_window_slots", labels.clone()).set(slots as f64);
            metrics::gauge!("framelane_broker_window_bytes", labels).set(lane.bytes as f64);
            report.lanes.push(LaneReport {
                tp: lane.tp.clone(),
                slots,
                under_way: lane.under_way.len(),
                bytes: lane.bytes,
                lag: lags
                    .collect::<Option<Vec<_>>>()
                    .map(|lags| lags.iter().sum()),
                committed: lane.rates.total(),
                recent: lane.rates.recent(since),
                waits_for: branches.map_or_else(Vec::new, |branches| branches.waits_for.clone()),
            });
        }
        report
    }

    /// Asks Kafka for the ends of the partitions, unless the last answer is still awaited.
    fn measure_lag(&mut self, second: &Second<'_>) {
        if self
            .lag_task
            .as_ref()
            .is_some_and(|task| !task.is_finished())
        {
            return;
        }
        let own = second.lanes.iter();
        let own = own.map(|(_, lane)| (lane.tp.clone(), lane.position));
        let others = second.branches.values();
        let others = others.flat_map(|branches| branches.positions.iter().cloned());
        let positions: Vec<_> = own
            .chain(others)
            .map(|(tp, position)| (self.labels(&tp), tp, position))
            .collect();
        let (feed, lags) = (second.feed.clone(), Arc::clone(&self.lags));
        self.lag_task = Some(tokio::task::spawn_blocking(move || {
            let mut found = HashMap::new();
            for (labels, tp, position) in positions {
                let Some(end) = feed.end_offset(&tp) else {
                    continue;
                };
                let lag = (end - position).max(0);
                metrics::gauge!("framelane_broker_lag_records", labels).set(lag as f64);
                found.insert(tp, lag);
            }
            *lags.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }));
    }

    /// A lane whose oldest frame has been the same for too long is reported, once.
    fn watch(&mut self, second: &Second<'_>) {
        let now = Instant::now();
        let fronts: Vec<_> = second.delivery.fronts().collect();
        self.stuck.retain(|lane, (offset, ..)| {
            fronts
                .iter()
                .any(|(id, front, _)| id == lane && front == offset)
        });
        for (id, offset, is_done) in fronts {
            let (_, since, told) = self.stuck.entry(id).or_insert((offset, now, false));
            let time = now.duration_since(*since);
            let lane = second.lanes.get(id);
            let Some(lane) = lane.filter(|_| !*told && time >= self.watchdog) else {
                continue;
            };
            *told = true;
            let (frame, progress) = match lane.under_way.get(&offset) {
                Some((frame, progress)) => (frame.to_string(), format!("{:?}", progress.get())),
                None => ("processed".to_owned(), "-".to_owned()),
            };
            let cause = match second.balancer {
                Some(balancer) if !is_done => {
                    let (up, replicas, _) = balancer.summary();
                    format!("{progress}, {up}/{replicas} processors up")
                }
                _ => "Kafka does not take the results".to_owned(),
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
        let stage = match &self.show {
            Show::Line => None,
            Show::Report { stage, .. } => Some(&**stage),
        };
        tracing::info!(
            stage,
            "stopped after {time_s:.0} s: {} records written, {guarantee}; {} failed",
            self.committed,
            self.failed
        );
        match self.frames.saturating_sub(self.committed) {
            0 => {}
            rest => tracing::info!(
                stage,
                "{rest} finished results came too late to be written: their frames are processed again"
            ),
        }
    }
}
