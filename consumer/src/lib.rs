//! Video out: follows or replays topics into any number of sinks, in order.
//!
//! [`run`] opens the sinks (which say how far they are), opens the feed there, and lets `flow` carry records from one
//! to the other. Ordering, pacing and progress are pure (`order`, `reorder`, `pace`, `lanes`); OpenCV is used by the
//! sinks only, on their own threads.

pub mod args;
mod checkpoints;
pub mod config;
mod crew;
pub mod decode;
pub mod delivery;
mod flow;
mod lanes;
mod managed;
pub mod monitor;
pub mod order;
pub mod overlay;
mod pace;
mod picture;
mod placeholder;
mod progress;
pub mod range;
mod reading;
pub mod reorder;
mod sequencer;
pub mod sinks;
pub mod span;
mod stages;
mod status;
mod tally;
mod track;
pub mod trails;

use crate::checkpoints::Commits;
use crate::config::{Config, PictureCheck, Work};
use crate::crew::Crew;
use crate::flow::steering::Steering;
use crate::flow::{Flow, FlowError, Parts};
use crate::lanes::Finish;
use crate::monitor::{ActionSpec, Monitor, MonitorSettings};
use crate::picture::{Fetching, PicturePlan};
use crate::sinks::{OpenError, OpenSink, SinkSpec};
use crate::track::{Ledger, Tracking, Transactions};
use anyhow::Context;
use pipeline::resolve::Resolver;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Reads and shows records until everything asked for was shown or `shutdown` is cancelled.
///
/// # Errors
/// A `ConfigError` if an output may not be written; anything else is a failure at run time. Output written so far stays,
/// and with a group the same settings go on behind it.
pub async fn run(work: Work, shutdown: CancellationToken) -> anyhow::Result<()> {
    decode::use_one_thread().context("setting up OpenCV")?;
    match work {
        Work::Topics(config) => {
            let outputs = Outputs::open(&config, &shutdown)?;
            show(*config, outputs, None, shutdown).await
        }
        Work::Managed(settings) => managed::run(*settings, shutdown).await,
    }
}

/// Where frames go, opened.
struct Outputs {
    sinks: Vec<OpenSink>,
    closing: CancellationToken,
}

impl Outputs {
    /// Until they are dropped, nobody else writes there.
    fn open(config: &Config, shutdown: &CancellationToken) -> anyhow::Result<Self> {
        tracing::info!(?config, "consumer");
        let closing = shutdown.child_token();
        Ok(Self {
            sinks: open_sinks(config, &closing)?,
            closing,
        })
    }
}

/// As [`run`], of these topics, or of those that `steering` names.
async fn show(
    config: Config,
    Outputs { sinks, closing }: Outputs,
    steering: Option<Steering>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let done = sinks::done(&sinks);
    let (tracking, ledger) = open_tracking(&config).await?;
    let (monitor, ledger) = open_monitor(&config, ledger).await?;
    let opening = {
        let (config, done) = (config.clone(), done.clone());
        tokio::task::spawn_blocking(move || reading::open(&config, &done))
    };
    let reading = opening.await.context("finding the topics")??;
    let crew = Crew::start(sinks).context("starting the sinks")?;
    let finish = Finish::new(config.until, reading.ends);
    let control = reading.feed.control();
    let commits = match (ledger, &config.group) {
        (Some(ledger), _) => {
            Commits::Transactions(Box::new(Transactions::new(ledger, control.clone())))
        }
        (None, Some(_)) => Commits::Offsets(control.clone()),
        (None, None) => Commits::Nothing,
    };
    let parts = Parts {
        crew,
        finish,
        done,
        resumed: reading.resumed,
        pictures: picture_plan(&config),
        tracking,
        monitor,
        closing,
        commits,
        steering,
    };
    let flow = Flow::new(&config, control, parts);
    flow.run(reading.feed, shutdown)
        .await
        .map_err(|error| match error {
            // Unwrapped, so that the exit code can tell settings from failures.
            FlowError::Kafka(fault) => fault.into(),
            other => other.into(),
        })
}

/// What follows the objects and, with a group, what writes their tracks.
async fn open_tracking(config: &Config) -> anyhow::Result<(Option<Tracking>, Option<Ledger>)> {
    let Some(settings) = config.track.clone() else {
        return Ok((None, None));
    };
    let config = config.clone();
    let preparing = tokio::task::spawn_blocking(move || track::topics::prepare(&config, &settings));
    Ok(match preparing.await.context("preparing to track")?? {
        Some((keeping, ledger)) => (Some(Tracking::new(Some(keeping))), Some(ledger)),
        None => (Some(Tracking::new(None)), None),
    })
}

/// What looks for alerts. Those that go to a topic need a writer of transactions.
async fn open_monitor(
    config: &Config,
    ledger: Option<Ledger>,
) -> anyhow::Result<(Option<Monitor>, Option<Ledger>)> {
    let Some(settings) = config.monitor.clone() else {
        return Ok((None, ledger));
    };
    let config = config.clone();
    let preparing = tokio::task::spawn_blocking(move || monitor::open(&config, &settings, ledger));
    let (monitor, ledger) = preparing.await.context("preparing to monitor")??;
    Ok((Some(monitor), ledger))
}

/// Who needs pictures, and which: with a condition, sinks and actions only see those that pass.
fn picture_plan(config: &Config) -> Option<PicturePlan> {
    let do_sinks = config.sinks.iter().any(SinkSpec::needs_pixels);
    let do_actions = |monitor: &MonitorSettings| {
        let mut actions = monitor.actions.iter();
        actions.any(|action| matches!(action, ActionSpec::Exec(_)))
    };
    let does_check = config.verify == PictureCheck::On;
    let of_all = does_check || (do_sinks && config.monitor.is_none());
    let of_some =
        do_sinks || config.report.is_some() || config.monitor.as_ref().is_some_and(do_actions);
    (of_all || of_some).then(|| PicturePlan {
        resolver: Arc::new(Resolver::new(config.kafka.clone())),
        check: config.verify,
        fetching: match of_all {
            true => Fetching::Now,
            false => Fetching::OnDemand,
        },
    })
}

fn open_sinks(config: &Config, closing: &CancellationToken) -> anyhow::Result<Vec<OpenSink>> {
    let mut sinks = Vec::new();
    for spec in &config.sinks {
        let open = sinks::open(spec, &config.sink_options).map_err(plain);
        sinks.push(open.with_context(|| format!("--sink {spec}"))?);
    }
    let actions = config.monitor.iter().flat_map(|monitor| &monitor.actions);
    for spec in actions {
        let open = monitor::actions::open(spec, &config.sink_options, closing).map_err(plain);
        sinks.extend(open.with_context(|| format!("--do {spec}"))?);
    }
    if let Some(spec) = &config.report {
        let open = sinks::open_report(spec, config).map_err(plain);
        sinks.push(open.with_context(|| format!("--report {spec}"))?);
    }
    if config.verify == PictureCheck::On {
        sinks.push(sinks::open_verify());
    }
    Ok(sinks)
}

/// Unwrapped, so that the exit code can tell settings from failures.
fn plain(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::Config(fault) => fault.into(),
        other => other.into(),
    }
}
