//! `cargo xtask demo`: the product as a person would run it, on real video and a real Kafka, and a count of what came out.
//!
//! ```text
//! producer -> topic -> broker -> topic.people -> consumer -> video, stills, JSON lines, statistics
//!                      |    |
//!              2 x processor people
//! ```

mod audit;
mod pipeline;
mod progress;
mod record;
mod scrape;
mod service;
mod summary;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use kafka_node::{Kafka, Options};

use self::audit::Audit;
use self::pipeline::{Pipeline, Source};
use self::summary::Summary;
use crate::interrupt::Interrupt;
use crate::setup;
use crate::steps::{execute, step};
use crate::workspace::{self, SERVICES, cargo};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take the pictures from this camera (0 is the first) instead of the shipped clip; 20 s of them unless --keep-running
    #[arg(long, value_name = "N", conflicts_with = "file")]
    camera: Option<u32>,
    /// Take the pictures from this video file instead of the shipped clip
    #[arg(long, value_name = "PATH", value_parser = existing_file)]
    file: Option<PathBuf>,
    /// Go on until Ctrl-C; a file starts again at its end
    #[arg(long)]
    keep_running: bool,
    /// Kill the broker (kill -9) half-way and start it again: the count must still hold
    #[arg(long)]
    kill_broker: bool,
}

pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    let binaries = step("build", build)?;
    let interrupt = Interrupt::listen()?;
    let kafka = step("Kafka", || Ok(Kafka::find_or_start(&Options::from_env()?)?))?;
    eprintln!(
        "Kafka at {} ({})",
        kafka.bootstrap_servers(),
        kafka.provider()
    );
    let folder = empty_folder(&workspace::target().join("demo"))?;

    let mut pipeline = Pipeline::start(binaries, &kafka, &folder, &source(args))?;
    let watched = watch::until_end(&mut pipeline, &interrupt, &watch::Plan::new(args))?;
    pipeline.stop();

    let input = pipeline.read_input_back()?;
    let output = record::read(&pipeline.results_file())?;
    let summary = Summary {
        audit: Audit::compare(&input, &output)?,
        statistics: summary::Statistics::read(&pipeline.statistics_file())?,
        processor_calls: watched.processor_calls,
    };
    summary.write(&folder.join("summary.json"))?;
    print!("{}", summary.table(&pipeline, &watched));
    ensure!(
        summary.audit.holds(),
        "the count does not hold: {} lost, {} duplicated, {} out of order; the records are in {}, the logs in {}",
        summary.audit.lost,
        summary.audit.duplicated,
        summary.audit.out_of_order,
        folder.display(),
        pipeline.log_folder().display()
    );
    Ok(())
}

fn source(args: &Args) -> Source {
    if let Some(index) = args.camera {
        return Source::Camera(index);
    }
    let shipped = || workspace::root().join("testdata/people.mp4");
    let path = args.file.clone().unwrap_or_else(shipped);
    if args.keep_running {
        Source::FileAgainAndAgain(path)
    } else {
        Source::File(path)
    }
}

/// Told before anything is built; absolute, wherever a service runs.
fn existing_file(path: &str) -> Result<PathBuf, String> {
    let absolute = fs::canonicalize(path).map_err(|error| error.to_string())?;
    if absolute.is_file() {
        Ok(absolute)
    } else {
        Err("not a file".to_owned())
    }
}

/// Builds the binaries as `cargo build` does and returns the folder they lie in.
fn build() -> Result<PathBuf> {
    let mut command = cargo(&["build", "--bins"]);
    for (package, _) in SERVICES {
        command.args(["--package", package]);
    }
    execute(&mut command)?;
    let folder = workspace::target().join("debug");
    for (_, binary) in SERVICES {
        if !folder.join(binary).is_file() {
            bail!(
                "built, yet there is no {}; is another profile or target set for Cargo?",
                folder.join(binary).display()
            );
        }
    }
    Ok(folder)
}

/// What an earlier demo left would be mistaken for what this one made.
fn empty_folder(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("removing the last demo's {}", folder.display()))?;
    }
    fs::create_dir_all(folder.join("logs"))
        .with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder.to_owned())
}
