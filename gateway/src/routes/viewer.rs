//! One viewer: a seat, what it is shown, and when it has to go.

use super::App;
use crate::access::Pass;
use crate::address::Address;
use crate::refusal::Refusal;
use crate::supply::{Given, Supply, Wish};
use axum::http::StatusCode;
use jiff::Timestamp;
use metrics::Counter;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The places for viewers.
#[derive(Debug)]
pub struct Seats {
    free: Arc<Semaphore>,
    most: usize,
}

/// How somebody watches.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    Mjpeg,
    WebSocket,
    Events,
    /// Of what is declared, not of frames.
    Registry,
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Self::Mjpeg => "mjpeg",
            Self::WebSocket => "websocket",
            Self::Events => "events",
            Self::Registry => "registry",
        }
    }
}

impl Seats {
    pub fn new(most: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most)),
            most,
        }
    }

    pub fn most(&self) -> usize {
        self.most
    }

    pub fn taken(&self) -> usize {
        self.most - self.free.available_permits()
    }

    /// Waits until all are free.
    pub async fn all_free(&self) {
        let most = u32::try_from(self.most).unwrap_or(u32::MAX);
        // An error is not possible: nobody closes it.
        let _ = self.free.acquire_many(most).await;
    }

    fn take(&self, way: Way) -> Result<Seat, Refusal> {
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            metrics::counter!("framelane_gateway_viewers_refused_total").increment(1);
            let why = format!(
                "{} viewers are here already, which is the limit (--max-viewers)",
                self.most
            );
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
        };
        metrics::gauge!("framelane_gateway_viewers", "way" => way.word()).increment(1.0);
        Ok(Seat {
            way,
            _permit: permit,
        })
    }
}

#[derive(Debug)]
struct Seat {
    way: Way,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        metrics::gauge!("framelane_gateway_viewers", "way" => self.way.word()).decrement(1.0);
    }
}

/// See the module.
#[derive(Debug)]
pub struct Viewer {
    pub supply: Supply,
    stay: Stay,
    pub sent: u64,
    pub skipped: u64,
    counters: Counters,
}

#[derive(Debug)]
struct Counters {
    sent: Counter,
    bytes: Counter,
    skipped: Counter,
}

/// A seat, and until when it may be taken.
#[derive(Debug)]
pub struct Stay {
    expires: Option<Instant>,
    shutdown: CancellationToken,
    _seat: Seat,
}

/// Why a viewer is shown no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    #[error("the gateway stops; another one, or this one started again, goes on")]
    Stopping,
    #[error("the token has expired")]
    Expired,
    #[error("{0}")]
    Failed(String),
}

impl Viewer {
    /// # Errors
    /// There is no seat, or nothing to see.
    pub async fn seat(
        app: &App,
        pass: &Pass,
        address: &Address,
        (way, wish): (Way, Wish),
    ) -> Result<Self, Refusal> {
        let stay = Stay::begin(app, pass, way)?;
        let supply = app.sources.open(address, wish).await?;
        let counter = |name: &'static str| metrics::counter!(name, "way" => way.word());
        Ok(Self {
            supply,
            stay,
            sent: 0,
            skipped: 0,
            counters: Counters {
                sent: counter("framelane_gateway_frames_sent_total"),
                bytes: counter("framelane_gateway_bytes_sent_total"),
                skipped: counter("framelane_gateway_frames_skipped_total"),
            },
        })
    }

    /// The next record. Cancelled, it has taken nothing.
    ///
    /// # Errors
    /// There are no more.
    pub async fn next(&mut self) -> Result<Given, Over> {
        let given = tokio::select! {
            biased;
            over = self.stay.over() => return Err(over),
            given = self.supply.next() => given,
        };
        let given = given.map_err(|fault| Over::Failed(fault.to_string()))?;
        self.skipped += given.skipped;
        self.counters.skipped.increment(given.skipped);
        Ok(given)
    }

    /// What was given has been put into so many bytes.
    pub fn count_sent(&mut self, bytes: usize) {
        self.sent += 1;
        self.counters.sent.increment(1);
        self.counters.bytes.increment(bytes as u64);
    }
}

impl Stay {
    /// # Errors
    /// There is no seat.
    pub fn begin(app: &App, pass: &Pass, way: Way) -> Result<Self, Refusal> {
        Ok(Self {
            expires: pass.expires.map(from_now),
            shutdown: app.shutdown.clone(),
            _seat: app.seats.take(way)?,
        })
    }

    /// Comes back when it is over.
    pub async fn over(&self) -> Over {
        tokio::select! {
            () = self.shutdown.cancelled() => Over::Stopping,
            () = until(self.expires) => Over::Expired,
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// By the clock as it is now; one that is set later is not followed.
fn from_now(expires: Timestamp) -> Instant {
    /// Further away than any viewer stays; clocks cannot count to every moment.
    const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    let left = expires.duration_since(Timestamp::now());
    Instant::now() + Duration::try_from(left).unwrap_or(Duration::ZERO).min(FAR)
}
