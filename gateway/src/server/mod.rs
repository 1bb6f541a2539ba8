//! Connections: accepted up to a limit, by TLS if asked for, each with times and sizes that bound it.

mod patient;
mod tls;

pub use tls::Tls;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use patient::Patient;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A request's head, or a TLS handshake, takes no longer. Ends idle connections too.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// A request's head: some cookies and a token.
const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
/// What the system may hold of a connection that the other side has not taken yet, beside one frame. With more, a slow
/// viewer would see pictures that are seconds old before it is found to be slow.
const UNSENT_BYTES: u32 = 64 << 10;
/// A connection whose other side is gone without a word ends after this.
const GONE_AFTER: Duration = Duration::from_secs(30);
/// A connection on which nothing is said is asked this often whether anybody is there: a viewer of a source that rests has
/// nothing to be sent that could fail. (Linux begins after 2 h by itself.)
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// When the gateway stops, viewers are told; then their connections are closed.
pub const GOODBYE: Duration = Duration::from_secs(3);
/// The system has no room for another connection: one of ours has to end first.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Where and how connections are taken.
#[derive(Debug)]
pub struct Server {
    pub listener: TcpListener,
    pub tls: Option<Tls>,
    pub max_connections: usize,
    /// A connection that takes nothing for so long is closed.
    pub write_timeout: Duration,
}

impl Server {
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<Tls>,
        max_connections: usize,
        write_timeout: Duration,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            tls,
            max_connections,
            write_timeout,
        })
    }

    /// Serves until told to stop.
    pub async fn run(self, router: Router, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(self.max_connections));
        let acceptor = self.tls.map(|tls| TlsAcceptor::from(tls.config()));
        loop {
            let next = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            let Some((permit, accepted)) = shutdown.run_until_cancelled(next).await else {
                break;
            };
            let (Ok(permit), Ok((stream, _))) = (permit, accepted) else {
                tracing::warn!("no connection could be taken; trying again");
                tokio::time::sleep(NO_ROOM_PAUSE).await;
                continue;
            };
            let connection = Connection {
                router: router.clone(),
                acceptor: acceptor.clone(),
                write_timeout: self.write_timeout,
                shutdown: shutdown.clone(),
                _permit: permit,
            };
            connections.spawn(connection.serve(stream));
        }
        drop(self.listener);
        connections.close();
        // What has not ended by then ends with the runtime.
        let _ = tokio::time::timeout(GOODBYE, connections.wait()).await;
    }
}

struct Connection {
    router: Router,
    acceptor: Option<TlsAcceptor>,
    write_timeout: Duration,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        if let Err(cause) = tune(&stream) {
            tracing::debug!(%cause, "a connection cannot be tuned");
        }
        let stream = Patient::new(stream, self.write_timeout);
        match self.acceptor.clone() {
            None => self.speak(stream).await,
            Some(acceptor) => {
                match tokio::time::timeout(HEAD_PATIENCE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => self.speak(stream).await,
                    Ok(Err(cause)) => tracing::debug!(%cause, "no TLS"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                }
            }
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = TowerToHyperService::new(self.router);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_headers(MAX_HEADERS)
            // Also bounds what of an answer waits here: not more than the frame that is being sent.
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(cause) = ended {
            tracing::debug!(%cause, "a connection has ended");
        }
    }
}

/// Small messages at once, and little of what is old by the time it is sent.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
        socket.set_tcp_user_timeout(Some(GONE_AFTER))?;
    }
    let probes = TcpKeepalive::new()
        .with_time(PROBE_EVERY)
        .with_interval(PROBE_EVERY);
    socket.set_tcp_keepalive(&probes)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_idle_is_asked_whether_anybody_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let viewer = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (stream, _) = listener.accept().await.unwrap();
        tune(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), PROBE_EVERY);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), PROBE_EVERY);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(GONE_AFTER));
        drop(viewer);
    }
}
