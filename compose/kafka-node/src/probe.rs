//! Asks a server whether it is a Kafka that serves clients: one ApiVersions request, by hand.
//!
//! A TCP connection alone proves nothing (Docker's proxy accepts before Kafka listens), and a node answers requests
//! only once it has joined its quorum and is unfenced.

use std::io;
use std::time::Duration;

use crate::Error;
use crate::wait;
use crate::wire::{self, Api};

const API_VERSIONS: Api = Api {
    key: 18,
    version: 0,
};

/// Asks one `host:port` once; `limit` bounds each step (connecting, writing, reading).
///
/// # Errors
/// The reason why this is not a Kafka that serves clients now.
pub fn probe(address: &str, limit: Duration) -> io::Result<()> {
    check(&wire::ask(address, API_VERSIONS, &[], limit)?)
}

/// Asks every address of a bootstrap list in turn until one answers.
pub fn wait_for_any(bootstrap_servers: &str, limit: Duration) -> Result<(), Error> {
    let mut reason = "the list of addresses is empty".to_owned();
    let answered = wait::until(limit, || {
        for address in bootstrap_servers
            .split(',')
            .map(str::trim)
            .filter(|address| !address.is_empty())
        {
            match probe(address, wait::PROBE_STEP_LIMIT) {
                Ok(()) => return Ok::<_, Error>(Some(())),
                Err(error) => reason = format!("{address}: {error}"),
            }
        }
        Ok(None)
    })?;
    answered.ok_or_else(|| Error::Unreachable {
        bootstrap_servers: bootstrap_servers.to_owned(),
        reason,
    })
}

/// The answer: an error code and the number of APIs, which follow.
fn check(answer: &[u8]) -> io::Result<()> {
    let Some(&[e0, e1, n0, n1, n2, n3]) = answer.first_chunk() else {
        return Err(wire::not_kafka());
    };
    match (
        i16::from_be_bytes([e0, e1]),
        i32::from_be_bytes([n0, n1, n2, n3]),
    ) {
        (0, 1..) => Ok(()),
        (0, _) => Err(wire::not_kafka()),
        (code, _) => Err(io::Error::other(format!(
            "Kafka answers with error code {code}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn server(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = [0; 23];
            stream.read_exact(&mut received).unwrap();
            stream.write_all(answer).unwrap();
        });
        address
    }

    #[test]
    fn a_web_server_is_not_a_kafka() {
        let address = server(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let error = probe(&address, Duration::from_secs(2)).unwrap_err();
        assert!(
            error.to_string().contains("does not speak Kafka"),
            "{error}"
        );
    }

    #[test]
    fn an_answer_to_another_request_is_refused() {
        let address = server(&[0, 0, 0, 10, 1, 2, 3, 4, 0, 0, 0, 0, 0, 9]);
        assert!(probe(&address, Duration::from_secs(2)).is_err());
    }

    #[test]
    fn a_closed_port_is_named_in_the_error() {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let error = wait_for_any(&address, Duration::from_millis(50))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&address) && error.contains("KAFKA_BOOTSTRAP_SERVERS"),
            "{error}"
        );
    }
}
