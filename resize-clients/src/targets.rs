//! Services as they were named, and how both sides know whom they talk to.

use crate::config::ConfigError;
use processor_proto::target::{self, OptionNames, TlsFiles};
use std::path::PathBuf;

pub use processor_proto::target::Target;

const NAMES: OptionNames = OptionNames {
    service: "service",
    url: "--endpoint",
    ca: "--ca",
    cert: "--cert",
    key: "--key",
};

/// Options for services at https:// addresses; the names and variables are the broker's.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Services by TLS")]
pub struct TlsArgs {
    /// Certificates (PEM) of those who may sign the services' certificates [default: the system's]
    #[arg(
        long,
        env = "FRAMELANE_PROCESSOR_CA",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub ca: Option<PathBuf>,
    /// Our own certificate (PEM), for services that ask for one
    #[arg(
        long,
        env = "FRAMELANE_PROCESSOR_CERT",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub cert: Option<PathBuf>,
    /// The key (PEM, not encrypted) of --cert
    #[arg(
        long,
        env = "FRAMELANE_PROCESSOR_KEY",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub key: Option<PathBuf>,
}

/// Checks addresses and files.
pub fn targets(urls: &[String], args: &TlsArgs) -> Result<Vec<Target>, ConfigError> {
    let files = TlsFiles {
        ca: args.ca.as_deref(),
        cert: args.cert.as_deref(),
        key: args.key.as_deref(),
    };
    target::targets(urls, files, &NAMES).map_err(|cause| {
        // Everything behind --endpoint is taken for its addresses.
        let hint = "(N, M and VIDEO stand before --endpoint)";
        ConfigError(format!("{cause} {hint}"))
    })
}
