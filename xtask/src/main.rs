//! Everything a person or CI runs: `cargo xtask --help`. Needs nothing but Rust and a C compiler; `setup` gets the rest.

mod bench;
mod check;
mod demo;
mod deny;
mod fuzz;
mod install;
mod interrupt;
mod kafka;
mod mutants;
mod needs;
mod prove;
mod python;
mod setup;
mod steps;
mod test;
mod test_report;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and shows Framelane.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install the system packages that are missing (OpenCV, a C++ compiler, Java, ...)
    Setup,
    /// Run the whole pipeline on real video and real Kafka, and count what comes out
    Demo(demo::Args),
    /// Run every check and every test; what could not run is named at the end
    Test(test::Args),
    /// Measure throughput, latency, cost and recovery against what the field would do without Framelane
    Bench(bench::Args),
    /// Build the binaries with optimisation and put them on the PATH
    Install,
    /// Find or start a Kafka and keep it until Ctrl-C
    Kafka,
    /// Give random bytes to everything that reads foreign bytes, guided by what they reach
    Fuzz(fuzz::Args),
    /// Prove delivery: seeded runs with faults on purpose, and a checker that trusts neither side
    Prove(prove::Args),
    /// Break a copy of the code on purpose, in every way that tests/mutants holds: each must be noticed, by name
    Mutants(mutants::Args),
    /// Check the Python SDK alone: its environment, format, lints, types and tests
    Python,
    /// Run the checks alone: format, lints, documentation, licences
    Check,
}

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let result = match Cli::parse().command {
        Task::Setup => setup::run().map(done),
        Task::Demo(args) => demo::run(&args).map(done),
        Task::Test(args) => test::run(&args),
        Task::Bench(args) => bench::run(&args).map(done),
        Task::Install => install::install().map(done),
        Task::Kafka => kafka::run().map(done),
        Task::Prove(args) => prove::run(&args),
        Task::Mutants(args) => mutants::run(&args).map(done),
        Task::Fuzz(args) => fuzz::run(&args).map(done),
        Task::Python => python::alone(),
        Task::Check => check::run().map(done),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            // As everywhere in Framelane: 2 for wrong settings, 1 for what fails later.
            let is_setting = matches!(
                error.downcast_ref(),
                Some(kafka_node::Error::Environment { .. })
            );
            ExitCode::from(if is_setting { 2 } else { 1 })
        }
    }
}
