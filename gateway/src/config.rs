//! Validated settings.

use crate::access::{Origins, TokenFile};
use crate::args::Args;
use crate::server::Tls;
use pipeline::kafka::KafkaConfig;
use pipeline::service::ConfigError;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything that [`crate::run`] needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    pub kafka: KafkaConfig,
    pub listen: SocketAddr,
    pub port_file: Option<PathBuf>,
    /// The registry's topic; None: there is none.
    pub registry: Option<String>,
    /// None: plain HTTP.
    pub tls: Option<Tls>,
    /// None: everybody may see everything.
    pub tokens: Option<Arc<TokenFile>>,
    pub origins: Origins,
    pub max_viewers: usize,
    pub max_replays: usize,
    pub max_partitions: usize,
    pub write_timeout: Duration,
    pub linger: Duration,
    pub picture_threads: usize,
}

impl TryFrom<Args> for Config {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> anyhow::Result<Self> {
        let wrong = |why: String| anyhow::Error::from(ConfigError(why));
        let tls = match (&args.tls_cert, &args.tls_key) {
            (Some(cert), Some(key)) => {
                Some(Tls::read(cert, key).map_err(|error| wrong(error.to_string()))?)
            }
            _ => None,
        };
        let tokens = args.tokens.as_deref().map(TokenFile::read).transpose();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            kafka: args.kafka.try_into()?,
            listen: args.listen,
            registry: Some(args.registry).filter(|topic| topic != "none"),
            port_file: args.port_file,
            tls,
            tokens: tokens
                .map_err(|error| wrong(error.to_string()))?
                .map(Arc::new),
            origins: Origins::new(&args.allow_origin)
                .map_err(|error| wrong(format!("--allow-origin: {error}")))?,
            max_viewers: args.max_viewers as usize,
            max_replays: args.max_replays as usize,
            max_partitions: args.max_partitions as usize,
            write_timeout: args.write_timeout,
            linger: args.linger,
            picture_threads: args.picture_threads.map_or(cores.div_ceil(2), usize::from),
        })
    }
}
