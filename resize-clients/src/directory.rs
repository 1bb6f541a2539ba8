//! Where services are at the moment: names are looked up again and again, so that services may come, go and move.

use crate::targets::Target;
use anyhow::bail;
use processor_proto::reason;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const LOOK_UP_EVERY: Duration = Duration::from_secs(5);
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// A service that was started a moment before us gets this long to take calls.
const START_PATIENCE: Duration = Duration::from_secs(3);
const BETWEEN_CHECKS: Duration = Duration::from_millis(200);

/// Addresses with the target each belongs to.
pub type Addresses = Arc<BTreeMap<SocketAddr, Target>>;

/// All targets, and their addresses now.
#[derive(Debug)]
pub struct Directory {
    targets: Vec<Target>,
    addresses: Mutex<Addresses>,
}

impl Directory {
    /// Looks all names up. A name without an address is an error here, and later a reason to keep what was known.
    pub async fn open(targets: Vec<Target>) -> anyhow::Result<Self> {
        let mut found = BTreeMap::new();
        for target in &targets {
            match look_up(target).await {
                Ok(addresses) => found.extend(addresses),
                Err(cause) => bail!(
                    "--endpoint {}: the name cannot be looked up: {cause}. Check its spelling and the name server",
                    target.uri
                ),
            }
        }
        Ok(Self {
            targets,
            addresses: Mutex::new(Arc::new(found)),
        })
    }

    /// As last looked up.
    pub fn addresses(&self) -> Addresses {
        Arc::clone(&self.lock())
    }

    /// True if every address is on this machine.
    pub fn is_local(&self) -> bool {
        self.lock().keys().all(|address| address.ip().is_loopback())
    }

    /// Looks up again and again, until it is dropped.
    pub async fn follow(&self) -> Infallible {
        let mut rhythm = tokio::time::interval(LOOK_UP_EVERY);
        rhythm.tick().await; // `open` has just done it
        loop {
            rhythm.tick().await;
            let mut found = BTreeMap::new();
            let mut complete = true;
            for target in &self.targets {
                match look_up(target).await {
                    Ok(addresses) => found.extend(addresses),
                    Err(cause) => {
                        complete = false;
                        tracing::warn!(service = %target.uri, %cause, "the name cannot be looked up; its addresses stay");
                    }
                }
            }
            if complete {
                *self.lock() = Arc::new(found);
            }
        }
    }

    /// Waits a moment for the first service that takes calls; returns what is wrong with the others.
    pub async fn check(&self) -> anyhow::Result<Vec<String>> {
        let start = Instant::now();
        loop {
            let mut down = Vec::new();
            let addresses = self.addresses();
            for (address, target) in addresses.iter() {
                if let Err(why) = is_serving(target, *address).await {
                    down.push(format!("{}: {why}", named(target, *address)));
                }
            }
            if down.len() < addresses.len() {
                return Ok(down);
            }
            if start.elapsed() > START_PATIENCE {
                bail!(
                    "no resize service answers.\n  {}\nStart one with `processor resize --scale 0.5`, name another one \
                     with --endpoint, or let --local start one",
                    down.join("\n  ")
                );
            }
            tokio::time::sleep(BETWEEN_CHECKS).await; // between two looks
        }
    }

    fn lock(&self) -> MutexGuard<'_, Addresses> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look_up(target: &Target) -> std::io::Result<BTreeMap<SocketAddr, Target>> {
    let found = tokio::net::lookup_host((target.host(), target.port())).await?;
    let found: BTreeMap<_, _> = found.map(|address| (address, target.clone())).collect();
    match found.is_empty() {
        true => Err(std::io::Error::other("it has no address")),
        false => Ok(found),
    }
}

fn named(target: &Target, address: SocketAddr) -> String {
    let uri = target.uri.to_string();
    let uri = uri.trim_end_matches('/');
    if uri.ends_with(&address.to_string()) {
        uri.to_owned()
    } else {
        format!("{uri} ({address})")
    }
}

async fn is_serving(target: &Target, address: SocketAddr) -> Result<(), String> {
    let channel = target.connect(address).map_err(|e| e.to_string())?;
    let request = HealthCheckRequest {
        service: String::new(), // the whole server
    };
    let mut health = HealthClient::new(channel);
    let Ok(answer) = tokio::time::timeout(CHECK_TIMEOUT, health.check(request)).await else {
        return Err("no answer".to_owned());
    };
    match answer {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
        Ok(answer) => Err(format!(
            "it says {}",
            answer.get_ref().status().as_str_name()
        )),
        // Without the health service a server that answers at all counts as healthy.
        Err(status) if status.code() == Code::Unimplemented => Ok(()),
        Err(status) => {
            let why = reason(&status);
            Err(match way_on(target, address).await {
                Some(way_on) => format!("{why}: {way_on}"),
                None => why,
            })
        }
    }
}

/// What to write if one side speaks TLS and the other does not. Which error a call ends with then depends on when the
/// service hangs up.
async fn way_on(target: &Target, address: SocketAddr) -> Option<&'static str> {
    let by_tls = target.uri.scheme_str() == Some("https");
    match (by_tls, expects_tls(address).await?) {
        (true, false) => Some("it seems to speak no TLS, write http://"),
        (false, true) => {
            Some("it seems to expect TLS, write https:// and name its signer with --ca")
        }
        _ => None,
    }
}

/// By its answer to a plain greeting of HTTP/2; None if it gives none that says so.
async fn expects_tls(address: SocketAddr) -> Option<bool> {
    const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"; // RFC 9113, 3.4
    const ALERT: u8 = 21; // RFC 8446, 5.1
    const SETTINGS: u8 = 4; // RFC 9113, 6.5, at byte 3 of its frame
    let answer = async {
        let mut service = TcpStream::connect(address).await?;
        service.write_all(GREETING).await?;
        let mut answer = [0; 4];
        service.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    match tokio::time::timeout(CHECK_TIMEOUT, answer).await {
        Ok(Ok([ALERT, ..])) => Some(true),
        Ok(Ok([_, _, _, SETTINGS])) => Some(false),
        _ => None,
    }
}
