//! As much of Kafka's protocol as it takes to greet a server and to make a topic: requests and answers by hand.
//!
//! ```text
//! request:  size, api key, version, correlation id, client id, body      (big-endian)
//! answer:   size, correlation id, body
//! ```

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const CORRELATION_ID: i32 = 0x0f7a_3e01;
const CLIENT_ID: &str = "framelane";
/// What is asked here is answered with a few hundred bytes; anything far larger is not Kafka.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024;
/// The size of the correlation id, which each answer repeats.
const HEAD_BYTES: usize = 4;

/// A kind of request, in a version whose fields have fixed sizes ("non-flexible").
#[derive(Debug, Clone, Copy)]
pub struct Api {
    pub key: i16,
    pub version: i16,
}

/// Sends one request to `host:port` and returns the body of the answer. `limit` bounds each step (connecting, writing,
/// reading).
pub fn ask(address: &str, api: Api, body: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for socket in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&socket, limit)
            .and_then(|stream| exchange(stream, api, body, limit))
        {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: TcpStream, api: Api, body: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(&request(api, body))?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(i32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if !(HEAD_BYTES..=ANSWER_LIMIT_BYTES).contains(&size) {
        return Err(not_kafka());
    }
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer)?;
    let body = answer.split_off(HEAD_BYTES);
    if answer == CORRELATION_ID.to_be_bytes() {
        Ok(body)
    } else {
        Err(not_kafka())
    }
}

fn request(api: Api, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(api.key.to_be_bytes());
    message.extend(api.version.to_be_bytes());
    message.extend(CORRELATION_ID.to_be_bytes());
    put_text(&mut message, CLIENT_ID);
    message.extend(body);
    let size = i32::try_from(message.len()).expect("requests of ours have a few hundred bytes");
    [&size.to_be_bytes()[..], &message].concat()
}

/// A text with its length in front.
pub fn put_text(message: &mut Vec<u8>, text: &str) {
    let bytes = i16::try_from(text.len())
        .expect("names and settings of ours have at most a few hundred bytes");
    message.extend(bytes.to_be_bytes());
    message.extend(text.as_bytes());
}

pub fn not_kafka() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "something answers, but it does not speak Kafka (or expects TLS)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_the_protocol_writes_it() {
        let bytes = request(
            Api {
                key: 18,
                version: 0,
            },
            &[7],
        );
        assert_eq!(bytes[..4], [0, 0, 0, 20]);
        assert_eq!(bytes[4..8], [0, 18, 0, 0]);
        assert_eq!(bytes[12..14], [0, 9]);
        assert_eq!(&bytes[14..23], CLIENT_ID.as_bytes());
        assert_eq!(bytes[23], 7);
    }
}
