//! The command line of a managed broker.

use crate::args::Args;
use pipeline::kafka::KafkaConfig;
use pipeline::service::ConfigError;
use registry::RegistryArgs;

/// Options of `broker --managed`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Managed")]
pub struct ManagedArgs {
    /// Run the stages of all pipelines in the registry, and follow what is changed there. Managed brokers share the work of
    /// each stage. Options of stages are then written there, by these names
    #[arg(
        long,
        conflicts_with_all = [
            "input", "join", "output", "processor", "group", "from", "no_create", "delivery", "content", "commit_linger",
            "in_flight", "window", "window_mib", "deadline", "attempts", "backoff", "on_failure", "dead_letter", "watchdog",
            "membership", "session_timeout", "drain",
        ]
    )]
    pub managed: bool,
    /// Where it runs, for those who look at the registry [default: this machine's name]
    #[arg(long, requires = "managed", value_name = "NAME")]
    pub host: Option<String>,
    /// Calls of all stages together
    #[arg(
        long,
        requires = "managed",
        default_value_t = 1024,
        value_name = "CALLS"
    )]
    pub max_calls: usize,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// What a managed broker needs to know; the rest is in the registry.
#[derive(Debug, Clone)]
pub struct ManagedConfig {
    pub kafka: KafkaConfig,
    /// As given, for what stages have of it.
    pub args: Args,
}

impl TryFrom<Args> for ManagedConfig {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> anyhow::Result<Self> {
        for (option, value) in [
            ("--max-calls", args.managed.max_calls),
            ("--memory-mib", args.memory_mib),
        ] {
            if value == 0 {
                return Err(ConfigError(format!("{option} must be at least 1")).into());
            }
        }
        Ok(Self {
            kafka: args.kafka.clone().try_into()?,
            args,
        })
    }
}
