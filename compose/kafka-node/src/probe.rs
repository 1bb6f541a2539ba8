//! Asks a server whether it is a Kafka that serves clients: one ApiVersions request, by hand.
//!
//! A TCP connection alone proves nothing (Docker's proxy accepts before Kafka listens), and a node answers requests
//! only once it has joined its quorum and is unfenced.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::Error;
use crate::wait;

/// ApiVersions, version 0: `size, api key 18, version 0, correlation id, client id`, all big-endian.
const CORRELATION_ID: i32 = 0x0f7a_3e01;
const CLIENT_ID: &str = "framelane-probe";
/// Kafka 4.3 answers with about 400 bytes; anything far larger is not Kafka.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024;
/// Size of `correlation id, error code, number of entries`.
const ANSWER_HEAD_BYTES: usize = 10;

/// Asks one `host:port` once; `limit` bounds each step (connecting, writing, reading).
///
/// # Errors
/// The reason why this is not a Kafka that serves clients now.
pub fn probe(address: &str, limit: Duration) -> io::Result<()> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for socket in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&socket, limit).and_then(|stream| ask(stream, limit)) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
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

fn ask(mut stream: TcpStream, limit: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(&request())?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(i32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if !(ANSWER_HEAD_BYTES..=ANSWER_LIMIT_BYTES).contains(&size) {
        return Err(not_kafka());
    }
    let mut head = [0; ANSWER_HEAD_BYTES];
    stream.read_exact(&mut head)?;
    check(head)
}

fn request() -> Vec<u8> {
    let client_id_bytes = i16::try_from(CLIENT_ID.len()).expect("a constant of 15 bytes");
    let mut body = Vec::new();
    body.extend(18_i16.to_be_bytes());
    body.extend(0_i16.to_be_bytes());
    body.extend(CORRELATION_ID.to_be_bytes());
    body.extend(client_id_bytes.to_be_bytes());
    body.extend(CLIENT_ID.as_bytes());
    let size = i32::try_from(body.len()).expect("a few tens of bytes");
    [&size.to_be_bytes()[..], &body].concat()
}

fn check(head: [u8; ANSWER_HEAD_BYTES]) -> io::Result<()> {
    let [c0, c1, c2, c3, e0, e1, n0, n1, n2, n3] = head;
    let error_code = i16::from_be_bytes([e0, e1]);
    if i32::from_be_bytes([c0, c1, c2, c3]) != CORRELATION_ID
        || i32::from_be_bytes([n0, n1, n2, n3]) <= 0
    {
        return Err(not_kafka());
    }
    match error_code {
        0 => Ok(()),
        code => Err(io::Error::other(format!(
            "Kafka answers with error code {code}"
        ))),
    }
}

fn not_kafka() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "something answers, but it does not speak Kafka (or expects TLS)",
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn server(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = [0; 29];
            stream.read_exact(&mut received).unwrap();
            stream.write_all(answer).unwrap();
        });
        address
    }

    #[test]
    fn the_request_is_as_the_protocol_writes_it() {
        let bytes = request();
        assert_eq!(bytes[..4], [0, 0, 0, 25]);
        assert_eq!(bytes[4..8], [0, 18, 0, 0]);
        assert_eq!(bytes[12..14], [0, 15]);
        assert_eq!(&bytes[14..], CLIENT_ID.as_bytes());
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
