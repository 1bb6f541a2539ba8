//! Threads that are joined without blocking the runtime, and waits that a stop ends.

use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A running thread.
#[derive(Debug)]
pub struct Worker {
    name: String,
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

/// A thread that did not end well.
#[derive(Debug, thiserror::Error)]
pub enum WorkerFault {
    /// A defect of ours; its message is on stderr.
    #[error("thread {0:?} panicked: this is a defect of the program, please report it")]
    Panicked(String),
    /// It is stuck in a call that cannot be interrupted.
    #[error("thread {0:?} did not end within {1:?}: a device or driver hangs")]
    Hung(String, Duration),
}

impl Worker {
    /// Starts a thread.
    pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        let (ending, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _ending = ending; // dropped when the work has ended, also by a panic
                work();
            })?;
        Ok(Self {
            name: name.to_owned(),
            thread,
            ended,
        })
    }

    /// Has it ended?
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end, without holding up the runtime if it hangs.
    pub async fn join(self, at_most: Duration) -> Result<(), WorkerFault> {
        if tokio::time::timeout(at_most, self.ended).await.is_err() {
            return Err(WorkerFault::Hung(self.name, at_most));
        }
        self.thread
            .join()
            .map_err(|_| WorkerFault::Panicked(self.name))
    }
}

/// How a wait ended.
#[derive(Debug)]
pub enum Waited<T> {
    /// With what was waited for.
    Ready(T),
    /// Too late.
    TimedOut,
    /// The source is to end.
    Stopped,
}

/// Lets a thread wait until a time or a stop, whichever comes first.
#[derive(Debug, Clone)]
pub struct Pause {
    runtime: Handle,
    stop: CancellationToken,
}

impl Pause {
    /// To be made on the runtime, to be used on threads outside it.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            runtime: Handle::current(),
            stop,
        }
    }

    /// Waits for this long, or less if the source is stopped.
    pub fn wait(&self, duration: Duration) {
        if !duration.is_zero() {
            let stopped = self.stop.cancelled();
            // Both outcomes are the end of the wait; the caller asks is_stopped.
            let _ = self
                .runtime
                .block_on(async { tokio::time::timeout(duration, stopped).await });
        }
    }

    /// Waits for something to happen, for so long, or until the source is stopped.
    pub fn wait_for<T>(&self, event: impl Future<Output = T>, at_most: Duration) -> Waited<T> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Waited::Stopped,
                happened = tokio::time::timeout(at_most, event) => {
                    happened.map_or(Waited::TimedOut, Waited::Ready)
                }
            }
        })
    }

    /// Waits for another thread, stopped or not.
    pub fn join(&self, worker: Worker, at_most: Duration) -> Result<(), WorkerFault> {
        self.runtime.block_on(worker.join(at_most))
    }

    /// Is the source to end?
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}
