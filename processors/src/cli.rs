//! The command line, and how it becomes a [`Config`].

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, value_parser};
use processor_proto::{ServeConfig, ServerTls, Threads};
use thiserror::Error;

use crate::{
    chaos::{Delay, Plan, PlanError, Rates, Wants},
    config::{Config, Kind},
    kserve::Server,
    picture::Decoder,
    resize::Target,
};

/// Calls at once for processors that only wait: bounds their memory, far above what any broker keeps in flight.
const WAITING_ADMISSION: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not 0");

/// Calls at once for a model elsewhere: most of their time they wait for it, and each holds a picture and its numbers.
const ASKING_ADMISSION: NonZeroUsize = NonZeroUsize::new(32).expect("32 is not 0");

/// Serves one of Framelane's built-in processors: a gRPC service that takes a frame and gives a result.
#[derive(Debug, Parser)]
#[command(name = "processor", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    serving: Serving,
    #[command(subcommand)]
    kind: Command,
}

#[derive(Debug, Args)]
struct Serving {
    /// Where to take calls; port 0 takes a free one
    #[arg(
        long,
        global = true,
        default_value = "127.0.0.1:50051",
        value_name = "IP:PORT"
    )]
    listen: SocketAddr,
    /// Take calls by TLS only, as the server of this certificate (PEM, with those between it and its issuer's)
    #[arg(
        long,
        global = true,
        env = "FRAMELANE_TLS_CERT",
        hide_env_values = true,
        value_name = "FILE"
    )]
    tls_cert: Option<PathBuf>,
    /// The key (PEM, not encrypted) of --tls-cert
    #[arg(
        long,
        global = true,
        env = "FRAMELANE_TLS_KEY",
        hide_env_values = true,
        value_name = "FILE"
    )]
    tls_key: Option<PathBuf>,
    /// Take calls only from those whose certificate is signed by one of these (PEM)
    #[arg(
        long,
        global = true,
        env = "FRAMELANE_TLS_CLIENT_CA",
        hide_env_values = true,
        value_name = "FILE"
    )]
    tls_client_ca: Option<PathBuf>,
    /// Write the listening address to this file once calls are taken
    #[arg(long, global = true, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Serve Prometheus metrics at this address
    #[arg(long, global = true, value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
    /// The name in results and metrics, if not the processor's own
    #[arg(long, global = true)]
    name: Option<String>,
    /// Threads that process; by default one a core (echo and chaos only wait and need none)
    #[arg(long, global = true, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Calls waiting or running before more are answered with RESOURCE_EXHAUSTED;
    /// by default 4 a thread (echo and chaos: 4096)
    #[arg(long, global = true, value_name = "N")]
    admission: Option<NonZeroUsize>,
    /// How long running calls may go on after SIGTERM
    #[arg(long, global = true, default_value = "10s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Refuse larger pictures before decoding them
    #[arg(long, global = true, default_value_t = 50, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    max_megapixels: u32,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer OK to every frame
    Echo {
        /// How long to wait before each answer
        #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
        delay: Duration,
    },
    /// Find what moves, against a background learned for each source
    Motion {
        /// Scale wider pictures down to this many pixels
        #[arg(long, default_value_t = 320, value_parser = value_parser!(u32).range(32..))]
        work_width: u32,
    },
    /// Find faces with a Haar cascade
    Faces {
        /// The cascade; by default that of the package opencv-data
        #[arg(long, value_name = "FILE")]
        cascade: Option<PathBuf>,
        /// Scale wider pictures down to this many pixels
        #[arg(long, default_value_t = 640, value_parser = value_parser!(u32).range(32..))]
        work_width: u32,
    },
    /// Blur faces: the new picture replaces the old one. Where none may get through, run the broker with --on-failure drop
    Blur(BlurArgs),
    /// Find people who stand or walk with the HOG detector
    People {
        /// Scale wider pictures down to this many pixels; time grows with the square, and people below 96 pixels
        /// in height are not found
        #[arg(long, default_value_t = 768, value_parser = value_parser!(u32).range(64..))]
        work_width: u32,
    },
    /// Replace each picture by a smaller or larger one, as JPEG
    Resize(ResizeArgs),
    /// Ask a model on an inference server that speaks the KServe v2 protocol (Triton and others), by gRPC
    Kserve(KserveArgs),
    /// Misbehave on purpose, the same way each time
    Chaos(ChaosArgs),
}

#[derive(Debug, Args)]
struct BlurArgs {
    /// The cascade; by default that of the package opencv-data
    #[arg(long, value_name = "FILE")]
    cascade: Option<PathBuf>,
    /// Look for faces in a picture of this width, in pixels; those of a few pixels are found only in a wide one
    #[arg(long, default_value_t = 960, value_parser = value_parser!(u32).range(32..))]
    work_width: u32,
    /// JPEG quality of the new picture
    #[arg(long, default_value_t = 85, value_parser = value_parser!(u8).range(1..=100))]
    quality: u8,
}

#[derive(Debug, Args)]
struct KserveArgs {
    /// The server's gRPC address, http://HOST:PORT or https://HOST:PORT (Triton's port is 8001)
    #[arg(long)]
    url: String,
    /// The model's name on the server, and in results unless --name gives another
    #[arg(long)]
    model: String,
    /// Its version [default: the server chooses]
    #[arg(long, value_name = "VERSION")]
    model_version: Option<String>,
    /// YAML: what the model takes and gives. An example stands in docs/kserve.md
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct ResizeArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// JPEG quality
    #[arg(long, default_value_t = 85, value_parser = value_parser!(u8).range(1..=100))]
    quality: u8,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// The new size in pixels, for frames that do not ask for one (by a label: resize=WxH or resize=F)
    #[arg(long, value_name = "WxH", value_parser = Target::size)]
    size: Option<Target>,
    /// The new size as a part of the old one, for frames that do not ask for one
    #[arg(long, value_name = "F", value_parser = Target::scale)]
    scale: Option<Target>,
}

#[derive(Debug, Args)]
struct ChaosArgs {
    /// How long answers take: fixed:20ms or lognormal:p50=20ms,p99=200ms
    #[arg(long, default_value = "fixed:0s")]
    delay: Delay,
    /// Part of the calls answered with an error, 0 to 1
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    error_rate: f64,
    /// Part of the calls never answered
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    hang_rate: f64,
    /// Part of the calls that abort the process
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    crash_rate: f64,
    /// Part of the calls answered with another frame's id
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    wrong_id_rate: f64,
    /// Part of the calls answered with 16 MiB
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    oversize_rate: f64,
    /// Abort the process whenever a frame of one of these sequences comes (a poison frame)
    #[arg(long, value_name = "SEQ", value_delimiter = ',')]
    crash_on: Vec<u64>,
    /// Answer with an error whenever a frame of one of these sequences comes
    #[arg(long, value_name = "SEQ", value_delimiter = ',')]
    error_on: Vec<u64>,
    /// Never answer when a frame of one of these sequences comes
    #[arg(long, value_name = "SEQ", value_delimiter = ',')]
    hang_on: Vec<u64>,
    /// Another seed, another run; the same seed, the same run
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Append a line for every call before answering it: source epoch sequence attempt outcome
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Ask for the pictures, as a model would; otherwise frames come without
    #[arg(long)]
    needs_pixels: bool,
    /// Ask for batches of up to so many frames; what befalls one of them befalls all
    #[arg(long, default_value_t = 1, value_name = "FRAMES", value_parser = value_parser!(u32).range(1..))]
    batch: u32,
    /// How long the first frame of a batch may wait for others
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = humantime::parse_duration)]
    batch_wait: Duration,
}

/// Why a command line cannot be.
#[derive(Debug, Error)]
pub enum CliError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("--tls-cert and --tls-key belong together: give both")]
    HalfIdentity,
    #[error("--tls-client-ca protects nothing without TLS: give --tls-cert and --tls-key too")]
    CallersWithoutTls,
}

fn server_tls(
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
) -> Result<Option<ServerTls>, CliError> {
    match (cert, key, client_ca) {
        (Some(cert), Some(key), client_ca) => Ok(Some(ServerTls {
            cert,
            key,
            client_ca,
        })),
        (None, None, None) => Ok(None),
        (None, None, Some(_)) => Err(CliError::CallersWithoutTls),
        _ => Err(CliError::HalfIdentity),
    }
}

impl TryFrom<Cli> for Config {
    type Error = CliError;

    fn try_from(cli: Cli) -> Result<Self, CliError> {
        let Serving {
            listen,
            tls_cert,
            tls_key,
            tls_client_ca,
            port_file,
            metrics,
            name,
            threads,
            admission,
            grace,
            max_megapixels,
        } = cli.serving;
        let decoder = Decoder {
            max_pixels: u64::from(max_megapixels) * 1_000_000,
        };
        let waits = matches!(cli.kind, Command::Echo { .. } | Command::Chaos(_));
        let mut threads = threads.map_or_else(Threads::default, Threads::new);
        if waits {
            threads.admission = WAITING_ADMISSION;
        }
        if matches!(cli.kind, Command::Kserve(_)) {
            threads.admission = threads.admission.max(ASKING_ADMISSION);
        }
        threads.admission = admission.unwrap_or(threads.admission);
        Ok(Self {
            serve: ServeConfig {
                listen,
                tls: server_tls(tls_cert, tls_key, tls_client_ca)?,
                name,
                metrics,
                grace,
                ..ServeConfig::default()
            },
            threads,
            port_file,
            decoder,
            kind: cli.kind.try_into()?,
        })
    }
}

impl TryFrom<Command> for Kind {
    type Error = PlanError;

    fn try_from(command: Command) -> Result<Self, PlanError> {
        Ok(match command {
            Command::Echo { delay } => Self::Echo { delay },
            Command::Motion { work_width } => Self::Motion { work_width },
            Command::Faces {
                cascade,
                work_width,
            } => Self::Faces {
                cascade,
                work_width,
            },
            Command::Blur(BlurArgs {
                cascade,
                work_width,
                quality,
            }) => Self::Blur {
                cascade,
                work_width,
                quality,
            },
            Command::People { work_width } => Self::People { work_width },
            Command::Resize(ResizeArgs { target, quality }) => Self::Resize {
                target: target.into(),
                quality,
            },
            Command::Kserve(args) => Self::Kserve {
                server: Server {
                    url: args.url,
                    model: args.model,
                    version: args.model_version,
                },
                config: args.config,
            },
            Command::Chaos(args) => {
                let rates = Rates {
                    error: args.error_rate,
                    hang: args.hang_rate,
                    crash: args.crash_rate,
                    wrong_id: args.wrong_id_rate,
                    oversize: args.oversize_rate,
                };
                let plan = Plan::new(args.seed, args.delay, rates)?;
                Self::Chaos {
                    plan: plan.on(args.crash_on, args.hang_on, args.error_on),
                    ledger: args.ledger,
                    wants: Wants {
                        pixels: args.needs_pixels,
                        batch: args.batch,
                        batch_wait: args.batch_wait,
                    },
                }
            }
        })
    }
}

impl From<TargetArgs> for Target {
    fn from(args: TargetArgs) -> Self {
        args.size
            .or(args.scale)
            .expect("clap demands one of the two")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(line: &str) -> Result<Config, String> {
        let words = std::iter::once("processor").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        cli.try_into().map_err(|error: CliError| error.to_string())
    }

    #[test]
    fn options_of_serving_go_before_or_behind_the_processor() {
        for line in ["--threads 3 people", "people --threads 3"] {
            let threads = config(line).unwrap().threads;
            assert_eq!((threads.count.get(), threads.admission.get()), (3, 12));
        }
        let chaos = config("chaos").unwrap().threads.admission;
        assert_eq!(chaos, WAITING_ADMISSION);
        assert_eq!(
            config("chaos --admission 5")
                .unwrap()
                .threads
                .admission
                .get(),
            5
        );
    }

    #[test]
    fn lines_that_mean_nothing_are_refused() {
        for line in [
            "",
            "smudge",
            "blur --quality 0",
            "kserve --url http://127.0.0.1:1 --model m",
            "echo --delay soon",
            "echo --listen localhost",
            "people --max-megapixels 0",
            "people --threads 0",
            "resize",
            "resize --size 10x0",
            "resize --size 10x10 --scale 0.5",
            "resize --scale -1",
            "resize --scale nan",
            "resize --scale 0.5 --quality 101",
            "chaos --delay 20ms",
            "chaos --error-rate 2",
            "chaos --error-rate 0.6 --hang-rate 0.6",
            "chaos --crash-on one",
            "echo --tls-cert cert.pem",
            "echo --tls-key key.pem",
            "echo --tls-client-ca ca.pem",
        ] {
            assert!(config(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
