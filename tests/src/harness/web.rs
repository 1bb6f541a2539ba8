//! The gateway and its visitors: plain requests, streams of pictures, WebSockets, and a door in front of several gateways.

use super::{Process, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

/// Longer than anything takes; a test that waits for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running gateway.
pub struct Gateway {
    pub process: Process,
    /// `HOST:PORT`
    pub address: String,
}

impl Gateway {
    /// On a free port.
    pub fn start(servers: &str, more: &[&str]) -> Self {
        Self::start_at(servers, "127.0.0.1:0", more)
    }

    /// On this address: one that a gateway had before.
    pub fn start_at(servers: &str, listen: &str, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory for the port file");
        let file = dir.path().join("port");
        let port_file = file.to_str().expect("a readable path");
        let args = [&["--listen", listen, "--port-file", port_file], more].concat();
        let mut process = Process::start("gateway", servers, &args);
        let address = wait_for("the gateway's port file", || {
            assert!(!process.has_ended(), "{}", process.log());
            std::fs::read_to_string(&file).ok()
        });
        Self {
            process,
            address: address.trim().to_owned(),
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        get(&self.address, path)
    }

    /// The JSON at this path.
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// What `/sources` says of a source.
    pub fn source(&self, topic: &str, source: &str) -> Option<Value> {
        let list = self.json("/sources");
        let mut lines = list["sources"].as_array()?.iter();
        let line = lines.find(|line| line["topic"] == topic && line["source"] == source);
        line.cloned()
    }

    pub fn mjpeg(&self, path: &str) -> Mjpeg {
        Mjpeg::open(&self.address, path)
    }

    pub fn socket(&self, path: &str) -> Socket {
        Socket::open(&self.address, path, &[]).expect("a WebSocket")
    }
}

/// An answer that has ended.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// A GET without headers of its own.
pub fn get(address: &str, path: &str) -> Answer {
    request(address, &format!("GET {path}"), &[])
}

/// Any request, `METHOD PATH`. By HTTP/1.0, so that answers come as they are, up to the end of the connection.
pub fn request(address: &str, line: &str, headers: &[&str]) -> Answer {
    send(address, line, headers, "")
}

/// As [`request`], with a body.
pub fn send(address: &str, line: &str, headers: &[&str], body: &str) -> Answer {
    let (head, mut reader) = begin(address, line, headers, body);
    let mut body = Vec::new();
    reader.read_to_end(&mut body).expect("the whole answer");
    Answer {
        status: status_of(&head),
        head,
        body,
    }
}

fn status_of(head: &str) -> u16 {
    let word = head.split_whitespace().nth(1);
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no HTTP: {head:?}"))
}

/// The head of the answer; the rest is to be read.
fn begin(
    address: &str,
    line: &str,
    headers: &[&str],
    body: &str,
) -> (String, BufReader<TcpStream>) {
    let mut stream = connect(address).expect("somebody listens");
    let has_host = headers.iter().any(|header| header.starts_with("Host:"));
    let host = match has_host {
        true => String::new(),
        false => format!("Host: {address}\r\n"),
    };
    let length = match body.len() {
        0 => String::new(),
        bytes => format!("Content-Length: {bytes}\r\n"),
    };
    let more: String = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect();
    // The answer may come, and the connection end, before all of a bad request is sent.
    let _ = write!(stream, "{line} HTTP/1.0\r\n{host}{length}{more}\r\n{body}");
    let mut reader = BufReader::new(stream);
    (read_head(&mut reader), reader)
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Up to the empty line.
fn read_head(reader: &mut impl BufRead) -> String {
    let mut head = String::new();
    loop {
        let read = reader.read_line(&mut head).expect("a head");
        if read == 0 || head.ends_with("\r\n\r\n") || head == "\r\n" {
            return head;
        }
    }
}

/// A stream of pictures.
pub struct Mjpeg {
    reader: BufReader<TcpStream>,
}

/// One of them.
#[derive(Debug)]
pub struct Part {
    pub epoch: u64,
    pub sequence: u64,
    pub bytes: Vec<u8>,
}

impl Mjpeg {
    pub fn open(address: &str, path: &str) -> Self {
        let (head, mut reader) = begin(address, &format!("GET {path}"), &[], "");
        assert_eq!(status_of(&head), 200, "{path}: {head}");
        let content_type = header(&head, "content-type").expect("a type");
        assert_eq!(
            content_type,
            "multipart/x-mixed-replace; boundary=framelane"
        );
        let mut first = String::new();
        reader.read_line(&mut first).expect("a boundary");
        assert_eq!(first, "--framelane\r\n");
        Self { reader }
    }

    /// The next picture, once the boundary behind it has come; None at the end.
    pub fn next(&mut self) -> Option<Part> {
        let head = read_head(&mut self.reader);
        if head.is_empty() {
            return None;
        }
        let length = header(&head, "content-length").and_then(|text| text.parse().ok());
        let mut bytes = vec![0; length.expect("a length")];
        self.reader.read_exact(&mut bytes).expect("a picture");
        let mut boundary = [0; 15];
        self.reader.read_exact(&mut boundary).expect("a boundary");
        assert_eq!(&boundary, b"\r\n--framelane\r\n");
        let id = header(&head, "x-frame").expect("an id");
        let mut words = id.rsplit('/');
        let mut number = || words.next().and_then(|word| word.parse().ok());
        let (sequence, epoch) = (number(), number());
        Some(Part {
            epoch: epoch.expect("an epoch"),
            sequence: sequence.expect("a sequence"),
            bytes,
        })
    }
}

/// A WebSocket to a gateway.
pub struct Socket(WebSocket<TcpStream>);

/// A frame, as a browser gets it.
#[derive(Debug)]
pub struct Shown {
    pub head: Value,
    pub picture: Vec<u8>,
}

impl Shown {
    pub fn sequence(&self) -> u64 {
        self.head["sequence"].as_u64().expect("a sequence")
    }
}

impl Socket {
    /// Or the status with which it was refused.
    pub fn open(address: &str, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://{address}{path}")
            .into_client_request()
            .expect("a usable address");
        for (name, value) in headers {
            let value = value.parse().expect("a header");
            request.headers_mut().insert(*name, value);
        }
        let stream = connect(address).expect("somebody listens");
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(answer.status().as_u16())
            }
            Err(error) => panic!("{path}: {error}"),
        }
    }

    pub fn say(&mut self, command: &Value) {
        let text = Message::text(command.to_string());
        self.0.send(text).expect("the gateway listens");
    }

    /// The next record with a picture.
    pub fn frame(&mut self) -> Shown {
        loop {
            let shown = self.record();
            if !shown.picture.is_empty() {
                return shown;
            }
        }
    }

    /// The next record.
    pub fn record(&mut self) -> Shown {
        loop {
            if let Message::Binary(bytes) = self.0.read().expect("a message") {
                let (length, rest) = bytes.split_at(4);
                let length = u32::from_be_bytes(length.try_into().expect("4 bytes")) as usize;
                return Shown {
                    head: serde_json::from_slice(&rest[..length]).expect("JSON"),
                    picture: rest[length..].to_vec(),
                };
            }
        }
    }

    /// The next text of this type, `status` or `error`; records before it are passed over.
    pub fn told(&mut self, kind: &str) -> Value {
        loop {
            if let Message::Text(text) = self.0.read().expect("a message") {
                let told: Value = serde_json::from_str(&text).expect("JSON");
                if told["type"] == kind {
                    return told;
                }
            }
        }
    }

    /// Reads to the end; returns the code of the close, if there was one.
    pub fn end(mut self) -> Option<u16> {
        loop {
            match self.0.read() {
                Ok(Message::Close(close)) => return close.map(|close| close.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

/// One address in front of several gateways, as a proxy would be: connections go to the first that answers.
pub struct Door {
    pub address: String,
}

impl Door {
    pub fn open(behind: &[&Gateway]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let behind: Vec<_> = behind
            .iter()
            .map(|gateway| gateway.address.clone())
            .collect();
        // Ends with the test's process: nothing wakes it from waiting.
        std::thread::spawn(move || {
            for visitor in listener.incoming().flatten() {
                let connected = behind.iter().find_map(|address| {
                    let address: SocketAddr = address.parse().ok()?;
                    TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()
                });
                if let Some(gateway) = connected {
                    carry(&visitor, &gateway);
                    carry(&gateway, &visitor);
                }
            }
        });
        Self { address }
    }
}

/// One way, until it ends; then the other way ends too.
fn carry(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (
        from.try_clone().expect("a copy"),
        to.try_clone().expect("a copy"),
    );
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
        let _ = from.shutdown(std::net::Shutdown::Both);
    });
}
