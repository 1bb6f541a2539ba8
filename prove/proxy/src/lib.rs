//! A network that can be told to misbehave: a TCP proxy between Kafka clients and one Kafka node, which knows enough of
//! Kafka's framing to act on a single request or response.
//!
//! ```text
//! client ─▶ read ─▶ queue ─▶ latency ─▶ cut? ─▶ point? ─▶ bytes/s ─▶ Kafka        (a thread before, one behind the queue)
//! client ◀─ bytes/s ◀─ point? ◀─ cut? ◀─ latency ◀─ queue ◀─ read ◀─ Kafka        (the same)
//! ```
//!
//! Kafka tells its clients where it is, so its advertised address must be [`Proxy::address`]: start the proxy, then the
//! node, then [`Proxy::set_target`]. A proxy serves one node; proxies of a cluster may share their [`Points`].
//! Plaintext only: what is encrypted has no frames to see.

mod connection;
mod link;
mod packet;
mod point;
#[cfg(test)]
mod tests;

pub use link::Direction;
pub use packet::Api;
pub use point::{Point, Points, Reaction, Side, Trigger, When};

use link::Link;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A proxy that runs until it is dropped, which closes its connections and frees what it holds.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the proxy's threads and its handle share.
#[derive(Debug)]
struct Shared {
    link: Link,
    points: Points,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    target: Option<String>,
    refuses: bool,
    ends: bool,
    /// For closing them all at once; those that ended by themselves are dropped at the next connection.
    open: Vec<Arc<connection::Pair>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1, with points of its own.
    ///
    /// # Errors
    /// No port or no thread can be had.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Points::default())
    }

    /// Listens on a free port of 127.0.0.1; `points` may be those of other proxies, and count packets of all of them.
    ///
    /// # Errors
    /// As [`Proxy::start`].
    pub fn start_with(points: Points) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            link: Link::default(),
            points,
            state: Mutex::default(),
        });
        let acceptor = std::thread::Builder::new()
            .name("proxy".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || accept(&listener, &shared)
            })?;
        Ok(Self {
            address,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Where clients connect: what Kafka must advertise.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where Kafka itself listens, `host:port`. Until it is said, connections are closed at once.
    pub fn set_target(&self, address: &str) {
        self.shared.lock().target = Some(address.to_owned());
    }

    /// Delays every packet of this direction from now on, without reordering any.
    pub fn set_latency(&self, direction: Direction, latency: Duration) {
        self.shared
            .link
            .change(direction, |lane| lane.latency = latency);
    }

    /// Limits all connections together to so many bytes per second and direction; None: no limit.
    pub fn set_bandwidth(&self, direction: Direction, bytes_per_s: Option<u64>) {
        self.shared
            .link
            .change(direction, |lane| lane.bytes_per_s = bytes_per_s);
    }

    /// Stops everything of this direction without a word, as a network that loses all packets: connections stay open,
    /// new ones are taken and carry nothing, and the end of one side is not told to the other.
    pub fn cut(&self, direction: Direction) {
        self.shared
            .link
            .change(direction, |lane| lane.is_cut = true);
    }

    /// Ends all cuts. What was sent meanwhile arrives now, even from a side that has gone since: the network had it.
    pub fn heal(&self) {
        self.shared
            .link
            .change(Direction::Both, |lane| lane.is_cut = false);
    }

    /// Closes all connections, and every new one at once, until [`accept`](Self::accept).
    pub fn refuse(&self) {
        let mut state = self.shared.lock();
        state.refuses = true;
        state.close_all();
    }

    /// Ends a [`refuse`](Self::refuse).
    pub fn accept(&self) {
        self.shared.lock().refuses = false;
    }

    /// From now on clients that ask which nodes there are hear of none: a node that was stalled answers so for a moment, and
    /// the client (librdkafka 2.12) gives up all its connections for good.
    pub fn hide_nodes(&self) {
        self.shared.link.set_names_no_node(true);
    }

    /// Ends a [`hide_nodes`](Self::hide_nodes).
    pub fn show_nodes(&self) {
        self.shared.link.set_names_no_node(false);
    }

    /// Arms a point. It fires once, and is disarmed when the trigger is dropped.
    pub fn on(&self, point: Point, reaction: Reaction) -> Trigger {
        self.shared.points.on(point, reaction)
    }

    /// The points of this proxy, to count packets or to share with other proxies.
    pub fn points(&self) -> &Points {
        &self.shared.points
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.ends = true;
            state.close_all();
        }
        self.shared.link.end();
        // Wakes the acceptor; if it is gone already there is nobody to wake.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take()
            && acceptor.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the proxy's own thread panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update is a single assignment: a panic elsewhere leaves it consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects a client to Kafka, unless there is none or nobody is to be connected.
    fn connect(&self, client: TcpStream) -> Option<Arc<connection::Pair>> {
        let target = {
            let state = self.lock();
            state.target.clone().filter(|_| !state.refuses)?
        };
        // A target that does not listen looks to the client as a node that closes its connections.
        let kafka = TcpStream::connect(target).ok()?;
        let pair = Arc::new(connection::Pair::new(client, kafka).ok()?);
        let mut state = self.lock();
        if state.refuses || state.ends {
            return None;
        }
        state.open.retain(|open| Arc::strong_count(open) > 1);
        state.open.push(Arc::clone(&pair));
        Some(pair)
    }
}

impl State {
    fn close_all(&mut self) {
        for pair in self.open.drain(..) {
            pair.close();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut running: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let accepted = listener.accept();
        if shared.lock().ends {
            break;
        }
        let Some(pair) = accepted.ok().and_then(|(client, _)| shared.connect(client)) else {
            continue;
        };
        let serving = std::thread::Builder::new()
            .name("proxy connection".to_owned())
            .spawn({
                let (pair, shared) = (Arc::clone(&pair), Arc::clone(shared));
                move || connection::serve(&pair, &shared.link, &shared.points)
            });
        match serving {
            Ok(thread) => running.push(thread),
            Err(_) => pair.close(),
        }
        running.retain(|thread| !thread.is_finished());
    }
    for thread in running {
        // A panic there has closed that connection; its test sees what it did not get.
        drop(thread.join());
    }
}
