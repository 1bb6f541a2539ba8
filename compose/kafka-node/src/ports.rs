//! Free ports for a node that will be killed and restarted on the same one.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};

use crate::Error;

/// Below the ports that the kernel hands to outgoing connections (32768 up on Linux): while a node is dead, a client's
/// own reconnect could otherwise be given the node's port and connect to itself.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Random starting points keep processes that start nodes at the same time apart.
const ATTEMPTS: usize = 200;

/// Distinct ports of 127.0.0.1 that nobody listened on a moment ago.
pub fn free<const N: usize>() -> Result<[u16; N], Error> {
    let ports = free_list(N)?;
    Ok(<[u16; N]>::try_from(ports).expect("as many as were asked for"))
}

/// As [`free`].
pub fn free_list(count: usize) -> Result<Vec<u16>, Error> {
    let mut found = Vec::with_capacity(count);
    for attempt in 0..ATTEMPTS {
        if found.len() == count {
            return Ok(found);
        }
        let random = RandomState::new().hash_one(attempt) % u64::from(RANGE.end - RANGE.start);
        let port = RANGE.start
            + u16::try_from(random).expect("smaller than the range, which is made of u16");
        if !found.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
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
        let ports = free::<8>().unwrap();
        for (index, port) in ports.iter().enumerate() {
            assert!(RANGE.contains(port));
            assert!(!ports[..index].contains(port));
        }
    }
}
