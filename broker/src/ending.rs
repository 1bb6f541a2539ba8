//! How a stage's run ends: told to stop, or by an error. The feed gives its lanes back, what is done is committed, and
//! there is a time at which the last commit is given up.

use anyhow::{Result, anyhow};
use pipeline::kafka::{Feed, FeedControl};
use std::thread::JoinHandle;
use std::time::Duration;

/// Beyond the drain time, what the last commit may take before the broker gives up and leaves it to its successor.
const LAST_COMMIT: Duration = Duration::from_secs(30);

/// Times are those of the engine: since its start.
#[derive(Debug)]
pub struct Ending {
    feed: FeedControl,
    drain: Duration,
    /// When a stopping broker gives up its last commit.
    give_up: Option<Duration>,
    failure: Option<anyhow::Error>,
}

impl Ending {
    /// Of a run that goes on. Work under way gets so long when its lane goes.
    pub fn new(feed: FeedControl, drain: Duration) -> Self {
        Self {
            feed,
            drain,
            give_up: None,
            failure: None,
        }
    }

    /// How long work under way gets when its lane goes.
    pub fn drain(&self) -> Duration {
        self.drain
    }

    /// Work under way gets no time any more.
    pub fn skip_drain(&mut self) {
        self.drain = Duration::ZERO;
    }

    pub fn has_begun(&self) -> bool {
        self.give_up.is_some()
    }

    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// When the last commit is given up.
    pub fn deadline(&self) -> Option<Duration> {
        self.give_up
    }

    pub fn is_given_up(&self, now: Duration) -> bool {
        self.give_up.is_some_and(|at| now >= at)
    }

    pub fn stop(&mut self, now: Duration) {
        if self.give_up.is_none() {
            self.give_up = Some(now + self.drain + LAST_COMMIT);
            self.feed.close();
        }
    }

    /// Stops; the first error is the run's.
    pub fn fail(&mut self, error: anyhow::Error, now: Duration) {
        tracing::error!("{error:#}");
        self.failure.get_or_insert(error);
        self.stop(now);
    }

    /// Stops without a last commit: nobody is there to make it.
    pub fn give_up(&mut self, error: anyhow::Error, now: Duration) {
        self.fail(error, now);
        self.give_up = Some(now);
    }

    /// There will be no more events. Unless it was told to stop, the feed's thread has panicked.
    pub fn feed_ended(&mut self, now: Duration) {
        if !self.has_begun() {
            self.give_up(
                anyhow!("the thread that reads from Kafka has panicked"),
                now,
            );
        }
    }

    /// What became of the run.
    pub fn outcome(self) -> Result<()> {
        self.failure.map_or(Ok(()), Err)
    }
}

/// Waits for the threads of the feed and of the writer, which have nothing left to do.
pub async fn join_threads(feed: Feed, writer: JoinHandle<()>) -> Result<()> {
    let join = move || (feed.close_blocking(), writer.join());
    let ((), written) = tokio::task::spawn_blocking(join).await?;
    written.map_err(|_| anyhow!("the writer thread panicked"))
}
