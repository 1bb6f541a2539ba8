//! The web edge: any topic in a browser, live and replayed.
//!
//! ```text
//! Kafka ─▶ live: readers of watched partitions ─▶ hubs ─▶ fan ─▶ viewers      routes: MJPEG, WebSocket, events, page
//!            └─▶ pictures: variants, on threads of their own ─▶ fan ─▶ viewers      (server: TLS, limits)
//!          replay: one reader for each viewer of the past
//!          places: which sources there are
//! ```
//! A gateway keeps nothing: any number of them may stand behind one address. `fan`, `order`, `pace` and `stats` are pure.

mod access;
mod address;
pub mod args;
pub mod config;
mod fan;
mod json;
mod kafka;
mod live;
mod order;
mod pace;
mod pictures;
mod places;
mod refusal;
mod registered;
mod replay;
mod routes;
mod server;
mod shot;
mod stats;
mod supply;
mod telemetry;

use crate::access::Pass;
use crate::config::Config;
use crate::kafka::Kafka;
use crate::live::{Live, Tools};
use crate::pictures::Painter;
use crate::places::Places;
use crate::registered::Registered;
use crate::routes::{App, ViewerSeats};
use crate::server::{GOODBYE, Server};
use crate::supply::Sources;
use anyhow::Context;
use pipeline::resolve::Resolver;
use registry::RegistryError;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections beyond those of viewers: for the page, lists and snapshots.
const MORE_CONNECTIONS: usize = 256;

/// Serves until `shutdown` is cancelled.
///
/// # Errors
/// Kafka cannot be reached at the start, or the address cannot be listened at.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    tracing::info!(?config, "gateway");
    telemetry::describe();
    allow_open_files(config.max_viewers);
    let kafka = Arc::new(Kafka::connect(config.kafka.clone()).await?);
    let server = Server::bind(
        config.listen,
        config.tls.clone(),
        config.max_viewers + MORE_CONNECTIONS,
        config.write_timeout,
    );
    let server = server.await.with_context(|| {
        format!(
            "cannot listen at {}: give --listen another address",
            config.listen
        )
    })?;
    let painter =
        Painter::start(config.picture_threads).context("starting the threads for pictures")?;
    let tools = Tools {
        resolver: Arc::new(Resolver::new(config.kafka.clone())),
        painter: Arc::new(painter),
        kafka: Arc::clone(&kafka),
    };
    let live = Arc::new(Live::new(tools, config.linger, config.max_partitions));
    let places = Arc::new(Places::new(kafka));
    let registered = open_registry(&config).await?;
    let app = App {
        sources: Sources {
            live: Arc::clone(&live),
            places: Arc::clone(&places),
            replays: Arc::new(Semaphore::new(config.max_replays)),
            most_replays: config.max_replays,
            registered: registered.clone(),
        },
        tokens: config.tokens.clone(),
        anybody: Pass::anybody(config.listen.ip()),
        is_secure: config.tls.is_some() || config.origins.has_https(),
        origins: config.origins.clone(),
        seats: ViewerSeats::new(config.max_viewers),
        shutdown: shutdown.clone(),
    };
    let url = announce(&config, &server)?;
    let app = Arc::new(app);
    let router = routes::router(Arc::clone(&app));
    let report = async {
        match &registered {
            Some(registered) => registered.run(&url, &live, shutdown.clone()).await,
            None => Ok(()),
        }
    };
    let ((), (), (), reported) = tokio::join!(
        server.run(router, shutdown.clone()),
        live.run(shutdown.clone()),
        places.run(shutdown.clone()),
        report,
    );
    // WebSockets are no longer the server's. Who does not listen to a goodbye is not waited for.
    let _ = tokio::time::timeout(GOODBYE, app.seats.all_free()).await;
    reported.context("reporting to the registry")
}

async fn open_registry(config: &Config) -> anyhow::Result<Option<Arc<Registered>>> {
    let Some(topic) = &config.registry else {
        return Ok(None);
    };
    let opened = Registered::open(&config.kafka, topic).await;
    let registered = opened.map_err(|error| match error {
        // Unwrapped, so that the exit code can tell settings from failures.
        RegistryError::Kafka(fault) => anyhow::Error::from(fault),
        other => other.into(),
    });
    let registered = registered
        .with_context(|| format!("the registry {topic} (--registry none does without)"))?;
    Ok(Some(Arc::new(registered)))
}

/// Every connection is an open file, and systems allow few until they are asked for more.
fn allow_open_files(viewers: usize) {
    let needed = (viewers + 2 * MORE_CONNECTIONS) as u64;
    match rlimit::increase_nofile_limit(needed) {
        Ok(allowed) if allowed < needed => tracing::warn!(
            allowed,
            needed,
            "the system allows too few open files for --max-viewers: raise its limit (ulimit -n)"
        ),
        Ok(_) => {}
        Err(cause) => tracing::warn!(%cause, "the number of open files could not be raised"),
    }
}

/// Says where, and warns of what is open to others. Returns the URL.
fn announce(config: &Config, server: &Server) -> anyhow::Result<String> {
    let address = server
        .listener
        .local_addr()
        .context("asking for the port")?;
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    tracing::info!("listening at {scheme}://{address}/");
    if !address.ip().to_canonical().is_loopback() {
        if config.tls.is_none() {
            tracing::warn!(%address, "pictures can be read on their way to other machines: give --tls-cert and --tls-key, or \
                put a proxy with TLS in front");
        }
        if config.tokens.is_none() {
            tracing::warn!(%address, "everybody who reaches this port sees every topic, and what the registry says but \
                for passwords; nobody may write the registry here: give --tokens");
        }
    }
    if let Some(file) = &config.port_file {
        write_port_file(file, &address.to_string())
            .with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(format!("{scheme}://{address}"))
}

/// Whole or not at all: others wait for this file.
fn write_port_file(file: &Path, address: &str) -> std::io::Result<()> {
    let unfinished = file.with_extension("unfinished");
    std::fs::write(&unfinished, format!("{address}\n"))?;
    std::fs::rename(&unfinished, file)
}
