//! `processor echo|motion|faces|blur|people|resize|kserve|chaos`: see `processor --help`.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use processor_proto::{ServeError, say, shutdown_on_signals};
use processors::{RunError, cli::Cli, config::Config};
use tracing_subscriber::EnvFilter;

/// What clap gives for a wrong command line, and we for a setting that cannot be.
const BAD_CONFIGURATION: u8 = 2;
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let config = match Config::try_from(Cli::parse()) {
        Ok(config) => config,
        Err(error) => {
            say(format_args!("error: {error}"));
            return BAD_CONFIGURATION.into();
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false) // that stderr is gone is told on stderr, with a panic
        .init();
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error}"));
            match error.downcast_ref() {
                Some(
                    RunError::Cascade(_) | RunError::Model(_) | RunError::Serve(ServeError::Tls(_)),
                ) => BAD_CONFIGURATION.into(),
                Some(RunError::Connect(error)) if error.is_setting() => BAD_CONFIGURATION.into(),
                _ => FAILED.into(),
            }
        }
    }
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    Ok(processors::run(config, shutdown_on_signals()?).await?)
}
