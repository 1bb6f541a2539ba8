//! A processor called with frames from memory, always so many at once: what it can give without Kafka.

use super::naive::connect;
use crate::load::picture;
use anyhow::Result;
use pipeline::v1::ProcessRequest;
use pipeline::v1::processor_client::ProcessorClient;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;

/// Whom to call, and how often.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub processor: String,
    #[arg(long)]
    pub in_flight: u64,
    /// Calls in all
    #[arg(long)]
    pub frames: u64,
    /// Of a picture
    #[arg(long)]
    pub bytes: usize,
}

/// How fast it was.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Called {
    pub calls: u64,
    pub seconds: f64,
}

/// Makes the calls.
///
/// # Errors
/// The first failed call.
pub fn run(args: &Args) -> Result<()> {
    let called = tokio::runtime::Runtime::new()?.block_on(call_all(args))?;
    println!("{}", serde_json::to_string(&called)?);
    Ok(())
}

async fn call_all(args: &Args) -> Result<Called> {
    let client = ProcessorClient::new(connect(&args.processor).await?);
    let picture = picture(args.bytes);
    let next = Arc::new(AtomicU64::new(0));
    let frames = args.frames;
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..args.in_flight {
        let (mut client, next, picture) = (client.clone(), Arc::clone(&next), picture.clone());
        callers.spawn(async move {
            loop {
                let sequence = next.fetch_add(1, Ordering::Relaxed);
                if sequence >= frames {
                    return anyhow::Ok(());
                }
                let frame = crate::load::frame("bench-0", sequence, 0, &picture);
                let request = ProcessRequest {
                    frame: Some(frame),
                    attempt: 1,
                };
                client.process(request).await?;
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(Called {
        calls: frames,
        seconds: start.elapsed().as_secs_f64(),
    })
}
