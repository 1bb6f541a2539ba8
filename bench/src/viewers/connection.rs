//! One viewer's connection.

use super::{Frame, Way};
use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use pipeline::wire::now_unix_ns;
use socket2::SockRef;
use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

/// Heads of frames are shorter.
const MOST_HEAD_BYTES: usize = 64 << 10;
/// Discarded with one call, at most.
const DISCARD_BYTES: usize = 1 << 20;

pub(super) struct Connection {
    stream: TcpStream,
    way: Way,
    /// Read, and not yet looked at.
    buffer: Vec<u8>,
    nowhere: Box<Nowhere>,
}

impl Connection {
    /// Asks for the stream; the answer's head has been read when this returns.
    pub(super) async fn open(address: &str, path: &str, way: Way) -> Result<Self> {
        let mut stream = TcpStream::connect(address)
            .await
            .context("connecting a viewer")?;
        stream.set_nodelay(true)?;
        let request = match way {
            Way::Mjpeg => format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"),
            Way::Websocket => format!(
                "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ),
        };
        stream.write_all(request.as_bytes()).await?;
        let mut connection = Self {
            stream,
            way,
            buffer: Vec::new(),
            nowhere: nowhere(),
        };
        let head = connection.up_to(b"\r\n\r\n").await?;
        let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let is_good = matches!(
            (way, status),
            (Way::Mjpeg, b"200") | (Way::Websocket, b"101")
        );
        ensure!(
            is_good,
            "a viewer was refused: {}",
            String::from_utf8_lossy(&head)
        );
        if way == Way::Mjpeg {
            connection.up_to(b"\r\n").await?; // the first boundary
        }
        Ok(connection)
    }

    /// The next frame, once all of it is here.
    pub(super) async fn frame(&mut self) -> Result<Frame> {
        match self.way {
            Way::Mjpeg => self.part().await,
            Way::Websocket => loop {
                if let Some(frame) = self.message().await? {
                    return Ok(frame);
                }
            },
        }
    }

    /// Takes so many bytes a second, for ever.
    pub(super) async fn trickle(mut self, bytes_per_second: u64) -> Result<()> {
        const A_SECOND: u64 = 10;
        let mut tick = tokio::time::interval(Duration::from_secs(1) / A_SECOND as u32);
        let mut taken = vec![0; usize::try_from(bytes_per_second / A_SECOND)?];
        loop {
            tick.tick().await;
            self.stream.read_exact(&mut taken).await?;
        }
    }

    async fn part(&mut self) -> Result<Frame> {
        let head = self.up_to(b"\r\n\r\n").await?;
        let head = std::str::from_utf8(&head)?;
        let field = |name: &str| {
            let (_, rest) = head.split_once(name)?;
            rest.split("\r\n").next()
        };
        let length: usize = field("Content-Length: ").context("no length")?.parse()?;
        let captured: f64 = field("X-Timestamp: ").context("no time")?.parse()?;
        let id = field("X-Frame: ").context("no id")?;
        let (_, sequence) = id.rsplit_once('/').context("no sequence")?;
        let sequence = sequence.parse()?;
        self.pass(length).await?;
        self.up_to(b"--framelane\r\n").await?;
        Ok(Frame {
            sequence,
            age: age_of((captured * 1e9) as i64),
        })
    }

    /// None if it holds no frame.
    async fn message(&mut self) -> Result<Option<Frame>> {
        self.fill(2).await?;
        let (kind, short) = (self.buffer[0], self.buffer[1]);
        let (head, length) = match short {
            126 => {
                self.fill(4).await?;
                (
                    4,
                    u64::from(u16::from_be_bytes([self.buffer[2], self.buffer[3]])),
                )
            }
            127 => {
                self.fill(10).await?;
                (10, u64::from_be_bytes(self.buffer[2..10].try_into()?))
            }
            length => (2, u64::from(length)),
        };
        let length = usize::try_from(length)?;
        match kind {
            0x82 => {}
            0x81 | 0x89 | 0x8a => {
                self.pass(head + length).await?;
                return Ok(None);
            }
            other => bail!("a WebSocket frame of kind {other:#x}"),
        }
        self.fill(head + 4).await?;
        let json = u32::from_be_bytes(self.buffer[head..head + 4].try_into()?) as usize;
        ensure!(json < MOST_HEAD_BYTES, "a head of {json} bytes");
        self.fill(head + 4 + json).await?;
        let json = &self.buffer[head + 4..head + 4 + json];
        let says = (
            number(json, b"\"sequence\":"),
            number(json, b"\"capture_time_unix_ns\":"),
        );
        self.pass(head + length).await?;
        Ok(match says {
            (Some(sequence), Some(captured)) => Some(Frame {
                sequence: u64::try_from(sequence)?,
                age: age_of(captured),
            }),
            _ => None, // the end of a stream, a gap
        })
    }

    /// Reads until there are so many bytes.
    async fn fill(&mut self, bytes: usize) -> Result<()> {
        while self.buffer.len() < bytes {
            self.read().await?;
        }
        Ok(())
    }

    /// Everything up to this, and it.
    async fn up_to(&mut self, end: &[u8]) -> Result<Vec<u8>> {
        loop {
            if let Some(at) = memmem::find(&self.buffer, end) {
                let rest = self.buffer.split_off(at + end.len());
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            ensure!(self.buffer.len() < MOST_HEAD_BYTES, "a head without an end");
            self.read().await?;
        }
    }

    /// Little at a time: what is read is copied.
    async fn read(&mut self) -> Result<()> {
        let mut some = [0; 2_048];
        let read = self.stream.read(&mut some).await?;
        ensure!(read > 0, "a viewer was cut off");
        self.buffer.extend_from_slice(&some[..read]);
        Ok(())
    }

    /// Passes over so many bytes.
    async fn pass(&mut self, bytes: usize) -> Result<()> {
        let here = bytes.min(self.buffer.len());
        self.buffer.drain(..here);
        let mut left = bytes - here;
        while left > 0 {
            left -= discard(&self.stream, &mut self.nowhere, left).await?;
        }
        Ok(())
    }
}

/// Room for what is discarded; the kernel does not touch it.
pub(super) type Nowhere = [MaybeUninit<u8>];

pub(super) fn nowhere() -> Box<Nowhere> {
    Box::new_uninit_slice(DISCARD_BYTES)
}

/// Waits for bytes and throws away at most so many, in the kernel; returns how many.
pub(super) async fn discard(
    stream: &TcpStream,
    nowhere: &mut Nowhere,
    most: usize,
) -> Result<usize> {
    let most = most.min(nowhere.len());
    loop {
        stream.readable().await?;
        let discard =
            || SockRef::from(stream).recv_with_flags(&mut nowhere[..most], nix::libc::MSG_TRUNC);
        match stream.try_io(Interest::READABLE, discard) {
            Ok(0) => bail!("a viewer was cut off"),
            Ok(taken) => return Ok(taken),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}

/// The number behind this name.
fn number(json: &[u8], name: &[u8]) -> Option<i64> {
    let at = memmem::find(json, name)? + name.len();
    let digits = json[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(&json[at..at + digits])
        .ok()?
        .parse()
        .ok()
}

fn age_of(captured_unix_ns: i64) -> Duration {
    let ns = now_unix_ns().saturating_sub(captured_unix_ns);
    Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}
