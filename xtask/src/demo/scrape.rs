//! Reads a service's Prometheus metrics: one HTTP request, by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The services are on this machine; a second is an eternity.
const LIMIT: Duration = Duration::from_secs(1);
/// A page of ours has a few kilobytes.
const PAGE_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// The sum of all series of a counter. None if the service does not answer (now); 0 if it has not counted yet.
pub fn sum(address: SocketAddr, counter: &str) -> Option<f64> {
    fetch(address).ok().map(|page| sum_in(&page, counter))
}

/// Whether the service answers and has a series of this name.
pub fn has(address: SocketAddr, name: &str) -> bool {
    fetch(address).is_ok_and(|page| page.lines().any(|line| value(line, name).is_some()))
}

fn fetch(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut page = String::new();
    stream.take(PAGE_LIMIT_BYTES).read_to_string(&mut page)?;
    Ok(page)
}

fn sum_in(page: &str, counter: &str) -> f64 {
    page.lines().filter_map(|line| value(line, counter)).sum()
}

/// Lines are `name 1`, `name{label="value"} 1` and comments.
fn value(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let rest = if rest.starts_with('{') {
        &rest[rest.rfind('}')? + 1..]
    } else {
        rest
    };
    rest.strip_prefix(' ')?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_series_of_a_counter_are_summed_and_no_others() {
        let page = "HTTP/1.1 200 OK\r\n\r\n# TYPE calls_total counter\ncalls_total{outcome=\"ok\"} 40\n\
                    calls_total{outcome=\"a } b\"} 2\ncalls_total_created 7\ncalls 9\n";
        assert!((sum_in(page, "calls_total") - 42.0).abs() < f64::EPSILON);
    }
}
