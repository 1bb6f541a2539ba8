//! Work that keeps a core busy, on threads of its own.
//!
//! ```text
//! call -> admission (at most `admission` calls waiting or running, else RESOURCE_EXHAUSTED)
//!      -> queue, in the order of arrival -> thread -> answer
//! ```
//! The waiting call owns its frame and its place; the queue only points to it. So a call that its caller gave up
//! frees both at once and is skipped when its turn comes.

use std::{
    collections::VecDeque,
    io,
    num::NonZeroUsize,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::Instant,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{ProcessError, Processed, Processor, counted::panic_text, v1};

/// A processor whose work blocks its thread.
pub trait BlockingProcessor: Send + Sync + 'static {
    /// See [`Processor::name`].
    fn name(&self) -> &str;

    /// See [`Processor::version`].
    fn version(&self) -> &str {
        "unversioned"
    }

    /// Looks at one frame, on one of the pool's threads; several at once.
    fn process(&self, frame: &v1::Frame) -> Result<Processed, ProcessError>;
}

/// How many threads, and how many calls for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// Threads that work; by default one a core.
    pub count: NonZeroUsize,
    /// Calls waiting or running before more are refused; by default four a thread: enough to hide the way to the
    /// caller and back, little enough that a call does not wait long for its turn.
    pub admission: NonZeroUsize,
}

impl Threads {
    /// So many threads, with the default admission for them.
    pub fn new(count: NonZeroUsize) -> Self {
        Self {
            count,
            admission: count.saturating_mul(NonZeroUsize::new(4).expect("4 is not 0")),
        }
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::new(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }
}

/// Runs a [`BlockingProcessor`] on a fixed pool of threads.
///
/// Dropping it lets running work end on its own: work that hangs cannot be ended, and must not hold up a stop.
pub struct OnThreads<P> {
    pool: Arc<Pool<P>>,
    admission: Arc<Semaphore>,
    admitted_at_most: usize,
}

impl<P: BlockingProcessor> OnThreads<P> {
    /// Starts the threads. An error means that the system has no more of them.
    pub fn start(processor: P, threads: Threads) -> io::Result<Self> {
        let pool = Arc::new(Pool {
            processor,
            queue: Mutex::default(),
            arrival: Condvar::new(),
        });
        // Made first, so that the threads that did start end if a later one does not.
        let this = Self {
            pool: Arc::clone(&pool),
            admission: Arc::new(Semaphore::new(threads.admission.get())),
            admitted_at_most: threads.admission.get(),
        };
        for number in 0..threads.count.get() {
            let pool = Arc::clone(&pool);
            thread::Builder::new()
                .name(format!("{}-{number}", pool.processor.name()))
                .spawn(move || pool.work())?;
        }
        Ok(this)
    }
}

impl<P> Drop for OnThreads<P> {
    fn drop(&mut self) {
        self.pool.lock().closed = true;
        self.pool.arrival.notify_all();
    }
}

impl<P: BlockingProcessor> Processor for OnThreads<P> {
    fn name(&self) -> &str {
        self.pool.processor.name()
    }

    fn version(&self) -> &str {
        self.pool.processor.version()
    }

    fn describe(&self) -> v1::DescribeResponse {
        v1::DescribeResponse {
            name: self.name().into(),
            version: self.version().into(),
            max_in_flight: u32::try_from(self.admitted_at_most).unwrap_or(u32::MAX),
            needs_pixels: true,
            ..v1::DescribeResponse::default()
        }
    }

    async fn process(&self, frame: v1::Frame) -> Result<Processed, ProcessError> {
        let place = Arc::clone(&self.admission)
            .try_acquire_owned()
            .map_err(|_| {
                ProcessError::Busy(format!(
                    "{} calls are waiting or running here already",
                    self.admitted_at_most
                ))
            })?;
        let (answer, answered) = oneshot::channel();
        let call = Arc::new(Call {
            frame,
            _place: place,
        });
        self.pool.push(
            Waiting {
                call: Arc::downgrade(&call),
                answer,
            },
            self.admitted_at_most,
        );
        let result = answered.await.unwrap_or_else(|_| {
            Err(ProcessError::Failed(
                "the thread ended without an answer".into(),
            ))
        });
        drop(call);
        result
    }
}

/// An admitted call. Whoever holds it keeps its place: the caller while it waits, and the thread that works on it.
struct Call {
    frame: v1::Frame,
    _place: OwnedSemaphorePermit,
}

struct Waiting {
    call: Weak<Call>,
    answer: oneshot::Sender<Result<Processed, ProcessError>>,
}

struct Pool<P> {
    processor: P,
    queue: Mutex<Queue>,
    arrival: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    closed: bool,
}

impl<P> Pool<P> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole between any two of its operations, so a panic elsewhere cannot have broken it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, waiting: Waiting, admitted_at_most: usize) {
        let mut queue = self.lock();
        // Only abandoned calls can make the queue longer than admission allows. If every thread hangs, nobody
        // takes them out at their turn.
        if queue.waiting.len() >= admitted_at_most {
            queue
                .waiting
                .retain(|waiting| waiting.call.strong_count() > 0);
        }
        queue.waiting.push_back(waiting);
        drop(queue);
        self.arrival.notify_one();
    }

    /// The next in line, in the order of arrival; `None` when the pool is closed.
    fn next(&self) -> Option<Waiting> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(waiting) = queue.waiting.pop_front() {
                return Some(waiting);
            }
            queue = self
                .arrival
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<P: BlockingProcessor> Pool<P> {
    fn work(&self) {
        while let Some(Waiting { call, answer }) = self.next() {
            let Some(call) = call.upgrade() else {
                continue; // its caller is gone
            };
            let result = self.process(&call.frame);
            // Before the answer: who has it may call again at once and find the place free.
            drop(call);
            // A caller that left meanwhile needs no answer.
            let _ = answer.send(result);
        }
    }

    fn process(&self, frame: &v1::Frame) -> Result<Processed, ProcessError> {
        let started = Instant::now();
        // The processor may have left its own state half changed: that is its business (a poisoned mutex tells
        // it); the pool's state is not touched inside.
        let result = panic::catch_unwind(AssertUnwindSafe(|| self.processor.process(frame)));
        match result {
            Ok(processed) => processed.map(|processed| match processed.took {
                Some(_) => processed,
                None => processed.took(started.elapsed()),
            }),
            Err(panic) => Err(ProcessError::Failed(format!(
                "the processor panicked: {}",
                panic_text(&*panic)
            ))),
        }
    }
}
