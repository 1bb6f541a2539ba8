//! From the command line to the exit code: what every binary of Framelane does the same way.

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The settings are wrong: changing them is the only way on. Everything else is a failure at run time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Exit code of configuration errors; the command-line parser uses the same one.
pub const EXIT_CONFIG: u8 = 2;
/// Exit code of failures at run time.
pub const EXIT_FAILURE: u8 = 1;

/// Observability options of every service.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Observability")]
pub struct TelemetryArgs {
    /// Serve Prometheus metrics at http://ADDR/metrics
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
}

/// Sets up logging and metrics, runs the service until it ends or a signal comes, and turns its result into an exit
/// code: 0, [`EXIT_FAILURE`], or [`EXIT_CONFIG`] for a [`ConfigError`] or a Kafka configuration fault.
///
/// SIGINT and SIGTERM cancel the token once; the service then ends within its grace time.
pub fn run<F, S>(telemetry: &TelemetryArgs, service: F) -> ExitCode
where
    F: FnOnce(CancellationToken) -> S,
    S: Future<Output = anyhow::Result<()>>,
{
    init_logging();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(cause) => return fail(&anyhow::Error::new(cause).context("starting the runtime")),
    };
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        cancel_on_signals(&shutdown)?;
        if let Some(address) = telemetry.metrics {
            serve_metrics(address)?;
        }
        service(shutdown).await
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Prints the error with its causes and chooses the exit code.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
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

/// Logs go to stderr; RUST_LOG chooses what is logged (default: info).
pub fn init_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call (in tests) keeps the first one's subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .try_init();
}

fn serve_metrics(address: SocketAddr) -> anyhow::Result<()> {
    // The exporter binds later, in a task of its own; binding here first names the problem at once.
    let probe = std::net::TcpListener::bind(address).map_err(|cause| {
        anyhow::anyhow!("cannot serve metrics at {address}: {cause}. Give --metrics another port")
    })?;
    drop(probe);
    metrics_exporter_prometheus::PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets(&LATENCY_BUCKETS_S)?
        .install()?;
    tracing::info!("metrics at http://{address}/metrics");
    Ok(())
}

/// Seconds: 1 ms to 30 s in steps of about 2.
const LATENCY_BUCKETS_S: [f64; 15] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0,
];

fn cancel_on_signals(shutdown: &CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
        token.cancel();
    });
    Ok(())
}
