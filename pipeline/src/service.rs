//! From the command line to the exit code: what every binary of Framelane does the same way.

use crate::kafka::{COMMAND_LOG_FILTER, DEFAULT_LOG_FILTER};
use anyhow::Context;
use metrics_exporter_prometheus::{ExporterFuture, PrometheusBuilder};
use std::future::Future;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The settings are wrong: changing them is the only way on. Everything else is a failure at run time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Exit code of configuration errors; the command-line parser uses the same one.
const EXIT_CONFIG: u8 = 2;
/// Exit code of failures at run time.
const EXIT_FAILURE: u8 = 1;
/// For blocking calls that are still under way when the service has ended.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Observability options of every service.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Observability")]
pub struct TelemetryArgs {
    /// Serve Prometheus metrics at http://ADDR/metrics
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
}

/// Sets up logging and metrics, runs the service until it ends or a signal comes, and turns its result into an exit
/// code: 0, 1, or 2 for a [`ConfigError`] or a Kafka configuration fault.
///
/// SIGINT and SIGTERM cancel the token; the service then ends within its grace time. A second one ends the process.
pub fn run<F, S>(telemetry: &TelemetryArgs, service: F) -> ExitCode
where
    F: FnOnce(CancellationToken) -> S,
    S: Future<Output = anyhow::Result<()>>,
{
    init_logging(DEFAULT_LOG_FILTER);
    let runtime = match start_runtime() {
        Ok(runtime) => runtime,
        Err(cause) => return fail(&anyhow::Error::new(cause).context("starting the runtime")),
    };
    let result = runtime.block_on(async {
        let shutdown = processor_proto::shutdown_on_signals()?;
        let exporter = telemetry.metrics.map(open_metrics).transpose()?;
        tokio::select! {
            result = service(shutdown) => result,
            error = serve_metrics(exporter) => Err(error),
        }
    });
    // A call to Kafka that hangs must not hold up the end: its thread ends with the process.
    runtime.shutdown_timeout(LAST_CALLS);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// As [`run`], for a command that a person waits for: nothing but errors is logged unless RUST_LOG asks for it, and there
/// are no metrics.
pub fn run_command<F, S>(command: F) -> ExitCode
where
    F: FnOnce(CancellationToken) -> S,
    S: Future<Output = anyhow::Result<()>>,
{
    init_logging(COMMAND_LOG_FILTER);
    run(&TelemetryArgs { metrics: None }, command)
}

/// With a worker for every second core: the rest is for the threads of Kafka's client and for blocking work, and handing a frame
/// from one worker to the next costs more than what they do with it.
fn start_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        builder.worker_threads(cores.div_ceil(2));
    }
    builder.enable_all().build()
}

/// Prints the error with its causes and chooses the exit code.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    crate::say(format_args!("error: {error:#}"));
    let is_configuration = error.chain().any(|cause| {
        cause.is::<ConfigError>()
            || cause
                .downcast_ref::<crate::kafka::KafkaFault>()
                .is_some_and(crate::kafka::KafkaFault::is_configuration)
    });
    ExitCode::from(if is_configuration {
        EXIT_CONFIG
    } else {
        EXIT_FAILURE
    })
}

/// Logs go to stderr; RUST_LOG chooses what is logged.
fn init_logging(default_filter: &str) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    // A second call keeps the first one's subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .log_internal_errors(false) // that stderr is gone is told on stderr, with a panic
        .try_init();
}

fn open_metrics(address: SocketAddr) -> anyhow::Result<ExporterFuture> {
    let (recorder, exporter) = PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets(&LATENCY_BUCKETS_S)?
        .build()
        .with_context(|| {
            format!("cannot serve metrics at {address}: give --metrics another port")
        })?;
    metrics::set_global_recorder(recorder)?;
    tracing::info!("metrics at http://{address}/metrics");
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "metrics can be read from other machines, by whoever reaches this port");
    }
    Ok(exporter)
}

/// Answers scrapes; comes back only with a failure.
async fn serve_metrics(exporter: Option<ExporterFuture>) -> anyhow::Error {
    match exporter {
        None => std::future::pending().await,
        Some(exporter) => match exporter.await {
            Ok(()) => anyhow::anyhow!("the metrics listener has ended"),
            Err(cause) => anyhow::anyhow!("the metrics listener failed: {cause:?}"),
        },
    }
}

/// Seconds: 1 ms to 30 s in steps of about 2.
const LATENCY_BUCKETS_S: [f64; 15] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0,
];
