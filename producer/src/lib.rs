//! Video in: every source is captured, encoded and published by threads and tasks of its own.
//!
//! - [`config`]: what was asked for, checked. [`source`]: one source from start to end.
//! - [`input`]: where pictures come from. [`overload`], [`pace`]: which of them go on, and when.
//! - [`publish`], [`import`]: to Kafka, each frame at once or in transactions. [`epoch`]: ids that never repeat. `reach`: a
//!   client that has lost Kafka.
//! - [`tail`], [`resume`]: going on where a killed import ended.
//! - [`managed`]: the sources that a registry declares, while it declares them.

pub mod args;
pub mod capture;
pub mod config;
pub mod encode;
pub mod epoch;
pub mod handover;
pub mod import;
pub mod input;
pub mod jpeg;
pub mod managed;
pub mod message;
pub mod options;
pub mod overload;
pub mod pace;
pub mod progress;
pub mod publish;
mod reach;
pub mod resume;
pub mod source;
pub mod tail;
pub mod worker;

use crate::config::{Config, SourceConfig, Work};
use crate::progress::Progress;
use pipeline::kafka::KafkaConfig;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs all sources until each has ended or `shutdown` stops them; managed ones until `shutdown`. A source that fails does
/// not disturb the others; the error comes when all have ended.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    // Each source has threads of its own; OpenCV's would only fight them for cores.
    opencv::core::set_num_threads(1)?;
    if !tracing::enabled!(tracing::Level::DEBUG) {
        // It reports each backend that does not know a file, before the one that does; our own errors say enough.
        opencv::core::set_log_level(opencv::core::LogLevel::LOG_LEVEL_SILENT)?;
    }
    match config.work {
        Work::Sources(sources) => run_all(config.kafka, sources, shutdown).await,
        Work::Managed(settings) => managed::run(config.kafka, settings, shutdown).await,
    }
}

async fn run_all(
    kafka: KafkaConfig,
    sources: Vec<SourceConfig>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let count = sources.len();
    let mut running = JoinSet::new();
    let mut all_progress = Vec::with_capacity(count);
    for source in sources {
        tracing::info!(?source, "starting");
        let policy = source.overload.to_string();
        let progress = Arc::new(Progress::new(&source.topic, &source.source_id, &policy));
        all_progress.push(Arc::clone(&progress));
        running.spawn(source::run(
            kafka.clone(),
            source,
            None,
            shutdown.clone(),
            progress,
        ));
    }
    let end_of_reports = CancellationToken::new();
    let reports = tokio::spawn(progress::report(all_progress, end_of_reports.clone()));
    let mut failures = Vec::new();
    while let Some(ended) = running.join_next().await {
        match ended.map_err(anyhow::Error::from).flatten() {
            Ok(()) => {}
            Err(failure) => {
                if count > 1 {
                    tracing::error!("{failure:#}");
                }
                failures.push(failure);
            }
        }
    }
    end_of_reports.cancel();
    reports.await?;
    match failures.len() {
        0 => Ok(()),
        1 if count == 1 => Err(failures.remove(0)),
        failed => {
            let list: Vec<_> = failures
                .iter()
                .map(|failure| format!("{failure:#}"))
                .collect();
            anyhow::bail!("{failed} of {count} sources failed: {}", list.join("; "))
        }
    }
}
