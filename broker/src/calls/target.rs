//! Where a processor is, and how both sides know whom they talk to.

use pipeline::service::ConfigError;
use processor_proto::target::{self, OptionNames, TlsFiles};
use std::path::PathBuf;

pub use processor_proto::target::Target;

const NAMES: OptionNames = OptionNames {
    service: "processor",
    url: "--processor",
    ca: "--processor-ca",
    cert: "--processor-cert",
    key: "--processor-key",
};

/// Options for processors at https:// addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, clap::Args)]
#[command(next_help_heading = "Processors by TLS")]
pub struct TlsArgs {
    /// Certificates (PEM) of those who may sign the processors' certificates [default: the system's]
    #[arg(
        long,
        env = "FRAMELANE_PROCESSOR_CA",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub processor_ca: Option<PathBuf>,
    /// Our own certificate (PEM), for processors that ask for one
    #[arg(
        long,
        env = "FRAMELANE_PROCESSOR_CERT",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub processor_cert: Option<PathBuf>,
    /// The key (PEM, not encrypted) of --processor-cert
    #[arg(
        long,
        env = "FRAMELANE_PROCESSOR_KEY",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub processor_key: Option<PathBuf>,
}

/// Checks addresses and files.
pub fn targets(urls: &[String], args: &TlsArgs) -> Result<Vec<Target>, ConfigError> {
    let files = TlsFiles {
        ca: args.processor_ca.as_deref(),
        cert: args.processor_cert.as_deref(),
        key: args.processor_key.as_deref(),
    };
    target::targets(urls, files, &NAMES).map_err(|cause| ConfigError(cause.to_string()))
}
