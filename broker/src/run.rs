//! Puts a stage's parts together: settings, topics, replicas, feed, writer, engine.

use crate::args::{Config, Membership, StageConfig, StageWork};
use crate::calls::{self, Balancer};
use crate::engine::Engine;
use crate::join::JoinEngine;
use crate::note::Note;
use crate::output::Destination;
use crate::status::Show;
use crate::{managed, writer};
use anyhow::{Context, Result};
use pipeline::instance::Instance;
use pipeline::kafka::{Feed, GroupMember, Lane, LaneBounds, SharedMemory, StartPolicy};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Runs the broker until it is told to stop, a frame halts it, or it cannot go on.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    let config = match config {
        Config::Stage(config) => config,
        Config::Managed(config) => return managed::run(*config, shutdown).await,
    };
    let StageWork::Process(targets) = &config.work else {
        return run_stage(&config, None, StageContext::alone(), shutdown).await;
    };
    let balancer = Arc::new(Balancer::default());
    let (_targets, addresses) = watch::channel(targets.clone());
    let watch_until = CancellationToken::new();
    let watch = tokio::spawn(calls::watch(
        Arc::clone(&balancer),
        addresses,
        config.args.in_flight,
        watch_until.clone(),
    ));
    let result = run_stage(&config, Some(balancer), StageContext::alone(), shutdown).await;
    watch_until.cancel();
    watch.await.context("watching the processors")?;
    result
}

/// What a stage has of whoever runs it.
#[derive(Debug)]
pub struct StageContext {
    pub memory: SharedMemory,
    pub show: Show,
    pub fence: Fence,
}

impl StageContext {
    /// Of a stage that is a process of its own.
    fn alone() -> Self {
        Self {
            memory: SharedMemory::default(),
            show: Show::Line,
            fence: Fence::default(),
        }
    }

    fn is_alone(&self) -> bool {
        matches!(self.show, Show::Line)
    }
}

/// Keeps a stage from going back to an older registry: where a newer revision has been at work, it works no more until it
/// knows that revision. So a partition's frames never go from a stage's new version back to its old one.
#[derive(Debug, Clone, Default)]
pub struct Fence(Arc<AtomicU64>);

/// Another broker has worked here by a newer revision.
#[derive(Debug, thiserror::Error)]
#[error(
    "{lane}: the group has gone on under revision {found} of the registry, this broker knows revision {known}: it waits for the \
     news. If the registry's topic was made anew, reset the group's offsets or give the stage another name"
)]
pub struct Superseded {
    lane: String,
    found: u64,
    known: u64,
}

impl Fence {
    /// The revision that is known; 0 without a registry.
    pub fn revision(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The registry has come so far, and the stage is what it was.
    pub fn advance(&self, revision: u64) {
        self.0.fetch_max(revision, Ordering::Relaxed);
    }

    /// Whether the lane may be worked on.
    pub fn check(&self, lane: &Lane) -> Result<(), Superseded> {
        let (found, known) = (Note::read(&lane.note).revision, self.revision());
        // Without a registry nobody asks.
        if known == 0 || found <= known {
            return Ok(());
        }
        let lane = lane.tp.to_string();
        Err(Superseded { lane, found, known })
    }
}

/// Runs one stage until it is told to stop, a frame halts it, or it cannot go on. Without a balancer it is a join.
pub async fn run_stage(
    config: &StageConfig,
    balancer: Option<Arc<Balancer>>,
    context: StageContext,
    shutdown: CancellationToken,
) -> Result<()> {
    let instance = Instance::claim(&config.group, config.args.instance.clone())?;
    let mut preparing = {
        let (config, name) = (config.clone(), instance.name().to_owned());
        tokio::task::spawn_blocking(move || -> Result<_> {
            let destination = crate::topics::prepare(&config)?;
            Ok((destination, writer::open(&config, &name)?))
        })
    };
    let Some(prepared) = shutdown.run_until_cancelled(&mut preparing).await else {
        if !context.is_alone() {
            // Or else it could take the transactions away from the stage's next life in this process.
            drop(preparing.await);
        }
        return Ok(());
    };
    let (destination, open_writer): (Destination, _) = prepared??;
    tracing::info!(input = ?config.subscription(), output = config.args.output, group = config.group,
        instance = instance.name(), delivery = ?config.args.delivery, "starting");
    let feed = subscribe(config, instance.name(), &context.memory)?;
    let control = feed.control();
    let writer = open_writer
        .spawn(control.clone())
        .context("starting the writer thread")?;
    // On a worker thread of the runtime: the main thread would have to be woken for each event.
    let engine = match balancer {
        Some(balancer) => {
            let engine = Engine::new(config, destination, balancer, control, context);
            tokio::spawn(engine.run(feed, writer, shutdown).in_current_span())
        }
        None => {
            let engine = JoinEngine::new(config, destination, control, context);
            tokio::spawn(engine.run(feed, writer, shutdown).in_current_span())
        }
    };
    engine.await.context("the engine")?
}

fn subscribe(config: &StageConfig, instance: &str, memory: &SharedMemory) -> Result<Feed> {
    let args = &config.args;
    let member = GroupMember {
        group: config.group.clone(),
        membership: match args.membership {
            Membership::Static => pipeline::kafka::Membership::Static(instance.to_owned()),
            Membership::Dynamic => pipeline::kafka::Membership::Dynamic,
        },
        session_timeout: args.session_timeout,
        finishing: args.drain,
    };
    Ok(Feed::subscribe_sharing(
        &config.kafka,
        &member,
        config.subscription(),
        StartPolicy::new(args.from),
        bounds(config),
        memory,
    )?)
}

/// How much of each partition may be held.
pub fn bounds(config: &StageConfig) -> LaneBounds {
    let args = &config.args;
    LaneBounds {
        lane_records: args.window,
        lane_bytes: args.window_mib << 20,
        total_bytes: args.memory_mib << 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::kafka::TopicPartition;

    fn lane(revision: u64) -> Lane {
        let note = Note {
            revision,
            ..Note::default()
        };
        Lane {
            id: 1,
            tp: TopicPartition::new("in", 0),
            start: 0,
            note: note.to_string(),
        }
    }

    #[test]
    fn a_stage_never_works_where_a_newer_revision_has_been_until_it_knows_that() {
        let fence = Fence::default();
        assert!(
            fence.check(&lane(7)).is_ok(),
            "without a registry nobody asks"
        );
        fence.advance(6);
        assert!(fence.check(&lane(0)).is_ok());
        assert!(fence.check(&lane(6)).is_ok());
        let error = fence.check(&lane(7)).expect_err("it works on").to_string();
        assert!(
            error.contains("revision 7") && error.contains("in[0]"),
            "{error}"
        );
        fence.advance(8);
        fence.advance(5);
        assert_eq!(fence.revision(), 8, "it never goes back");
        assert!(fence.check(&lane(7)).is_ok());
    }
}
