//! Puts the broker's parts together: settings, topics, replicas, feed, writer, engine.

use crate::args::{Config, Membership};
use crate::calls::{self, Balancer};
use crate::engine::Engine;
use crate::writer;
use anyhow::{Context, Result};
use pipeline::instance::Instance;
use pipeline::kafka::{Feed, GroupMember, LaneBounds, StartPolicy};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs the broker until it is told to stop, a frame halts it, or it cannot go on.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    let instance = Instance::claim(&config.group, config.args.instance.clone())?;
    let preparing = {
        let (config, name) = (config.clone(), instance.name().to_owned());
        tokio::task::spawn_blocking(move || -> Result<_> {
            let destination = crate::topics::prepare(&config)?;
            Ok((destination, writer::open(&config, &name)?))
        })
    };
    let Some(prepared) = shutdown.run_until_cancelled(preparing).await else {
        return Ok(());
    };
    let (destination, open_writer) = prepared??;
    tracing::info!(input = ?config.args.input, output = config.args.output, group = config.group,
        instance = instance.name(), delivery = ?config.args.delivery, "starting");
    let balancer = Arc::new(Balancer::default());
    let watch_until = CancellationToken::new();
    let watch = tokio::spawn(calls::watch(
        Arc::clone(&balancer),
        config.processors.clone(),
        config.args.in_flight,
        watch_until.clone(),
    ));
    let feed = subscribe(&config, instance.name())?;
    let writer = open_writer
        .spawn(feed.control())
        .context("starting the writer thread")?;
    let engine = Engine::new(&config, destination, balancer, feed.control());
    // On a worker thread of the runtime: the main thread would have to be woken for each event.
    let result = tokio::spawn(engine.run(feed, writer, shutdown)).await;
    let result = result.context("the engine")?;
    watch_until.cancel();
    watch.await.context("watching the processors")?;
    result
}

fn subscribe(config: &Config, instance: &str) -> Result<Feed> {
    let args = &config.args;
    let member = GroupMember {
        group: config.group.clone(),
        membership: match args.membership {
            Membership::Static => pipeline::kafka::Membership::Static(instance.to_owned()),
            Membership::Dynamic => pipeline::kafka::Membership::Dynamic,
        },
        session_timeout: args.session_timeout,
    };
    let bounds = LaneBounds {
        lane_records: args.window,
        lane_bytes: args.window_mib << 20,
        total_bytes: args.memory_mib << 20,
    };
    let start = StartPolicy::new(args.from);
    Ok(Feed::subscribe(
        &config.kafka,
        &member,
        &args.input,
        start,
        bounds,
    )?)
}
