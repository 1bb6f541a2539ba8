//! What a source has done so far: for the status line, the summary and the metrics.

use pipeline::say;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Counters of one source. Written by its threads, read by the status line.
#[derive(Debug)]
pub struct Progress {
    source_id: String,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    acknowledged: AtomicU64,
    dropped: AtomicU64,
    epoch: AtomicU64,
    /// The next sequence; 0 before the first frame.
    next: AtomicU64,
    /// Of the newest frame: its capture time, and its width in the upper half of the size.
    captured_unix_ns: AtomicI64,
    size: AtomicU64,
    has_ended: AtomicBool,
    metrics: Metrics,
}

/// What a source has done up to a moment. Its parts may be of moments that are a frame apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// 0 before the first frame can be sent.
    pub epoch: u64,
    /// Frames sent in this run.
    pub frames: u64,
    /// The newest frame's sequence.
    pub last_sequence: Option<u64>,
    /// When that was captured, nanoseconds since the Unix epoch; 0 without one.
    pub captured_unix_ns: i64,
    /// Pixels; 0 without a frame.
    pub width: u32,
    /// Pixels; 0 without a frame.
    pub height: u32,
}

struct Metrics {
    frames: metrics::Counter,
    dropped: metrics::Counter,
    bytes: metrics::Counter,
    delivery: metrics::Histogram,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Progress {
    /// Of a source that has not begun. `dropped_because` is the overload policy's name.
    pub fn new(topic: &str, source_id: &str, dropped_because: &str) -> Self {
        let (topic, source) = (topic.to_owned(), source_id.to_owned());
        let reason = dropped_because.to_owned();
        Self {
            source_id: source.clone(),
            sent: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            next: AtomicU64::new(0),
            captured_unix_ns: AtomicI64::new(0),
            size: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
            metrics: Metrics {
                frames: metrics::counter!("framelane_producer_frames_total", "topic" => topic.clone(), "source" => source.clone()),
                dropped: metrics::counter!("framelane_producer_dropped_frames_total", "source" => source, "reason" => reason),
                bytes: metrics::counter!("framelane_producer_bytes_total", "topic" => topic),
                delivery: metrics::histogram!("framelane_producer_delivery_seconds"),
            },
        }
    }

    /// The epoch is known; `next` is the sequence of its next frame.
    pub fn begin(&self, epoch: u64, next: u64) {
        self.epoch.store(epoch, Relaxed);
        self.next.store(next, Relaxed);
    }

    /// A frame was handed to Kafka's client.
    pub fn sent(&self, sequence: u64, bytes: usize) {
        self.next.store(sequence + 1, Relaxed);
        self.sent.fetch_add(1, Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// What the next frame to be sent is like.
    pub fn shows(&self, captured_unix_ns: i64, width: u32, height: u32) {
        self.captured_unix_ns.store(captured_unix_ns, Relaxed);
        let size = u64::from(width) << 32 | u64::from(height);
        self.size.store(size, Relaxed);
    }

    /// What it has done so far.
    pub fn snapshot(&self) -> Snapshot {
        let size = self.size.load(Relaxed);
        Snapshot {
            epoch: self.epoch.load(Relaxed),
            frames: self.sent.load(Relaxed),
            last_sequence: self.next.load(Relaxed).checked_sub(1),
            captured_unix_ns: self.captured_unix_ns.load(Relaxed),
            width: (size >> 32) as u32,
            height: size as u32,
        }
    }

    /// Frames were dropped under overload.
    pub fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Relaxed);
        self.metrics.dropped.increment(count);
    }

    /// Kafka has a frame.
    pub fn acknowledged(&self, bytes: usize, took: Duration) {
        self.acknowledged.fetch_add(1, Relaxed);
        self.metrics.frames.increment(1);
        self.metrics.bytes.increment(bytes as u64);
        self.metrics.delivery.record(took);
    }

    /// Nothing more comes: no more status lines either.
    pub fn end(&self) {
        self.has_ended.store(true, Relaxed);
    }

    /// `epoch 3, last sequence 41`.
    fn place(&self) -> String {
        let epoch = self.epoch.load(Relaxed);
        match self.next.load(Relaxed).checked_sub(1) {
            _ if epoch == 0 => "not started".to_owned(),
            None => format!("epoch {epoch}, no frame yet"),
            Some(last) => format!("epoch {epoch}, last sequence {last}"),
        }
    }

    /// The last line about a source.
    pub fn summary(&self, ended: &str, took: Duration) -> String {
        let sent = self.sent.load(Relaxed);
        format!(
            "{}: {ended}: {sent} frames sent, {} acknowledged, {} dropped, {}, {:.1} MB in {:.1} s ({:.1} fps)",
            self.source_id,
            self.acknowledged.load(Relaxed),
            self.dropped.load(Relaxed),
            self.place(),
            self.sent_bytes.load(Relaxed) as f64 / 1e6,
            took.as_secs_f64(),
            sent as f64 / took.as_secs_f64().max(0.001),
        )
    }
}

/// Frames a second between two looks at a source.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    before: (Instant, u64),
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            before: (Instant::now(), 0),
        }
    }
}

impl Meter {
    /// Since the last call.
    pub fn fps(&mut self, source: &Progress) -> f64 {
        let (now, sent) = (Instant::now(), source.sent.load(Relaxed));
        let fps = (sent - self.before.1) as f64 / (now - self.before.0).as_secs_f64().max(0.001);
        self.before = (now, sent);
        fps
    }
}

impl Progress {
    /// The line of a second.
    pub fn line(&self, fps: f64) -> String {
        let sent = self.sent.load(Relaxed);
        format!(
            "{}: {fps:.1} fps, {sent} sent, {} dropped, {} unacknowledged, {}",
            self.source_id,
            self.dropped.load(Relaxed),
            sent.saturating_sub(self.acknowledged.load(Relaxed)),
            self.place(),
        )
    }
}

/// How often a source at work is reported.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Prints one line a second for each source that is at work, until told to end.
pub async fn report(sources: Vec<Arc<Progress>>, end: CancellationToken) {
    let begin = tokio::time::Instant::now() + REPORT_EVERY;
    let mut ticks = tokio::time::interval_at(begin, REPORT_EVERY);
    let mut meters = vec![Meter::default(); sources.len()];
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = end.cancelled() => return,
        }
        let pairs = sources.iter().zip(&mut meters);
        for (source, meter) in pairs.filter(|(source, _)| !source.has_ended.load(Relaxed)) {
            say(source.line(meter.fps(source)));
        }
    }
}
