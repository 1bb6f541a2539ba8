//! The threads that fetch pictures. Which partitions frames refer to is their writers' choice, so neither threads nor
//! connections grow with them: a few workers serve all partitions, and only the readers used last are kept open.
//!
//! One worker at a time serves a partition, in the order of the requests. Those of one stream grow, so this is a sequential
//! read; where several streams refer to a partition (the outputs of several stages), each gets a reader of its own.

use super::{Found, Request, absent};
use crate::kafka::{KafkaConfig, KafkaFault, Lookup, TopicPartition};
use crate::v1::missing::Reason;
use lru::LruCache;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Partitions read at the same moment. Reading in step is a matter of microseconds, waiting for Kafka is not.
pub const MOST_WORKERS: usize = 16;
/// Partitions whose readers stay open, each with connections and prefetched frames of its own: one reader, and more only
/// where several streams refer to the partition. A stage that refers to more partitions than this in turn opens them again
/// and again.
const OPEN_READERS: NonZeroUsize = NonZeroUsize::new(64).expect("not 0");
/// Readers of one partition. Streams beyond this number make them jump, which takes tens of milliseconds each time.
const MOST_STREAMS: usize = 8;
/// A reader is another stream's after this time.
const UNUSED_AFTER: Duration = Duration::from_secs(2);
/// A reader that nobody has used for so long is closed by the next request for its partition: each has threads, connections and
/// megabytes of prefetched records.
const CLOSED_AFTER: Duration = Duration::from_secs(30);
/// Partitions that are known not to be there.
const ABSENT: NonZeroUsize = NonZeroUsize::new(1024).expect("not 0");
/// So long that a backlog of frames is answered at once, so short that a topic made anew is found.
const ABSENT_FOR: Duration = Duration::from_secs(30);

/// All threads and readers.
#[derive(Debug)]
pub(super) struct Readers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    config: KafkaConfig,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// By partition, in order. A partition that is here is ready or being served. Requests are bounded by the frames in
    /// their callers' windows.
    requests: HashMap<TopicPartition, VecDeque<Request>>,
    /// Partitions that wait for a worker.
    ready: VecDeque<TopicPartition>,
    open: LruCache<TopicPartition, Streams>,
    absent: LruCache<TopicPartition, Instant>,
    workers: usize,
    idle_workers: usize,
    is_closed: bool,
}

impl Readers {
    pub(super) fn new(config: KafkaConfig) -> Self {
        let state = State {
            requests: HashMap::new(),
            ready: VecDeque::new(),
            open: LruCache::new(OPEN_READERS),
            absent: LruCache::new(ABSENT),
            workers: 0,
            idle_workers: 0,
            is_closed: false,
        };
        let shared = Shared {
            config,
            state: Mutex::new(state),
            changed: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
            threads: Mutex::default(),
        }
    }

    /// Hands a request to a worker. If there is no worker and none can be started, the request is dropped, which is an
    /// answer too.
    pub(super) fn ask(&self, lane: TopicPartition, request: Request) {
        let mut state = self.shared.lock();
        match state.requests.get_mut(&lane) {
            Some(before) => return before.push_back(request),
            None => {
                state.requests.insert(lane.clone(), [request].into());
                state.ready.push_back(lane);
            }
        }
        let is_short = state.ready.len() > state.idle_workers && state.workers < MOST_WORKERS;
        state.workers += usize::from(is_short);
        drop(state);
        self.shared.changed.notify_one();
        if is_short {
            self.start_worker();
        }
    }

    fn start_worker(&self) {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name("resolve".to_owned())
            .spawn(move || Worker(shared).run());
        match thread {
            Ok(thread) => {
                let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
                threads.retain(|thread| !thread.is_finished());
                threads.push(thread);
            }
            Err(cause) => {
                tracing::error!(%cause, "the system starts no more threads to fetch pictures");
                let mut state = self.shared.lock();
                state.workers -= 1;
                if state.workers == 0 {
                    state.ready.clear();
                    state.requests.clear();
                }
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        let is_at_rest = state.idle_workers == state.workers;
        drop(state);
        self.shared.changed.notify_all();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // One that waits for Kafka ends after that; nobody wants what it reads any more.
        if is_at_rest {
            for thread in threads {
                let _ = thread.join(); // a panic is in the log
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update is complete before the lock is released, so a panic elsewhere leaves it consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's part. Counted as a worker until it is dropped, by a panic too.
struct Worker(Arc<Shared>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.lock().workers -= 1;
    }
}

/// A partition that a worker serves. Dropping it drops the requests that are left, so that nobody waits for a worker
/// that panicked.
struct Served<'a> {
    shared: &'a Shared,
    lane: TopicPartition,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.lock().requests.remove(&self.lane);
        }
    }
}

impl Worker {
    fn run(self) {
        while let Some(lane) = self.next_ready() {
            let served = Served {
                shared: &self.0,
                lane,
            };
            let streams = self.0.lock().open.pop(&served.lane);
            let streams = self.serve(&served.lane, streams.unwrap_or_default());
            let closed = self.0.put_back(&served.lane, streams);
            drop(closed); // takes its time, so without the lock
        }
    }

    fn next_ready(&self) -> Option<TopicPartition> {
        let mut state = self.0.lock();
        state.idle_workers += 1;
        let mut state = self
            .0
            .changed
            .wait_while(state, |state| state.ready.is_empty() && !state.is_closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.idle_workers -= 1;
        match state.is_closed {
            true => None,
            false => state.ready.pop_front(),
        }
    }

    /// Answers what has been asked so far. Returns the readers that are worth keeping.
    fn serve(&self, lane: &TopicPartition, mut streams: Streams) -> Streams {
        let requests = {
            let mut state = self.0.lock();
            state.requests.get_mut(lane).map(std::mem::take)
        };
        for request in requests.into_iter().flatten() {
            if request.answer.is_closed() {
                continue; // the frame's lane has gone
            }
            let outcome = if self.is_absent(lane) {
                Ok(None)
            } else {
                self.read(lane, &mut streams, &request)
            };
            let outcome = outcome.map(|content| content.unwrap_or_else(|| absent(&request)));
            let _ = request.answer.send(outcome);
        }
        streams
    }

    /// None if there is no such partition.
    fn read(
        &self,
        lane: &TopicPartition,
        streams: &mut Streams,
        request: &Request,
    ) -> Result<Option<super::Content>, KafkaFault> {
        let kept = streams.take(request.reference.offset);
        let is_new = kept.is_none();
        let mut lookup = match kept {
            Some(lookup) => lookup,
            None => {
                let lookup = Lookup::open(&self.0.config, lane.clone())?;
                if !lookup.is_there()? {
                    streams.0.clear();
                    return Ok(self.forget(lane));
                }
                lookup
            }
        };
        match super::fetch(&mut lookup, request) {
            Ok(Found::NotIt) if !is_new => {
                // A topic that was made anew is read by new clients.
                drop(lookup);
                streams.0.clear();
                self.read(lane, streams, request)
            }
            Ok(found) => {
                streams.0.push((lookup, Instant::now()));
                Ok(Some(match found {
                    Found::Content(content) => content,
                    // Whoever wrote the reference was mistaken, and asking again changes nothing.
                    Found::NotIt => super::missing(request, Reason::Unspecified),
                }))
            }
            Err(fault) => {
                // The next try takes a new client: this one may have lost Kafka for good, and so may the others.
                streams.0.clear();
                match lookup.is_there() {
                    Ok(false) => Ok(self.forget(lane)),
                    _ => Err(fault),
                }
            }
        }
    }

    fn is_absent(&self, lane: &TopicPartition) -> bool {
        let mut state = self.0.lock();
        let since = state.absent.get(lane).copied();
        since.is_some_and(|since| since.elapsed() < ABSENT_FOR)
    }

    fn forget(&self, lane: &TopicPartition) -> Option<super::Content> {
        tracing::warn!(%lane, "frames refer to pictures in a partition that does not exist (any more)");
        self.0.lock().absent.put(lane.clone(), Instant::now());
        None
    }
}

/// The readers of a partition with the time of their last use, which they are ordered by.
#[derive(Debug, Default)]
struct Streams(Vec<(Lookup, Instant)>);

impl Streams {
    /// The reader that has the fewest records to read until this offset; else one that jumps, as nobody uses it any more or
    /// there may be no more. None: a new one is to be opened.
    fn take(&mut self, offset: i64) -> Option<Lookup> {
        self.0.retain(|(_, used)| used.elapsed() < CLOSED_AFTER);
        let readers = self.0.iter().enumerate();
        let near = readers.filter_map(|(at, (lookup, _))| Some((lookup.distance_to(offset)?, at)));
        let at = match near.min() {
            Some((_, at)) => at,
            None => {
                let (_, used) = self.0.first()?;
                let is_free = used.elapsed() > UNUSED_AFTER || self.0.len() >= MOST_STREAMS;
                is_free.then_some(0)?
            }
        };
        Some(self.0.remove(at).0)
    }
}

impl Shared {
    /// The partition is served; what was asked meanwhile makes it ready again. Returns readers to be closed.
    fn put_back(&self, lane: &TopicPartition, streams: Streams) -> Option<Streams> {
        let mut state = self.lock();
        if state.requests.get(lane).is_some_and(VecDeque::is_empty) {
            state.requests.remove(lane);
        } else {
            state.ready.push_back(lane.clone());
            self.changed.notify_one();
        }
        if streams.0.is_empty() {
            return None;
        }
        let (_, closed) = state.open.push(lane.clone(), streams)?;
        Some(closed)
    }
}
