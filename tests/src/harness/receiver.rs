//! A receiver of webhooks, as somebody else would write one: it remembers what it was sent and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request, and what it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub key: String,
    pub body: String,
    pub answer: u16,
}

/// Listens until the test ends.
pub struct Receiver {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    /// `answer` chooses the status for the nth request, from 0.
    pub fn start(answer: impl Fn(usize) -> u16 + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let all = Arc::clone(&requests);
        // Ends with the test's process: nothing wakes it from waiting.
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let number = all.lock().expect("no panic").len();
                // A sender that is killed leaves half a request, which is none.
                if let Some(request) = receive(&connection, answer(number)) {
                    all.lock().expect("no panic").push(request.clone());
                    let _ = reply(&connection, request.answer);
                }
            }
        });
        Self {
            url: format!("http://{address}/alerts?token=secret"),
            requests,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// All so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }
}

fn receive(connection: &TcpStream, answer: u16) -> Option<Request> {
    connection
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let mut reader = BufReader::new(connection);
    let (mut key, mut length) = (String::new(), 0);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim().split_once(": ") else {
            if line.trim().is_empty() {
                break;
            }
            assert_eq!(line.trim(), "POST /alerts?token=secret HTTP/1.1");
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = value.to_owned(),
            "content-length" => length = value.parse().expect("a length"),
            "content-type" => assert_eq!(value, "application/json"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).expect("JSON is a text");
    Some(Request { key, body, answer })
}

fn reply(mut connection: &TcpStream, status: u16) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status} said\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    connection.write_all(head.as_bytes())
}
