//! A running server and its caller, and the processors that tests need: one with moods, one that waits.

use bytes::Bytes;
use processor_proto::{
    BlockingProcessor, Counts, ProcessError, Processed, Processor, ServeConfig, ServeError, Server,
    Stopped, Threads,
    v1::{
        self, Codec, FrameId, PixelFormat, ProcessRequest, ProcessResponse, frame::Content,
        processor_client::ProcessorClient,
    },
};
use std::{
    future::pending,
    num::NonZeroUsize,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

/// Longer than anything here takes, short enough to fail while one watches.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Running {
    pub address: String,
    pub client: ProcessorClient<Channel>,
    pub channel: Channel,
    pub counts: Arc<Counts>,
    pub shutdown: CancellationToken,
    pub served: JoinHandle<Result<Stopped, ServeError>>,
}

pub async fn start(processor: impl Processor, config: ServeConfig) -> Running {
    let server = Server::bind(config).unwrap();
    let address = format!("http://{}", server.local_addr());
    let counts = server.counts();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(server.run(processor, shutdown.clone()));
    let channel = Channel::from_shared(address.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    Running {
        address,
        client: ProcessorClient::new(channel.clone()),
        channel,
        counts,
        shutdown,
        served,
    }
}

impl Running {
    pub fn call(&self, request: ProcessRequest) -> JoinHandle<Result<ProcessResponse, Status>> {
        let mut client = self.client.clone();
        tokio::spawn(async move { Ok(client.process(request).await?.into_inner()) })
    }

    pub async fn stop(self) -> Stopped {
        self.shutdown.cancel();
        bounded(self.served).await.unwrap().unwrap()
    }

    /// Comes back when the server has `in_flight` calls.
    pub async fn in_flight(&self, in_flight: u64) {
        bounded(async {
            while self.counts.in_flight() != in_flight {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

pub async fn bounded<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("no end in sight")
}

pub fn frame(sequence: u64) -> v1::Frame {
    v1::Frame {
        id: Some(FrameId::new("cam0", 1, sequence)),
        codec: Codec::Raw.into(),
        pixel_format: PixelFormat::Gray8.into(),
        width: 2,
        height: 1,
        content: Some(Content::Inline(Bytes::from_static(b"ab"))),
        ..v1::Frame::default()
    }
}

pub fn request(sequence: u64) -> ProcessRequest {
    ProcessRequest {
        frame: Some(frame(sequence)),
        attempt: 2,
    }
}

pub fn threads(count: usize, admission: usize) -> Threads {
    Threads {
        count: NonZeroUsize::new(count).unwrap(),
        admission: NonZeroUsize::new(admission).unwrap(),
    }
}

/// Answers at once; sequence 13 panics, 14 is invalid, 15 never answers.
pub struct Moods;

impl Processor for Moods {
    fn name(&self) -> &str {
        "moods"
    }

    fn version(&self) -> &str {
        "3"
    }

    async fn process(&self, frame: v1::Frame) -> Result<Processed, ProcessError> {
        match frame.id.map(|id| id.sequence) {
            Some(13) => panic!("bad luck"),
            Some(14) => Err(ProcessError::InvalidFrame("upside down".into())),
            Some(15) => pending().await,
            _ => Ok(Processed::nothing()
                .detection(v1::Detection::new("thing", 0.5, v1::Box::default()))
                .attribute("mood", "good")),
        }
    }
}

/// Holds its thread until `open`; counts the frames it began.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar, AtomicUsize)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn began(&self) -> usize {
        self.0.2.load(SeqCst)
    }

    pub async fn has_begun(&self, calls: usize) {
        bounded(async {
            while self.began() < calls {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

impl BlockingProcessor for Gate {
    fn name(&self) -> &str {
        "gate"
    }

    fn process(&self, frame: &v1::Frame) -> Result<Processed, ProcessError> {
        self.0.2.fetch_add(1, SeqCst);
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
        assert_ne!(frame.id.as_ref().unwrap().sequence, 13, "bad luck");
        Ok(Processed::nothing())
    }
}
