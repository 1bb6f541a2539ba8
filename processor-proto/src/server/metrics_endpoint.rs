//! The Prometheus listener of a processor.

use std::{convert::Infallible, net::SocketAddr};

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, ExporterFuture, PrometheusBuilder};

use super::ServeError;

/// From a call that only copies to one that ran into every common deadline.
const CALL_SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 5.0, 30.0,
];

/// Takes the address and installs the process's metrics recorder.
pub(super) fn open(listen: SocketAddr) -> Result<ExporterFuture, ServeError> {
    let failed = |source: BuildError| ServeError::Metrics { listen, source };
    let (recorder, exporter) = PrometheusBuilder::new()
        .with_http_listener(listen)
        .set_buckets(&CALL_SECONDS)
        .and_then(PrometheusBuilder::build)
        .map_err(failed)?;
    metrics::set_global_recorder(recorder).map_err(|error| failed(error.into()))?;
    if !listen.ip().is_loopback() {
        tracing::warn!(%listen, "metrics can be read from other machines, by whoever reaches this port");
    }
    metrics::describe_counter!(
        "framelane_processor_calls_total",
        Unit::Count,
        "Calls ended, by outcome"
    );
    metrics::describe_histogram!(
        "framelane_processor_call_seconds",
        Unit::Seconds,
        "From receiving a call to its answer"
    );
    metrics::describe_gauge!(
        "framelane_processor_in_flight",
        Unit::Count,
        "Calls running now"
    );
    Ok(exporter)
}

/// Answers scrapes; comes back only with a failure.
pub(super) async fn run(exporter: Option<ExporterFuture>) -> ServeError {
    let Some(exporter) = exporter else {
        let never: Infallible = std::future::pending().await;
        match never {}
    };
    match exporter.await {
        Ok(()) => ServeError::MetricsListener("it ended".into()),
        Err(error) => ServeError::MetricsListener(format!("{error:?}")),
    }
}
