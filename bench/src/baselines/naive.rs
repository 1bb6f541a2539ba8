//! The loop that most people write first: rdkafka's stream, tonic's client, 32 futures in order, offsets committed by the
//! client every 5 s. A crash loses what was in flight; the first failed call ends it.

use super::settings;
use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use pipeline::v1::processor_client::ProcessorClient;
use pipeline::v1::{Envelope, Frame, ProcessRequest, envelope};
use prost::Message as _;
use rdkafka::consumer::{Consumer, DefaultConsumerContext, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::AsyncRuntime;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

const IN_FLIGHT: usize = 32;

/// What to process.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub bootstrap_servers: String,
    #[arg(long)]
    pub input: String,
    #[arg(long)]
    pub output: String,
    #[arg(long)]
    pub group: String,
    #[arg(long)]
    pub processor: String,
}

/// A record to be written.
struct Processed {
    partition: i32,
    key: Vec<u8>,
    timestamp_ms: Option<i64>,
    payload: Vec<u8>,
}

/// Runs until it is killed.
///
/// # Errors
/// Any fault.
pub fn run(args: &Args) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(work(args))
}

async fn work(args: &Args) -> Result<()> {
    let consumer: StreamConsumer<DefaultConsumerContext, Tokio> =
        settings::member(&args.bootstrap_servers, &args.group, None)
            .set("enable.auto.commit", "true")
            .create()
            .context("creating a consumer")?;
    consumer.subscribe(&[&args.input])?;
    let producer: FutureProducer<_, Tokio> = settings::producer(&args.bootstrap_servers, false)
        .create()
        .context("creating a producer")?;
    let client = ProcessorClient::new(connect(&args.processor).await?);
    consumer
        .stream()
        .map(|message| {
            let client = client.clone();
            async move { process(client, message?).await }
        })
        .buffered(IN_FLIGHT)
        .try_for_each(|processed| {
            let mut record = FutureRecord::to(&args.output)
                .partition(processed.partition)
                .key(&processed.key)
                .payload(&processed.payload);
            record.timestamp = processed.timestamp_ms;
            // Nobody looks at the acknowledgement.
            let sent = producer.send_result(record).map(drop);
            futures::future::ready(sent.map_err(|(cause, _)| cause.into()))
        })
        .await
}

async fn process(
    mut client: ProcessorClient<Channel>,
    message: BorrowedMessage<'_>,
) -> Result<Processed> {
    let envelope = Envelope::decode(message.payload().unwrap_or_default())?;
    let Some(envelope::Kind::Frame(mut frame)) = envelope.kind else {
        anyhow::bail!("a record that is no frame");
    };
    frame.results.extend(call(&mut client, &frame).await?);
    let envelope = Envelope {
        kind: Some(envelope::Kind::Frame(frame)),
    };
    Ok(Processed {
        partition: message.partition(),
        key: message.key().unwrap_or_default().to_vec(),
        timestamp_ms: message.timestamp().to_millis(),
        payload: envelope.encode_to_vec(),
    })
}

async fn call(
    client: &mut ProcessorClient<Channel>,
    frame: &Frame,
) -> Result<Option<pipeline::v1::Result>> {
    let request = ProcessRequest {
        frame: Some(frame.clone()),
        attempt: 1,
    };
    Ok(client.process(request).await?.into_inner().result)
}

/// With the windows that Framelane uses: the defaults hold less than one frame.
pub async fn connect(processor: &str) -> Result<Channel> {
    Endpoint::from_shared(processor.to_owned())?
        .tcp_nodelay(true)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(64 << 20)
        .connect()
        .await
        .context("connecting to the processor")
}

/// The client's own adapter is behind a feature that nothing else here needs.
struct Tokio;

impl AsyncRuntime for Tokio {
    type Delay = tokio::time::Sleep;

    fn spawn<T>(task: T)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(task);
    }

    fn delay_for(duration: Duration) -> Self::Delay {
        tokio::time::sleep(duration)
    }
}
