//! `resize-clients`: see `resize-clients --help`.

use clap::Parser;
use processor_proto::{say, shutdown_on_signals};
use resize_clients::cli::Cli;
use resize_clients::config::{Config, ConfigError};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// What clap gives for a wrong command line, and we for a setting that cannot be.
const BAD_CONFIGURATION: u8 = 2;
const FAILED: u8 = 1;

fn main() -> ExitCode {
    match Config::try_from(Cli::parse()).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            let is_configuration = error.chain().any(|cause| cause.is::<ConfigError>());
            ExitCode::from(if is_configuration {
                BAD_CONFIGURATION
            } else {
                FAILED
            })
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    // The bars are what people look at; the log is for what they do not show.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .log_internal_errors(false) // that stderr is gone is told on stderr, with a panic
        .init();
    resize_clients::run(config, shutdown_on_signals()?).await
}
