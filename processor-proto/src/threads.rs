//! Work that keeps a core busy, on threads of its own.
//!
//! ```text
//! call -> admission (at most `admission` calls waiting or running, else RESOURCE_EXHAUSTED and when to come back)
//!      -> a line for each caller, served in turn -> thread -> answer
//! ```
//! One caller alone may use all places; when several want them, each gets its share (see [`queue`]). A call that its
//! caller gave up leaves its line at once.

mod queue;

use std::{
    io,
    num::NonZeroUsize,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{ProcessError, Processed, Processor, counted::panic_text, processor::Caller, v1};
use queue::{Entered, Queue, Ticket};

/// A hint is no shorter: a caller that comes back at once finds the same.
const SHORTEST_WAIT: Duration = Duration::from_millis(2);
/// And no longer: what is here now may be unusually slow.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How much the newest call counts for the average of the work's time.
const NEWEST_SHARE: f64 = 0.1;

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
    threads: Threads,
}

impl<P: BlockingProcessor> OnThreads<P> {
    /// Starts the threads. An error means that the system has no more of them.
    pub fn start(processor: P, threads: Threads) -> io::Result<Self> {
        let pool = Arc::new(Pool {
            processor,
            state: Mutex::new(State {
                queue: Queue::new(threads.admission.get()),
                work_s: 0.0,
                promised: None,
                closed: false,
            }),
            arrival: Condvar::new(),
        });
        // Made first, so that the threads that did start end if a later one does not.
        let this = Self {
            pool: Arc::clone(&pool),
            threads,
        };
        for number in 0..threads.count.get() {
            let pool = Arc::clone(&pool);
            thread::Builder::new()
                .name(format!("{}-{number}", pool.processor.name()))
                .spawn(move || pool.work())?;
        }
        Ok(this)
    }

    /// Puts the call into its caller's line, and tells one that has to make room for it.
    fn enter(&self, caller: Caller, waiting: Waiting) -> Result<Ticket, ProcessError> {
        let mut state = self.pool.lock();
        let (ticket, displaced) = match state.queue.enter(caller, waiting) {
            Entered::Waiting(ticket) => (ticket, None),
            Entered::InsteadOf(ticket, displaced) => (ticket, Some(displaced)),
            Entered::Refused(_) => return Err(self.full(&mut state)),
        };
        let full = displaced.map(|displaced| (displaced, self.full(&mut state)));
        drop(state);
        self.pool.arrival.notify_one();
        if let Some((displaced, full)) = full {
            // If it has left meanwhile, nobody needs to know.
            let _ = displaced.answer.send(Err(full));
        }
        Ok(ticket)
    }

    /// Told to come back one after the other, as fast as calls are worked off: a crowd that comes back all at once would
    /// be refused again, and each refusal costs both sides a request. Half of what is here is left by the time the first
    /// one comes, so the threads do not run dry.
    fn full(&self, state: &mut State) -> ProcessError {
        let taken = state.queue.taken();
        let threads = self.threads.count.get() as f64;
        let calls = |count: f64| {
            Duration::try_from_secs_f64(state.work_s / threads * count).unwrap_or(LONGEST_WAIT)
        };
        let now = Instant::now();
        let first = now + calls(taken as f64 / 2.0);
        let turn = state.promised.map_or(first, |last| last.max(first)) + calls(1.0);
        let turn = turn.min(now + LONGEST_WAIT);
        state.promised = Some(turn);
        ProcessError::Full {
            why: format!("{taken} calls are waiting or running here already"),
            retry_after: (turn - now).max(SHORTEST_WAIT),
        }
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
            max_in_flight: u32::try_from(self.threads.admission.get()).unwrap_or(u32::MAX),
            needs_pixels: true,
            ..v1::DescribeResponse::default()
        }
    }

    async fn process(&self, frame: v1::Frame) -> Result<Processed, ProcessError> {
        self.process_for(Caller::default(), frame).await
    }

    async fn process_for(
        &self,
        caller: Caller,
        frame: v1::Frame,
    ) -> Result<Processed, ProcessError> {
        let (answer, answered) = oneshot::channel();
        let ticket = self.enter(caller, Waiting { frame, answer })?;
        let _leave = Leave {
            pool: &self.pool,
            caller,
            ticket,
        };
        answered.await.unwrap_or_else(|_| {
            Err(ProcessError::Failed(
                "the thread ended without an answer".into(),
            ))
        })
    }
}

/// An admitted call, in its caller's line until a thread takes it.
struct Waiting {
    frame: v1::Frame,
    answer: oneshot::Sender<Result<Processed, ProcessError>>,
}

/// Takes a call that gives up waiting out of its line. One that a thread works on keeps its place until that ends.
struct Leave<'a, P> {
    pool: &'a Pool<P>,
    caller: Caller,
    ticket: Ticket,
}

impl<P> Drop for Leave<'_, P> {
    fn drop(&mut self) {
        // Outside of the lock: dropping a frame frees megabytes.
        let left = self.pool.lock().queue.leave(self.caller, self.ticket);
        drop(left);
    }
}

struct Pool<P> {
    processor: P,
    state: Mutex<State>,
    arrival: Condvar,
}

struct State {
    queue: Queue<Waiting>,
    /// How long the work of a call takes on average, seconds.
    work_s: f64,
    /// When the last of those who were refused was told to come back.
    promised: Option<Instant>,
    closed: bool,
}

impl<P> Pool<P> {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two of its operations, so a panic elsewhere cannot have broken it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next in turn; `None` when the pool is closed.
    fn next(&self) -> Option<(Caller, Waiting)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(next) = state.queue.next() {
                return Some(next);
            }
            state = self
                .arrival
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn has_run(&self, caller: Caller, took: Duration) {
        let mut state = self.lock();
        state.queue.has_run(caller);
        let took_s = took.as_secs_f64();
        state.work_s = match state.work_s {
            0.0 => took_s,
            average => average + (took_s - average) * NEWEST_SHARE,
        };
    }
}

impl<P: BlockingProcessor> Pool<P> {
    fn work(&self) {
        while let Some((caller, Waiting { frame, answer })) = self.next() {
            let started = Instant::now();
            let result = self.process(&frame);
            drop(frame);
            // Before the answer: who has it may call again at once and find the place free.
            self.has_run(caller, started.elapsed());
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
