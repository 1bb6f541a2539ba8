//! Free ports for a node that will be killed and restarted on the same one.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use crate::Error;

/// Below the ports that the kernel hands to outgoing connections (32768 up on Linux): while a node is dead, a client's
/// own reconnect could otherwise be given the node's port and connect to itself.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Random starting points keep processes that start nodes at the same time apart.
const ATTEMPTS: usize = 2000;

/// Whoever is given a port may take a while to listen on it: so many others are given out before it comes again.
const REMEMBERED: usize = 1000;
static GIVEN: Mutex<VecDeque<u16>> = Mutex::new(VecDeque::new());

/// Distinct ports of 127.0.0.1 that nobody listened on a moment ago, and that this process was not given lately.
pub fn free<const N: usize>() -> Result<[u16; N], Error> {
    let ports = free_list(N)?;
    Ok(<[u16; N]>::try_from(ports).expect("as many as were asked for"))
}

/// As [`free`].
pub fn free_list(count: usize) -> Result<Vec<u16>, Error> {
    let mut found = Vec::with_capacity(count);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for attempt in 0..ATTEMPTS {
        if found.len() == count {
            return Ok(found);
        }
        let random = RandomState::new().hash_one(attempt) % u64::from(RANGE.end - RANGE.start);
        let port = RANGE.start
            + u16::try_from(random).expect("smaller than the range, which is made of u16");
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
            given.push_back(port);
            if given.len() > REMEMBERED {
                given.pop_front();
            }
        }
    }
    Err(Error::Io {
        what: format!(
            "looking for {count} free ports of 127.0.0.1 in {}..{}",
            RANGE.start, RANGE.end
        ),
        source: std::io::ErrorKind::AddrInUse.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_and_outside_the_outgoing_range() {
        let ports = [free::<300>().unwrap(), free::<300>().unwrap()].concat();
        for (index, port) in ports.iter().enumerate() {
            assert!(RANGE.contains(port));
            assert!(!ports[..index].contains(port));
        }
    }
}
