//! The processors that stages call. Stages that call the same one share its replicas, and so what these can take.

use crate::calls::{self, Balancer, Target, TlsArgs};
use pipeline::ordering::LaneId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// No lane of any feed: their ids begin at 1.
const NO_LANE: LaneId = 0;

/// Which processor; addresses may change under it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProcessorKey {
    pub name: String,
    /// A new version is another processor: the old one goes on until the new one is there.
    pub version: String,
    /// Calls to each address, if the stage says.
    pub limit: Option<usize>,
    pub tls: TlsArgs,
}

/// A processor and where it is now.
#[derive(Debug, Clone)]
pub struct ProcessorSettings {
    pub key: ProcessorKey,
    pub targets: Vec<Target>,
}

/// All processors that are called.
#[derive(Debug)]
pub struct Processors {
    calls: Arc<Semaphore>,
    called: Mutex<HashMap<ProcessorKey, Weak<CalledProcessor>>>,
    tasks: TaskTracker,
}

/// A processor that at least one stage calls. Its replicas are watched until it is dropped.
#[derive(Debug)]
pub struct CalledProcessor {
    pub balancer: Arc<Balancer>,
    targets: watch::Sender<Vec<Target>>,
    _watching: DropGuard,
}

impl Processors {
    /// `max_calls`: of all stages together.
    pub fn new(max_calls: usize) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(max_calls.min(Semaphore::MAX_PERMITS))),
            called: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// The processor, watched from now on, at these addresses.
    pub fn call(&self, settings: &ProcessorSettings) -> Arc<CalledProcessor> {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        called.retain(|_, processor| processor.strong_count() > 0);
        if let Some(processor) = called.get(&settings.key).and_then(Weak::upgrade) {
            processor.go_to(&settings.targets);
            return processor;
        }
        let balancer = Arc::new(Balancer::sharing(Arc::clone(&self.calls)));
        let (targets, addresses) = watch::channel(settings.targets.clone());
        let stop = CancellationToken::new();
        let (limit, watched) = (settings.key.limit, Arc::clone(&balancer));
        self.tasks
            .spawn(calls::watch(watched, addresses, limit, stop.clone()));
        let processor = Arc::new(CalledProcessor {
            balancer,
            targets,
            _watching: stop.drop_guard(),
        });
        called.insert(settings.key.clone(), Arc::downgrade(&processor));
        processor
    }

    /// Waits for the end of all watching; nothing may be called any more.
    pub async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl CalledProcessor {
    /// Its addresses are these now.
    pub fn go_to(&self, targets: &[Target]) {
        self.targets.send_if_modified(|known| {
            let uris = |targets: &[Target]| {
                targets
                    .iter()
                    .map(|one| one.uri.clone())
                    .collect::<Vec<_>>()
            };
            let is_news = uris(known) != uris(targets);
            if is_news {
                *known = targets.to_vec();
            }
            is_news
        });
    }

    /// Waits until a replica is up and has room.
    pub async fn is_up(&self) {
        drop(self.balancer.permit(NO_LANE, None).await);
    }
}
