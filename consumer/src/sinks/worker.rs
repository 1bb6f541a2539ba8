//! The thread of one sink: takes jobs in order, answers checkpoints, finishes when its queue closes.

use super::{Flow, Kept, OpenSink, Sink, SinkError, Takes};
use crate::delivery::Delivery;
use crate::progress::Progress;
use pipeline::kafka::TopicPartition;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Records that wait for one sink. Decoded pictures live as long as the slowest sink has their record in its queue
/// (6 MB each at 1080p), so the queue only has to hide a sink's jitter.
const QUEUE: usize = 8;

/// What a sink is given, in order.
#[derive(Debug, Clone)]
pub enum Job {
    /// The next record.
    Record(Arc<Delivery>),
    /// Everything before has to survive a crash from now on.
    Checkpoint(Arc<Checkpoint>),
    /// What it had of this partition was of other records than those that come.
    Forget(TopicPartition),
}

/// A point in the order of all records, the same for every sink.
#[derive(Debug)]
pub struct Checkpoint {
    /// Counts from 1.
    pub id: u64,
    /// All records before it.
    pub progress: Progress,
}

/// What a sink says.
#[derive(Debug)]
pub enum SinkEvent {
    /// A checkpoint is done.
    Safe {
        /// The checkpoint.
        checkpoint: u64,
    },
    /// The person has seen enough.
    Quit,
    /// It cannot go on.
    Failed(SinkFailure),
}

/// A sink that cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("sink {sink} stopped{at}: {cause}")]
pub struct SinkFailure {
    /// As given on the command line.
    pub sink: String,
    /// ` at topic[partition]@offset` or ` after ...`; empty before the first record.
    at: String,
    /// Why.
    pub cause: SinkError,
}

/// A sink that runs.
#[derive(Debug)]
pub struct SinkThread {
    /// As given on the command line.
    pub name: String,
    /// Closing it lets the sink finish.
    pub jobs: mpsc::Sender<Job>,
    /// Ends when the sink has finished or failed.
    pub thread: JoinHandle<()>,
}

/// Events that a sink can have under way: the answer to one checkpoint, a wish to quit, a failure.
pub const EVENTS_PER_SINK: usize = 4;

struct Worker {
    name: String,
    sink: Box<dyn Sink>,
    kept: Option<Kept>,
    takes: Takes,
    /// What the output held at the start.
    had: Progress,
    jobs: mpsc::Receiver<Job>,
    events: mpsc::Sender<SinkEvent>,
    has_quit: bool,
    /// The newest record taken.
    last: Option<(TopicPartition, i64)>,
    is_taking: bool,
    has_finished: bool,
}

impl SinkThread {
    /// Starts a sink; it reports to `events`.
    pub fn spawn(open: OpenSink, events: mpsc::Sender<SinkEvent>) -> std::io::Result<Self> {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let runtime = Handle::current();
        let name = open.name.clone();
        let worker = Worker {
            name: open.name,
            sink: open.sink,
            had: open
                .progress
                .as_ref()
                .map_or_else(Progress::default, |kept| kept.progress.clone()),
            kept: open.progress,
            takes: open.takes,
            jobs,
            events,
            has_quit: false,
            last: None,
            is_taking: false,
            has_finished: false,
        };
        let thread = std::thread::Builder::new()
            .name(format!("sink {name}"))
            .spawn(move || worker.run(&runtime))?;
        Ok(Self {
            name,
            jobs: sender,
            thread,
        })
    }
}

impl Worker {
    fn run(mut self, runtime: &Handle) {
        if let Err(cause) = self.work(runtime) {
            if !self.has_finished {
                // What was taken before is whole: people get it. Progress stays where the last checkpoint was.
                if let Err(also) = self.sink.finish() {
                    tracing::warn!(sink = %self.name, %also, "the sink could not finish what it had");
                }
            }
            let word = if self.is_taking { "at" } else { "after" };
            let at = self
                .last
                .map(|(tp, offset)| format!(" {word} {tp}@{offset}"));
            let failure = SinkFailure {
                sink: self.name,
                at: at.unwrap_or_default(),
                cause,
            };
            // If nobody listens, the consumer has failed for another reason.
            let _ = self.events.blocking_send(SinkEvent::Failed(failure));
        }
    }

    fn work(&mut self, runtime: &Handle) -> Result<(), SinkError> {
        loop {
            let flow = match self.next(runtime) {
                Next::Job(Job::Record(delivery)) => self.take(&delivery)?,
                Next::Job(Job::Checkpoint(checkpoint)) => {
                    self.checkpoint(&checkpoint)?;
                    Flow::GoOn
                }
                Next::Job(Job::Forget(tp)) => {
                    self.forget(&tp);
                    Flow::GoOn
                }
                Next::Idle => self.sink.idle()?,
                Next::Closed => {
                    self.has_finished = true;
                    return self.sink.finish();
                }
            };
            if flow == Flow::Quit && !self.has_quit {
                self.has_quit = true;
                let _ = self.events.blocking_send(SinkEvent::Quit);
            }
        }
    }

    fn next(&mut self, runtime: &Handle) -> Next {
        let job = match self.sink.idle_every().filter(|_| !self.has_quit) {
            None => self.jobs.blocking_recv(),
            Some(pause) => {
                match runtime.block_on(async { timeout(pause, self.jobs.recv()).await }) {
                    Ok(job) => job,
                    Err(_) => return Next::Idle,
                }
            }
        };
        job.map_or(Next::Closed, Next::Job)
    }

    fn take(&mut self, delivery: &Delivery) -> Result<Flow, SinkError> {
        let is_for_others = self.takes == Takes::Passing && !delivery.passes();
        let is_unwanted = delivery.is_absence() && !self.sink.shows_absence();
        if self.has_quit
            || is_for_others
            || is_unwanted
            || self.had.is_done(&delivery.tp, delivery.offset)
        {
            return Ok(Flow::GoOn);
        }
        self.last = Some((delivery.tp.clone(), delivery.offset));
        self.is_taking = true;
        let flow = self.sink.take(delivery)?;
        self.is_taking = false;
        Ok(flow)
    }

    /// With the next checkpoint its file forgets it too.
    fn forget(&mut self, tp: &TopicPartition) {
        self.had.lanes.remove(tp);
        if let Some(kept) = &mut self.kept {
            kept.progress.lanes.remove(tp);
        }
    }

    /// First the output, then what is known of it: never the other way round.
    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), SinkError> {
        let mark = self.sink.checkpoint()?;
        if let Some(kept) = &mut self.kept {
            kept.progress.advance(&checkpoint.progress);
            kept.file
                .save(&kept.progress, mark)
                .map_err(SinkError::write(kept.file.path()))?;
        }
        let id = checkpoint.id;
        let _ = self
            .events
            .blocking_send(SinkEvent::Safe { checkpoint: id });
        Ok(())
    }
}

enum Next {
    Job(Job),
    Idle,
    Closed,
}
