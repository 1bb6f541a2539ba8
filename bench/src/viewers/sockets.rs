//! What this machine's sockets carry without a server: one thread writes pictures to many connections as fast as they take
//! them, another throws them away.

use super::connection::{discard, nowhere};
use crate::load::picture;
use anyhow::{Context, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// How many connections, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub connections: usize,
    /// Of a picture
    #[arg(long)]
    pub bytes: usize,
    #[arg(long)]
    pub seconds: f64,
}

/// How much it was.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Carried {
    pub pictures: f64,
    pub seconds: f64,
}

/// Writes and reads, each with a thread of its own, and prints how much as JSON.
///
/// # Errors
/// A connection breaks.
pub fn run(args: &Args) -> Result<()> {
    rlimit::increase_nofile_limit(u64::MAX).context("raising the number of open files")?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let picture = picture(args.bytes);
    // It writes until the process ends.
    thread::spawn(move || runtime()?.block_on(write(listener, picture)));
    let carried = runtime()?.block_on(read(address, args))?;
    println!("{}", serde_json::to_string(&carried)?);
    Ok(())
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

async fn write(listener: std::net::TcpListener, picture: Bytes) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let picture = picture.clone();
        tokio::spawn(async move { while stream.write_all(&picture).await.is_ok() {} });
    }
}

async fn read(address: SocketAddr, args: &Args) -> Result<Carried> {
    let mut streams = Vec::new();
    for _ in 0..args.connections {
        streams.push(TcpStream::connect(address).await?);
    }
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(args.seconds);
    let mut readers = JoinSet::new();
    for stream in streams {
        readers.spawn(async move {
            let (mut bytes, mut nowhere) = (0, nowhere());
            while Instant::now() < end {
                bytes += discard(&stream, &mut nowhere, usize::MAX).await?;
            }
            anyhow::Ok(bytes)
        });
    }
    let mut bytes = 0;
    while let Some(read) = readers.join_next().await {
        bytes += read??;
    }
    Ok(Carried {
        pictures: bytes as f64 / args.bytes as f64,
        seconds: start.elapsed().as_secs_f64(),
    })
}
