//! `producer`: video in. See `producer --help`.

use clap::Parser;
use pipeline::service;
use producer::args::Cli;
use producer::config::Config;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let telemetry = cli.telemetry.clone();
    match Config::try_from(cli) {
        Ok(config) => service::run(&telemetry, |shutdown| producer::run(config, shutdown)),
        Err(error) => service::fail(&error),
    }
}
