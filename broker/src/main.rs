//! The `broker` binary: see the library for what it does.

use clap::Parser;
use std::process::ExitCode;

/// What has been committed is to be free for others at once: see BENCHMARKS.md, `memory`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = broker::Args::parse();
    let telemetry = args.telemetry.clone();
    let config = match broker::Config::try_from(args) {
        Ok(config) => config,
        Err(error) => return pipeline::service::fail(&error),
    };
    pipeline::service::run(&telemetry, |shutdown| broker::run(config, shutdown))
}
