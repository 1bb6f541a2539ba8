//! The gRPC server around a processor: limits, health, reflection, metrics and a drain that ends.
//!
//! ```text
//! bind: SERVING -> shutdown: NOT_SERVING, no new connections or calls, running calls end
//!               -> after the grace time: calls that still run are answered with UNAVAILABLE
//! ```

mod held;
mod metrics_endpoint;
mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use metrics_exporter_prometheus::{BuildError, ExporterFuture};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tonic::transport::{
    ServerTlsConfig,
    server::{Router, TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    Processor,
    answering::Answering,
    counted::{Counted, Counts},
    v1::{self, processor_server::ProcessorServer},
};

use held::Held;
pub use tls::{ServerTls, TlsError};

/// The largest message a processor takes or gives: a frame as large as Kafka takes here (8 MiB), and what is around it.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024 + 64 * 1024;

/// Calls one connection may have open: far above what a broker keeps in flight for a replica, and a bound on the
/// memory that a caller gone wild can claim before admission refuses it.
const MAX_STREAMS: u32 = 1024;
/// A stream's window holds a large frame, so that one call needs no round trip to be received.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// All calls of a connection together: 64 ordinary frames of up to 1 MiB on their way at once.
const CONNECTION_WINDOW_BYTES: u32 = 64 * 1024 * 1024;
/// Few frame headers for a picture, yet small calls still get through between large ones.
const HTTP2_FRAME_BYTES: u32 = 512 * 1024;
/// A caller whose machine vanished is noticed after the sum of both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// After the last call, connections have this long to carry its answer and to close.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// The names under which callers ask for the health: the whole server's, and the service's.
const SERVICES: [&str; 2] = ["", v1::processor_server::SERVICE_NAME];

/// How to serve. [`Default`] listens on a free port of localhost.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Where to take calls; port 0 takes a free one: see [`Server::local_addr`].
    pub listen: SocketAddr,
    /// Who the server proves to be, and which callers it takes. None: anybody who reaches the port can call, and
    /// everything is readable on the way.
    pub tls: Option<ServerTls>,
    /// Replaces the processor's own name in results and metrics.
    pub name: Option<String>,
    /// Where to serve Prometheus metrics, if at all. It installs the process's recorder: once a process.
    pub metrics: Option<SocketAddr>,
    /// The largest request and the largest response, in bytes.
    pub max_message_bytes: usize,
    /// Calls one connection may have open at once.
    pub max_streams: u32,
    /// Requests held at once, of all connections together: more are refused before they are read. Times
    /// `max_message_bytes` it bounds the memory that callers can claim. None: no bound but those of each connection.
    pub max_held: Option<usize>,
    /// How long running calls may go on after the shutdown began.
    pub grace: Duration,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            name: None,
            metrics: None,
            max_message_bytes: MAX_MESSAGE_BYTES,
            max_streams: MAX_STREAMS,
            max_held: None,
            grace: Duration::from_secs(10),
        }
    }
}

/// Why a processor cannot be served.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error(
        "cannot listen on {listen}: {source}; stop what uses that address, or give another one (port 0 takes a free one)"
    )]
    Listen {
        listen: SocketAddr,
        source: io::Error,
    },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "cannot serve metrics on {listen}: {source}; give another address, or none to serve no metrics"
    )]
    Metrics {
        listen: SocketAddr,
        source: BuildError,
    },
    #[error("the metrics listener failed: {0}")]
    MetricsListener(String),
    #[error("the gRPC reflection service: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// How a server stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Calls that still ran at the end of the grace time and were answered with UNAVAILABLE.
    pub ended_calls: u64,
}

/// A bound listener: callers can already connect, calls are taken from [`run`](Server::run) on.
pub struct Server {
    config: ServeConfig,
    local_addr: SocketAddr,
    incoming: TcpIncoming,
    tls: Option<ServerTlsConfig>,
    metrics: Option<ExporterFuture>,
    counts: Arc<Counts>,
}

/// Serves `processor` until `shutdown`: [`Server::bind`] and [`Server::run`] in one.
pub async fn serve(
    processor: impl Processor,
    config: ServeConfig,
    shutdown: CancellationToken,
) -> Result<Stopped, ServeError> {
    let server = Server::bind(config)?;
    tracing::info!(address = %server.local_addr(), "listening");
    server.run(processor, shutdown).await
}

impl Server {
    /// Takes the addresses of `config`. Call it inside a tokio runtime.
    pub fn bind(config: ServeConfig) -> Result<Self, ServeError> {
        let listen = config.listen;
        let tls = config.tls.as_ref().map(ServerTls::load).transpose()?;
        if tls.is_none() && !listen.ip().is_loopback() {
            tracing::warn!(%listen, "calls are taken from other machines, without TLS: whoever reaches this port can send \
                frames, and frames can be read on the way. Give the server a certificate and a CA for callers, or listen \
                on 127.0.0.1");
        }
        let cannot_listen = |source| ServeError::Listen { listen, source };
        let incoming = TcpIncoming::bind(listen)
            .map_err(cannot_listen)?
            .with_nodelay(Some(true))
            .with_keepalive(Some(KEEPALIVE_INTERVAL));
        Ok(Self {
            local_addr: incoming.local_addr().map_err(cannot_listen)?,
            metrics: config.metrics.map(metrics_endpoint::open).transpose()?,
            counts: Arc::default(),
            incoming,
            tls,
            config,
        })
    }

    /// Where the server listens, with the port that was free if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Counts of the calls, to be read while the server runs.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Serves `processor` until `shutdown`, then drains.
    pub async fn run(
        self,
        processor: impl Processor,
        shutdown: CancellationToken,
    ) -> Result<Stopped, ServeError> {
        let name = self.config.name.clone();
        let name = name.unwrap_or_else(|| processor.name().into());
        let service = Answering {
            name: name.clone(),
            processor,
        };
        self.run_service(service, name, shutdown).await
    }

    /// As [`run`](Server::run), for a service that answers requests itself: nothing is checked or stamped for it.
    pub async fn run_service(
        self,
        service: impl v1::processor_server::Processor,
        name: String,
        shutdown: CancellationToken,
    ) -> Result<Stopped, ServeError> {
        let end_calls = CancellationToken::new();
        let counted = Counted::new(service, name, Arc::clone(&self.counts), end_calls.clone());
        let (health, router) = router(&self.config, self.tls, counted).await?;

        let draining = shutdown.clone().cancelled_owned();
        let serving = router.serve_with_incoming_shutdown(self.incoming, draining);
        let metrics = metrics_endpoint::run(self.metrics);
        let grace = self.config.grace;
        let mut ended_calls = 0;
        tokio::select! {
            // Ends once every connection did. That is the usual end.
            served = serving => served?,
            () = async {
                shutdown.cancelled().await;
                stop_health(health).await;
                tokio::select! {
                    () = tokio::time::sleep(grace) => {
                        ended_calls = self.counts.in_flight();
                        end_calls.cancel();
                        tokio::time::sleep(LAST_ANSWERS).await;
                    }
                    () = quiet(&self.counts) => {}
                }
            } => {}
            failed = metrics => return Err(failed),
        }
        if ended_calls > 0 {
            tracing::warn!(
                ended_calls,
                ?grace,
                "the grace time is over: calls that still ran were answered with UNAVAILABLE"
            );
        }
        Ok(Stopped { ended_calls })
    }
}

/// The services that one port serves, and the handle to its health.
async fn router<S: v1::processor_server::Processor>(
    config: &ServeConfig,
    tls: Option<ServerTlsConfig>,
    service: S,
) -> Result<(HealthReporter, Router), ServeError> {
    let processor = ProcessorServer::new(service)
        .max_decoding_message_size(config.max_message_bytes)
        .max_encoding_message_size(config.max_message_bytes);
    let processor = Held::new(processor, config.max_held.unwrap_or(usize::MAX));
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ProcessorServer<S>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let mut builder = tonic::transport::Server::builder();
    if let Some(tls) = tls {
        builder = builder.tls_config(tls)?;
    }
    let router = builder
        .max_concurrent_streams(config.max_streams)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(processor);
    Ok((health, router))
}

/// Comes back once no call was running for a while: callers that hold a connection without using it (or are frozen
/// and do not hear that it ends) are not waited for.
async fn quiet(counts: &Counts) {
    const LOOKS: u32 = 10;
    let mut looks = tokio::time::interval(LAST_ANSWERS / LOOKS);
    let mut quiet = 0;
    while quiet <= LOOKS {
        looks.tick().await;
        quiet = if counts.in_flight() == 0 {
            quiet + 1
        } else {
            0
        };
    }
}

/// Tells every watcher, then ends the watches: an open one would keep its connection, and the drain, until the
/// end of the grace time.
async fn stop_health(mut health: HealthReporter) {
    for service in SERVICES {
        health
            .set_service_status(service, ServingStatus::NotServing)
            .await;
        health.clear_service_status(service).await;
    }
}
