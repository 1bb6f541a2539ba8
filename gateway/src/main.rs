//! `gateway`: see `gateway --help`.

use clap::Parser;
use gateway::{args::Args, config::Config};
use pipeline::service;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    let telemetry = args.telemetry.clone();
    match Config::try_from(args) {
        Ok(config) => service::run(&telemetry, |shutdown| gateway::run(config, shutdown)),
        Err(error) => service::fail(&error),
    }
}
