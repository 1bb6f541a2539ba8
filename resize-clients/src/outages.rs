//! Tells people once when a service goes away, and once when it is back, however many calls notice.

use crate::board::Board;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is away now.
#[derive(Debug)]
pub struct Outages {
    since: Mutex<BTreeMap<SocketAddr, Instant>>,
    patience: Duration,
    board: Arc<Board>,
}

impl Outages {
    pub fn new(patience: Duration, board: Arc<Board>) -> Self {
        Self {
            since: Mutex::default(),
            patience,
            board,
        }
    }

    /// Nobody is there, or no longer.
    pub fn is_away(&self, address: SocketAddr, why: &str) {
        let mut since = self.lock();
        if let std::collections::btree_map::Entry::Vacant(entry) = since.entry(address) {
            entry.insert(Instant::now());
            drop(since);
            self.board.say(&format!(
                "the service at {address} is away ({why}); its frames are sent again, for up to {} without an answer",
                humantime::format_duration(self.patience)
            ));
        }
    }

    /// It has answered a call that began then. An answer that was on its way when the service died tells nothing.
    pub fn has_answered(&self, address: SocketAddr, call_began: Instant) {
        let mut all = self.lock();
        let Some(since) = all.get(&address).copied() else {
            return;
        };
        if call_began > since {
            all.remove(&address);
            drop(all);
            self.board.say(&format!(
                "the service at {address} answers again, after {:.1} s",
                since.elapsed().as_secs_f64()
            ));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
