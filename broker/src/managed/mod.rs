//! The stages that the registry declares, run and changed while they run.
//!
//! ```text
//! registry ─▶ plan (pure): what is to run, by group ─▶ a unit each: begins, rolls over, begins again
//!     ▲                                                  │ one engine each, as a broker of its own would have
//!     └── heartbeat: state, lanes, processors ◀──────────┘ shared: memory, processors' replicas, calls
//! ```
//! What did not change is not touched. Managed brokers share a stage's partitions as members of its group.

mod args;
mod plan;
mod processors;
mod tell;
mod unit;

pub use args::{ManagedArgs, ManagedConfig};

use crate::args::Args;
use anyhow::{Context, Result};
use pipeline::kafka::SharedMemory;
use pipeline::say;
use plan::{Wanted, plan};
use processors::Processors;
use registry::{InstanceIdentity, Registry, Reporter, Service, View};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use unit::{Env, Unit, UnitReport};

/// The rhythm of the line and of the heartbeat's figures.
const EVERY: Duration = Duration::from_secs(1);

/// Runs all stages until it is told to stop.
pub async fn run(config: ManagedConfig, shutdown: CancellationToken) -> Result<()> {
    let args = &config.args;
    let opening = Registry::open(&config.kafka, &args.managed.registry.registry);
    let Some(registry) = shutdown.run_until_cancelled(opening).await else {
        return Ok(());
    };
    let registry = registry.context("opening the registry")?;
    let mut who = InstanceIdentity::here(Service::Broker, args.instance.as_deref().unwrap_or(""));
    if let Some(host) = &args.managed.host {
        who.host.clone_from(host);
    }
    let reporter = registry
        .reporter(who)
        .context("reporting to the registry")?;
    let mut stages = Stages::new(args);
    let result = follow(&mut stages, &registry, &reporter, args, shutdown).await;
    stages.end().await;
    reporter.close().await;
    result
}

/// Until it is told to stop, or the registry's reader has died.
async fn follow(
    stages: &mut Stages,
    registry: &Registry,
    reporter: &Reporter,
    args: &Args,
    shutdown: CancellationToken,
) -> Result<()> {
    let mut changes = registry.changes();
    let mut second = tokio::time::interval(EVERY);
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let news = Arc::clone(&stages.env.news);
    let mut view = changes.borrow_and_update().clone();
    stages.follow(&view, args);
    loop {
        tokio::select! {
            changed = changes.changed() => {
                changed.context("the registry's reader has ended")?;
                let news = changes.borrow_and_update().clone();
                let is_news = news.revision() != view.revision();
                view = news;
                if is_news {
                    stages.follow(&view, args);
                }
            }
            () = news.notified() => {
                let told = stages.told();
                reporter.update(|instance| tell::heartbeat(instance, &told, &view));
            }
            _ = second.tick() => {
                let told = stages.told();
                say(tell::line(&told, stages.env.memory.used_bytes()));
                reporter.update(|instance| tell::heartbeat(instance, &told, &view));
            }
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// All stages, by group.
struct Stages {
    env: Env,
    kept: BTreeMap<String, Kept>,
    /// Stages that are no longer wanted and still end. One of the same group begins behind them.
    ending: BTreeMap<String, JoinHandle<()>>,
}

struct Kept {
    wanted: watch::Sender<Wanted>,
    now: Wanted,
    report: watch::Receiver<UnitReport>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Stages {
    fn new(args: &Args) -> Self {
        Self {
            env: Env {
                memory: SharedMemory::default(),
                processors: Arc::new(Processors::new(args.managed.max_calls)),
                news: Arc::new(Notify::new()),
            },
            kept: BTreeMap::new(),
            ending: BTreeMap::new(),
        }
    }

    /// Begins, changes and ends stages, so that those run that are declared.
    fn follow(&mut self, view: &View, args: &Args) {
        self.ending.retain(|_, task| !task.is_finished());
        let plan = plan(view.flows(), view.objects(), args);
        let gone: Vec<String> = self
            .kept
            .keys()
            .filter(|group| !plan.contains_key(*group))
            .cloned()
            .collect();
        for group in gone {
            if let Some(kept) = self.kept.remove(&group) {
                tracing::info!(stage = %kept.now.place, group, "the stage is no longer declared");
                kept.stop.cancel();
                self.ending.insert(group, kept.task);
            }
        }
        for (group, wanted) in plan {
            match self.kept.get_mut(&group) {
                Some(kept) => {
                    kept.now = wanted.clone();
                    kept.wanted.send_replace(wanted);
                }
                None => self.begin(group, wanted),
            }
        }
    }

    fn begin(&mut self, group: String, now: Wanted) {
        tracing::info!(stage = %now.place, group, inputs = ?now.inputs, output = %now.output, "a stage is declared");
        let (wanted, following) = watch::channel(now.clone());
        let (reporting, report) = watch::channel(UnitReport::new());
        let stop = CancellationToken::new();
        let unit = Unit::new(following, self.env.clone(), reporting, stop.clone());
        let before = self.ending.remove(&group);
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // A panic in it was logged; this one has its own life.
                let _ = before.await;
            }
            unit.keep().await;
        });
        let kept = Kept {
            wanted,
            now,
            report,
            stop,
            task,
        };
        self.kept.insert(group, kept);
    }

    fn told(&self) -> Vec<tell::Told<'_>> {
        let kept = self.kept.values();
        kept.map(|kept| (&kept.now, kept.report.borrow().clone()))
            .collect()
    }

    /// All at once; each has its own time to drain.
    async fn end(self) {
        for kept in self.kept.values() {
            kept.stop.cancel();
        }
        let kept = self.kept.into_values().map(|kept| kept.task);
        for task in kept.chain(self.ending.into_values()) {
            if let Err(panic) = task.await {
                tracing::error!(%panic, "the keeper of a stage panicked");
            }
        }
        self.env.processors.close().await;
    }
}
