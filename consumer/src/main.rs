//! `consumer`: see `consumer --help`.

use clap::Parser;
use consumer::{args::Args, config::Work};
use pipeline::service;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    let telemetry = args.telemetry.clone();
    match Work::try_from(args) {
        Ok(work) => service::run(&telemetry, |shutdown| consumer::run(work, shutdown)),
        Err(error) => service::fail(&error),
    }
}
