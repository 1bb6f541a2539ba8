//! All sinks: each gets every record in the same order, none may fall behind by more than its queue.

use crate::delivery::Delivery;
use crate::progress::Progress;
use crate::sinks::{
    Checkpoint, EVENTS_PER_SINK, Job, OpenSink, SinkEvent, SinkFailure, SinkThread,
};
use pipeline::kafka::TopicPartition;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Why the sinks cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// One of them said why.
    #[error(transparent)]
    Failed(#[from] SinkFailure),
    /// One of them ended without a word.
    #[error("sink {0} panicked: this is a bug, please report it with the lines above")]
    Panicked(String),
}

/// The running sinks.
#[derive(Debug)]
pub struct Crew {
    sinks: Vec<SinkThread>,
    events: mpsc::Receiver<SinkEvent>,
    /// Every record before it has been given out.
    last_checkpoint: u64,
    /// Sinks that have not yet brought the last checkpoint to safety.
    unsafe_sinks: usize,
    has_quit: bool,
}

impl Crew {
    /// Starts them.
    pub fn start(open: Vec<OpenSink>) -> io::Result<Self> {
        let (sender, events) = mpsc::channel(EVENTS_PER_SINK * open.len().max(1));
        let sinks: io::Result<Vec<_>> = open
            .into_iter()
            .map(|sink| SinkThread::spawn(sink, sender.clone()))
            .collect();
        Ok(Self {
            sinks: sinks?,
            events,
            last_checkpoint: 0,
            unsafe_sinks: 0,
            has_quit: false,
        })
    }

    /// Gives a record to all; waits for the slowest one's queue.
    pub async fn give(&mut self, delivery: &Arc<Delivery>) -> Result<(), CrewError> {
        self.send(|| Job::Record(Arc::clone(delivery))).await
    }

    /// Tells all that what they had of a partition says nothing of the records that come.
    pub async fn forget(&mut self, tp: &TopicPartition) -> Result<(), CrewError> {
        self.send(|| Job::Forget(tp.clone())).await
    }

    /// Asks all to bring everything given so far to safety. Ask again only when [`Crew::is_safe`].
    pub async fn begin_checkpoint(&mut self, progress: Progress) -> Result<(), CrewError> {
        self.last_checkpoint += 1;
        self.unsafe_sinks = self.sinks.len();
        let checkpoint = Arc::new(Checkpoint {
            id: self.last_checkpoint,
            progress,
        });
        self.send(|| Job::Checkpoint(Arc::clone(&checkpoint))).await
    }

    /// True if the last checkpoint is safe with all sinks.
    pub fn is_safe(&self) -> bool {
        self.unsafe_sinks == 0
    }

    /// True if a person has closed a window.
    pub fn has_quit(&self) -> bool {
        self.has_quit
    }

    /// Waits until something changes. Cancel-safe.
    pub async fn changed(&mut self) -> Result<(), CrewError> {
        match self.events.recv().await {
            Some(event) => self.apply(event),
            None => Err(self.panicked()),
        }
    }

    fn apply(&mut self, event: SinkEvent) -> Result<(), CrewError> {
        match event {
            SinkEvent::Safe { checkpoint } if checkpoint == self.last_checkpoint => {
                self.unsafe_sinks -= 1;
            }
            SinkEvent::Safe { .. } => {}
            SinkEvent::Quit => self.has_quit = true,
            SinkEvent::Failed(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    async fn send(&mut self, job: impl Fn() -> Job) -> Result<(), CrewError> {
        for at in 0..self.sinks.len() {
            if self.sinks[at].jobs.send(job()).await.is_err() {
                return Err(self.why_closed(at).await);
            }
        }
        Ok(())
    }

    /// A sink closes its queue only after it has said why it failed.
    async fn why_closed(&mut self, at: usize) -> CrewError {
        while let Ok(event) = self.events.try_recv() {
            if let Err(failure) = self.apply(event) {
                return failure;
            }
        }
        CrewError::Panicked(self.sinks[at].name.clone())
    }

    fn panicked(&self) -> CrewError {
        let ended = self.sinks.iter().find(|sink| sink.thread.is_finished());
        CrewError::Panicked(ended.map_or_else(String::new, |sink| sink.name.clone()))
    }

    /// Lets all sinks finish; waits for them. The first failure is returned, after all have ended.
    pub async fn finish(self) -> Result<(), CrewError> {
        let Self {
            sinks, mut events, ..
        } = self;
        let mut threads = Vec::new();
        for sink in sinks {
            drop(sink.jobs);
            threads.push((sink.name, sink.thread));
        }
        let mut result = Ok(());
        while let Some(event) = events.recv().await {
            if let SinkEvent::Failed(failure) = event {
                tracing::error!(%failure);
                result = result.and(Err(failure.into()));
            }
        }
        for (name, thread) in threads {
            // All have dropped their end of `events`: they are at their last instruction.
            if thread.join().is_err() {
                result = result.and(Err(CrewError::Panicked(name)));
            }
        }
        result
    }
}
