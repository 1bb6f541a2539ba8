//! What is watched now: hubs, and readers of the partitions that they need. Nothing else is read from Kafka.
//!
//! ```text
//! partition ─▶ reader (decodes once, fetches referenced pictures) ─▶ hub of each watched source ─▶ viewers
//! ```

mod hub;
mod reader;

pub use hub::{Hub, HubView};
pub use reader::{Decoded, decode, resolve};

use crate::address::Address;
use crate::kafka::Kafka;
use crate::pictures::Painter;
use crate::server::GOODBYE;
use pipeline::kafka::TopicPartition;
use pipeline::resolve::Resolver;
use reader::{Reader, Subscribers};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often it is looked for sources that nobody watches any more.
const SWEEP: Duration = Duration::from_millis(250);

/// What readers and viewers share.
#[derive(Debug, Clone)]
pub struct Tools {
    pub kafka: Arc<Kafka>,
    pub resolver: Arc<Resolver>,
    pub painter: Arc<Painter>,
}

/// See the module.
#[derive(Debug)]
pub struct Live {
    tools: Tools,
    /// How long a source is read on after its last viewer: those who come back soon find it running.
    linger: Duration,
    most_readers: usize,
    watched: Mutex<Watched>,
    readers: TaskTracker,
}

#[derive(Debug, Default)]
struct Watched {
    hubs: HashMap<Address, Place>,
    readers: HashMap<TopicPartition, Running>,
}

#[derive(Debug)]
struct Place {
    hub: Arc<Hub>,
    lanes: Vec<TopicPartition>,
    /// When the last viewer went.
    idle_since: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    subscribers: Subscribers,
    closing: CancellationToken,
}

/// No more partitions may be read at once.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} partitions are watched already, which is the limit (--max-partitions); close a view, or ask another gateway"
)]
pub struct TooMany(usize);

impl Live {
    pub fn new(tools: Tools, linger: Duration, most_readers: usize) -> Self {
        Self {
            tools,
            linger,
            most_readers,
            watched: Mutex::default(),
            readers: TaskTracker::new(),
        }
    }

    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Watches a source that lies in these partitions, until what is returned is dropped.
    ///
    /// # Errors
    /// Too many partitions are read already.
    pub fn watch(
        self: &Arc<Self>,
        address: &Address,
        lanes: Vec<TopicPartition>,
    ) -> Result<Watching, TooMany> {
        let mut watched = self.watched();
        let Watched { hubs, readers } = &mut *watched;
        if let Some(place) = hubs.get_mut(address) {
            return Ok(self.seat(place)); // somebody was faster
        }
        let hub = Arc::new(Hub::new(address.clone()));
        self.subscribe(readers, &hub, &lanes)?;
        let mut place = Place {
            hub,
            lanes,
            idle_since: None,
        };
        let watching = self.seat(&mut place);
        hubs.insert(address.clone(), place);
        Ok(watching)
    }

    /// A source that is watched lies in these partitions, as is known now.
    ///
    /// # Errors
    /// As [`Live::watch`]; then it is watched where it was.
    pub fn move_to(&self, address: &Address, lanes: Vec<TopicPartition>) -> Result<(), TooMany> {
        let mut watched = self.watched();
        let Watched { hubs, readers } = &mut *watched;
        let place = hubs.get_mut(address).filter(|place| place.lanes != lanes);
        if let Some(place) = place {
            self.subscribe(readers, &place.hub, &lanes)?;
            for lane in place.lanes.iter().filter(|lane| !lanes.contains(lane)) {
                if let Some(running) = readers.get(lane) {
                    running.subscribers.remove(&place.hub);
                }
            }
            place.lanes = lanes;
        }
        Ok(())
    }

    fn subscribe(
        &self,
        readers: &mut HashMap<TopicPartition, Running>,
        hub: &Arc<Hub>,
        lanes: &[TopicPartition],
    ) -> Result<(), TooMany> {
        let is_new = |lane: &&TopicPartition| !readers.contains_key(*lane);
        if readers.len() + lanes.iter().filter(is_new).count() > self.most_readers {
            return Err(TooMany(self.most_readers));
        }
        for lane in lanes {
            let running = readers
                .entry(lane.clone())
                .or_insert_with(|| self.start(lane.clone()));
            running.subscribers.add(hub);
        }
        metrics::gauge!("framelane_gateway_partitions_read").set(readers.len() as f64);
        Ok(())
    }

    /// Watches a source that is watched already, or was a moment ago.
    pub fn join(self: &Arc<Self>, address: &Address) -> Option<Watching> {
        let mut watched = self.watched();
        let place = watched.hubs.get_mut(address)?;
        Some(self.seat(place))
    }

    fn seat(self: &Arc<Self>, place: &mut Place) -> Watching {
        place.idle_since = None;
        place.hub.add_viewer();
        Watching {
            hub: Arc::clone(&place.hub),
            live: Arc::clone(self),
        }
    }

    fn start(&self, lane: TopicPartition) -> Running {
        let running = Running {
            subscribers: Subscribers::default(),
            closing: CancellationToken::new(),
        };
        let reader = Reader::new(
            lane,
            self.tools.clone(),
            running.subscribers.clone(),
            running.closing.clone(),
        );
        self.readers.spawn(reader.run());
        running
    }

    /// The hub of a source that is watched, or was a moment ago.
    pub fn hub(&self, address: &Address) -> Option<Arc<Hub>> {
        let watched = self.watched();
        watched
            .hubs
            .get(address)
            .map(|place| Arc::clone(&place.hub))
    }

    /// All of them.
    pub fn hubs(&self) -> Vec<Arc<Hub>> {
        let watched = self.watched();
        watched
            .hubs
            .values()
            .map(|place| Arc::clone(&place.hub))
            .collect()
    }

    /// Ends the reading of what nobody watches any more, until told to stop; then of everything.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(SWEEP);
        while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
            self.sweep(Instant::now());
        }
        self.watched()
            .readers
            .drain()
            .for_each(|(_, running)| running.closing.cancel());
        self.readers.close();
        // A client that waits for Kafka is not waited for.
        let _ = tokio::time::timeout(GOODBYE, self.readers.wait()).await;
    }

    fn sweep(&self, now: Instant) {
        let mut watched = self.watched();
        let Watched { hubs, readers } = &mut *watched;
        hubs.retain(|_, place| {
            let is_over = |since: Instant| now.duration_since(since) >= self.linger;
            let goes = place.idle_since.is_some_and(is_over);
            for lane in place.lanes.iter().filter(|_| goes) {
                if let Some(running) = readers.get(lane) {
                    running.subscribers.remove(&place.hub);
                }
            }
            !goes
        });
        readers.retain(|_, running| {
            let stays = !running.subscribers.is_empty();
            if !stays {
                running.closing.cancel();
            }
            stays
        });
        metrics::gauge!("framelane_gateway_partitions_read").set(readers.len() as f64);
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A viewer's hold on a source.
#[derive(Debug)]
pub struct Watching {
    pub hub: Arc<Hub>,
    live: Arc<Live>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watched = self.live.watched();
        if self.hub.remove_viewer() == 0
            && let Some(place) = watched.hubs.get_mut(&self.hub.address)
        {
            place.idle_since = Some(Instant::now());
        }
    }
}
