//! Pictures made smaller: by a loop over OpenCV in one process, as one would write it without a service, and by the
//! service, called by many clients. Both start from the same JPEGs in memory and end with a JPEG in memory.

use super::calls::Called;
use super::naive::connect;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use opencv::core::{Mat, Size, Vector};
use opencv::prelude::*;
use opencv::videoio::{CAP_ANY, VideoCapture};
use opencv::{core, imgcodecs, imgproc};
use processor_proto::v1::processor_client::ProcessorClient;
use processor_proto::v1::{self, Codec, FrameId, PixelFormat, ProcessRequest, frame::Content};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;
use tonic_types::StatusExt;

/// As `resize-clients` sends them.
const SENT_QUALITY: i32 = 90;
/// The service's default.
const RESULT_QUALITY: i32 = 85;
/// A few hundred frames are enough variety; they are used again and again.
const IN_MEMORY: usize = 250;

/// The loop: every core takes the next picture, decodes all of it, scales it by means over areas, encodes it.
#[derive(Debug, clap::Args)]
pub struct LoopArgs {
    #[command(flatten)]
    work: Work,
    /// Threads; by default one a core
    #[arg(long)]
    threads: Option<usize>,
}

/// The calls: each client has a connection and keeps so many calls in flight.
#[derive(Debug, clap::Args)]
pub struct CallsArgs {
    #[command(flatten)]
    work: Work,
    #[arg(long)]
    processor: String,
    #[arg(long)]
    clients: usize,
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
}

#[derive(Debug, clap::Args)]
struct Work {
    #[arg(long)]
    video: PathBuf,
    #[arg(long)]
    scale: f64,
    /// Pictures in all
    #[arg(long)]
    frames: u64,
}

#[derive(Debug)]
struct Pictures {
    jpegs: Vec<Bytes>,
    width: i32,
    height: i32,
}

impl Pictures {
    fn read(video: &Path) -> Result<Self> {
        let path = video.to_str().context("a name that is not UTF-8")?;
        let mut capture = VideoCapture::from_file(path, CAP_ANY)?;
        let (mut jpegs, mut pixels) = (Vec::new(), Mat::default());
        let (mut width, mut height) = (0, 0);
        while jpegs.len() < IN_MEMORY && capture.read(&mut pixels)? {
            (width, height) = (pixels.cols(), pixels.rows()); // behind the last one there are none
            jpegs.push(jpeg(&pixels, SENT_QUALITY)?.into());
        }
        ensure!(!jpegs.is_empty(), "{path} holds no pictures");
        Ok(Self {
            jpegs,
            width,
            height,
        })
    }

    fn at(&self, sequence: u64) -> &Bytes {
        &self.jpegs[(sequence % self.jpegs.len() as u64) as usize]
    }
}

fn jpeg(pixels: &Mat, quality: i32) -> Result<Vec<u8>> {
    let mut jpeg = Vector::new();
    let quality = Vector::from_slice(&[imgcodecs::IMWRITE_JPEG_QUALITY, quality]);
    imgcodecs::imencode(".jpg", pixels, &mut jpeg, &quality)?;
    Ok(jpeg.into())
}

/// Runs the loop and prints how fast it was as JSON.
///
/// # Errors
/// A picture that cannot be made.
pub fn run_loop(args: &LoopArgs) -> Result<()> {
    // Parallel over pictures: that wastes less than parallel within one.
    core::set_num_threads(1)?;
    let pictures = Pictures::read(&args.work.video)?;
    let side = |pixels: i32| (f64::from(pixels) * args.work.scale).round() as i32;
    let size = Size::new(side(pictures.width), side(pictures.height));
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism()?.get();
    let one_thread = || -> Result<()> {
        loop {
            let sequence = next.fetch_add(1, Ordering::Relaxed);
            if sequence >= args.work.frames {
                return Ok(());
            }
            let content: &[u8] = pictures.at(sequence);
            let pixels = imgcodecs::imdecode(&content, imgcodecs::IMREAD_COLOR)?;
            let mut scaled = Mat::default();
            imgproc::resize(&pixels, &mut scaled, size, 0.0, 0.0, imgproc::INTER_AREA)?;
            jpeg(&scaled, RESULT_QUALITY)?;
        }
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads.unwrap_or(cores))
            .map(|_| scope.spawn(one_thread))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("the loop does not panic"))
    })?;
    print(args.work.frames, start)
}

/// Makes the calls and prints how fast they were as JSON.
///
/// # Errors
/// The first failed call; a full service is asked again when it says.
pub fn run_calls(args: &CallsArgs) -> Result<()> {
    let pictures = Arc::new(Pictures::read(&args.work.video)?);
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..args.clients {
            clients.push(ProcessorClient::new(connect(&args.processor).await?));
        }
        let next = Arc::new(AtomicU64::new(0));
        let mut callers = JoinSet::new();
        let start = Instant::now();
        for (number, client) in clients.into_iter().enumerate() {
            for _ in 0..args.in_flight {
                let (next, pictures) = (Arc::clone(&next), Arc::clone(&pictures));
                let (mut client, frames, scale) =
                    (client.clone(), args.work.frames, args.work.scale);
                callers.spawn(async move {
                    loop {
                        let sequence = next.fetch_add(1, Ordering::Relaxed);
                        if sequence >= frames {
                            return anyhow::Ok(());
                        }
                        let frame = Some(frame(&pictures, number, sequence, scale));
                        let request = ProcessRequest { frame, attempt: 1 };
                        while let Err(status) = client.process(request.clone()).await {
                            let hint = status.get_details_retry_info();
                            match hint.and_then(|hint| hint.retry_delay) {
                                Some(delay) => tokio::time::sleep(delay).await, // as it asked for
                                None => return Err(status.into()),
                            }
                        }
                    }
                });
            }
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        print(args.work.frames, start)
    })
}

fn frame(pictures: &Pictures, client: usize, sequence: u64, scale: f64) -> v1::Frame {
    v1::Frame {
        id: Some(FrameId::new(format!("bench-{client}"), 1, sequence)),
        codec: Codec::Jpeg.into(),
        pixel_format: PixelFormat::Bgr24.into(),
        width: pictures.width.unsigned_abs(),
        height: pictures.height.unsigned_abs(),
        keyframe: true,
        labels: [("resize".to_owned(), scale.to_string())].into(),
        content: Some(Content::Inline(pictures.at(sequence).clone())),
        ..v1::Frame::default()
    }
}

fn print(calls: u64, start: Instant) -> Result<()> {
    let called = Called {
        calls,
        seconds: start.elapsed().as_secs_f64(),
    };
    println!("{}", serde_json::to_string(&called)?);
    Ok(())
}
