//! Many independent clients of the resize service at once: [`run`] plays a video N times through it.
//!
//! ```text
//! video -> instance 1 ─ calls ─┐                     ┌─ resize service ─┐
//! video -> instance 2 ─ calls ─┼─ directory (names) ─┼─ resize service ─┼─> vid-instance{i}/Frame%05d.jpg
//! ...                          ┘                     └─ ...            ─┘
//! ```
//! No Kafka anywhere: single frames in, single frames out. What a frame needs is kept until its picture is on disk, so a
//! service may die and come back, or move, in between.

mod board;
pub mod cli;
mod client;
pub mod config;
mod directory;
mod failure;
mod folder;
mod instance;
mod local;
mod outages;
mod replica;
mod summary;
mod targets;
mod video;

use crate::board::Board;
use crate::client::Client;
use crate::config::{Config, ConfigError, Encoding, Where};
use crate::directory::Directory;
use crate::folder::Folder;
use crate::instance::{Instance, Outcome};
use crate::local::Local;
use crate::outages::Outages;
use crate::summary::Summary;
use crate::targets::Target;
use crate::video::{Video, VideoError};
use anyhow::Context;
use processor_proto::print;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Plays all instances to their ends, or until `shutdown`. The table is printed in any case.
///
/// An error means that a frame is missing (or would be), or a [`ConfigError`] that nothing was begun.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let path = config.video.clone();
    let video = tokio::task::spawn_blocking(move || Video::probe(&path)).await?;
    let video = video.map_err(|error| match error {
        VideoError::Unusable { .. } => ConfigError(error.to_string()).into(),
        other => anyhow::Error::new(other),
    })?;
    check_json(&config)?;
    let folders = (1..=config.instances)
        .map(|number| Folder::claim(config.out.join(format!("vid-instance{number}"))))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (targets, mut local) = match &config.service {
        Where::At(targets) => (targets.clone(), None),
        Where::Local => {
            let local = Local::start(config.target).await?;
            (vec![Target::plain(local.address)], Some(local))
        }
    };
    let directory = Arc::new(Directory::open(targets).await?);
    let down = directory.check().await?;
    let encoding = encoding(&config, &video, &directory)?;

    let board = Arc::new(Board::new(config.instances, video.frames, |number| {
        config.stagger * (number - 1)
    }));
    for why in down {
        board.say(&format!(
            "a service does not answer yet, the others are used: {why}"
        ));
    }
    let began = Instant::now();
    let stop = CancellationToken::new();
    let instances = start_all(
        &config, &video, encoding, folders, &directory, &board, &stop,
    );
    let outcomes = tokio::select! {
        outcomes = finish(instances, &stop, shutdown, local.as_mut()) => outcomes?,
        never = directory.follow() => match never {},
        never = board.follow() => match never {},
    };
    let summary = Summary::of(&config, &outcomes, began.elapsed());
    let saved = config
        .json
        .as_ref()
        .map_or(Ok(()), |path| summary.save(path));
    let printed = print(&summary.to_string()).context("writing the table to standard output");
    if let Some(local) = local {
        local.stop().await;
    }
    saved.and(printed)?;
    let failed: Vec<_> = outcomes.into_iter().filter_map(|o| o.error).collect();
    match failed.len() {
        0 => Ok(()),
        count => {
            let first = failed.into_iter().next().expect("there is one");
            Err(first.context(format!(
                "{count} of {} instances are incomplete",
                config.instances
            )))
        }
    }
}

/// Rather now than after an hour.
fn check_json(config: &Config) -> Result<(), ConfigError> {
    let Some(path) = &config.json else {
        return Ok(());
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => Err(ConfigError(format!(
            "--json {}: there is no folder {}",
            path.display(),
            folder.display()
        ))),
        _ if path.is_dir() => Err(ConfigError(format!(
            "--json {}: it is a folder",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// On one machine carrying pixels costs less than compressing and decompressing them (at 768x576 both sides together take
/// 6 ms of CPU a frame instead of 7.5) and loses nothing; over a network a twelfth of the bytes decides.
fn encoding(
    config: &Config,
    video: &Video,
    directory: &Directory,
) -> Result<Encoding, ConfigError> {
    match config.encoding {
        Some(Encoding::Raw) if !video.may_go_raw() => Err(ConfigError(format!(
            "--send raw: a frame of {} bytes is larger than a call may be: use --send jpeg",
            video.raw_bytes()
        ))),
        Some(encoding) => Ok(encoding),
        None if directory.is_local() && video.may_go_raw() => Ok(Encoding::Raw),
        None => Ok(Encoding::Jpeg),
    }
}

fn start_all(
    config: &Config,
    video: &Video,
    encoding: Encoding,
    folders: Vec<Folder>,
    directory: &Arc<Directory>,
    board: &Arc<Board>,
    stop: &CancellationToken,
) -> JoinSet<Outcome> {
    let outages = Arc::new(Outages::new(config.patience, Arc::clone(board)));
    let mut instances = JoinSet::new();
    let first = Instant::now();
    for (number, folder) in (1..).zip(folders) {
        let client = Client::new(
            Arc::clone(directory),
            Arc::clone(&outages),
            config.target,
            config.patience,
            config.in_flight.get(),
        );
        let instance = Instance {
            number,
            video: video.clone(),
            encoding,
            in_flight: config.in_flight,
            wish: config.target.map(|target| target.to_string()),
            client,
            folder,
            board: Arc::clone(board),
        };
        let starts_at = first + config.stagger * (number - 1);
        instances.spawn(instance.run(starts_at, stop.clone()));
    }
    instances
}

/// Waits for all of them; ends them when there is a reason to.
async fn finish(
    mut instances: JoinSet<Outcome>,
    stop: &CancellationToken,
    shutdown: CancellationToken,
    local: Option<&mut Local>,
) -> anyhow::Result<Vec<Outcome>> {
    let gone = async {
        match local {
            Some(local) => local.must_live().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(gone);
    let mut outcomes = Vec::new();
    let mut cause = None;
    loop {
        tokio::select! {
            ended = instances.join_next() => match ended {
                None => break,
                Some(outcome) => outcomes.push(outcome.context("an instance's task")?),
            },
            () = shutdown.cancelled(), if !stop.is_cancelled() => stop.cancel(),
            error = &mut gone, if cause.is_none() => {
                stop.cancel();
                cause = Some(error);
            }
        }
    }
    outcomes.sort_by_key(|outcome| outcome.number);
    // Their own errors only say that they were stopped.
    if let (Some(cause), Some(first)) = (cause, outcomes.iter_mut().find(|o| o.error.is_some())) {
        first.error = Some(cause);
    }
    Ok(outcomes)
}
