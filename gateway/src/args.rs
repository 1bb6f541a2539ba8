//! The command line.

use pipeline::kafka::KafkaArgs;
use pipeline::service::TelemetryArgs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const AFTER_HELP: &str = r#"Examples:
  gateway                                                   the page at http://127.0.0.1:8080
  gateway --listen 0.0.0.0:8443 --tls-cert server.pem --tls-key server.key --tokens tokens.yaml
  curl http://127.0.0.1:8080/snapshot/cam0/cam0.jpg > now.jpg
  ffplay http://127.0.0.1:8080/live/cam0.people/cam0.mjpg?overlay=1

Addresses (TOPIC/SOURCE; the source's name is the topic's unless --source-id said otherwise):
  /                               a wall of all sources; a click for one of them, with a time line
  /live/TOPIC/SOURCE.mjpg         MJPEG
  /ws/TOPIC/SOURCE                WebSocket: each message a frame with its results
  /events/TOPIC/SOURCE            server-sent events: results without pictures
  /snapshot/TOPIC/SOURCE.jpg      the newest picture
  /sources                        what there is, as JSON
  /api/v1                         the registry (openapi.json describes it)
  /health, /ready                 for supervisors
  With ?size=640 smaller, ?overlay=1 with the results drawn in, ?rate=5 frames a second at most,
  ?from=earliest (or offset:N, time:RFC3339) a replay, ?speed=2 of it

Any number of gateways may stand behind one address: they keep nothing. docs/gateway.md has the formats.

Exit codes: 0 done, 1 failed while running, 2 wrong settings."#;

/// Show topics of frames in browsers, live and from the past.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "gateway", version, after_help = AFTER_HELP)]
pub struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    pub listen: SocketAddr,

    /// Write the address to this file once it is listened at
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,

    /// The registry's topic: registered sources are shown, opened on demand for their viewers, and /api/v1 serves the
    /// registry. none does without
    #[arg(long, env = "FRAMELANE_REGISTRY", default_value = registry::DEFAULT_TOPIC, value_name = "TOPIC|none")]
    pub registry: String,

    /// A certificate (PEM): speak HTTPS
    #[arg(
        long,
        env = "FRAMELANE_TLS_CERT",
        hide_env_values = true,
        requires = "tls_key",
        value_name = "FILE",
        help_heading = "Security"
    )]
    pub tls_cert: Option<PathBuf>,

    /// The key (PEM) of --tls-cert, not encrypted
    #[arg(
        long,
        env = "FRAMELANE_TLS_KEY",
        hide_env_values = true,
        requires = "tls_cert",
        value_name = "FILE",
        help_heading = "Security"
    )]
    pub tls_key: Option<PathBuf>,

    /// Ask for tokens: a YAML file of them, with the topics that each opens and when it expires (docs/gateway.md)
    #[arg(
        long,
        env = "FRAMELANE_TOKENS",
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "Security"
    )]
    pub tokens: Option<PathBuf>,

    /// Another page that may use this gateway, or the name under which a proxy shows it, e.g. https://HOST;
    /// repeatable
    #[arg(
        long = "allow-origin",
        value_name = "ORIGIN",
        help_heading = "Security"
    )]
    pub allow_origin: Vec<String>,

    /// Viewers at once, at most; more are told to come back later
    #[arg(long, default_value_t = 2_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Limits")]
    pub max_viewers: u32,

    /// Replays at once, at most: each reads on its own
    #[arg(long, default_value_t = 32, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=10_000), help_heading = "Limits")]
    pub max_replays: u32,

    /// Partitions watched at once, at most
    #[arg(long, default_value_t = 256, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Limits")]
    pub max_partitions: u32,

    /// A viewer that takes nothing for so long is closed
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = positive_time, help_heading = "Limits")]
    pub write_timeout: Duration,

    /// A source is read on for so long after its last viewer has gone
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Limits")]
    pub linger: Duration,

    /// Threads that make pictures smaller and draw on them [default: one for every second core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Limits")]
    pub picture_threads: Option<u16>,

    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

fn positive_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than 0".to_owned()),
        Ok(time) => Ok(time),
        Err(cause) => Err(cause.to_string()),
    }
}
