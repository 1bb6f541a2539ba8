//! The processes of a proof: a conductor, and what it starts beside the shipped binaries.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Proves delivery under faults (`cargo xtask prove` builds everything and runs this)
#[derive(Debug, Parser)]
#[command(name = "prove", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make runs and judge them
    Run(prove::run::Args),
    /// Judge a run that was kept, again
    Check(prove::run::CheckArgs),
    /// Publish the workload of a plan
    Publish(prove::publish::Args),
    /// Serve a processor that behaves as planned
    Processor(prove::processor::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Run(args) => prove::run::run(&args),
        Task::Check(args) => prove::run::check(&args),
        Task::Publish(args) => prove::publish::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Processor(args) => prove::processor::run(&args).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
