//! One source from its start to its end.
//!
//! ```text
//! input -> capture thread -> handover (overload policy) -> encoder threads -> publisher -> Kafka
//! ```
//! An end travels right in the stream itself; a failure on the right closes what is left of it.

use crate::capture::Capture;
use crate::config::{Delivery, InputSpec, MissingTopic, Order, SourceConfig};
use crate::encode::{self, Captured};
use crate::epoch::{self, Claim, Wanted, Watch};
use crate::handover::{Ending, handover};
use crate::input::pattern::Pattern;
use crate::input::{Input, InputError};
use crate::message::Messages;
use crate::options::Pace;
use crate::overload::Bounds;
use crate::pace::Pacer;
use crate::progress::Progress;
use crate::publish::{PublishError, Publisher};
use crate::worker::{Pause, Worker};
use anyhow::Context;
use pipeline::kafka::{Admin, KafkaConfig, TransactionalWriter, Writer};
use pipeline::service::ConfigError;
use pipeline::v1::FrameId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Pictures between camera and encoders: a second of video, so that a short hold-up drops nothing.
const WAITING: Bounds = Bounds {
    frames: 30,
    // Decoded pictures are large: 30 of 1280x720 are 83 MB, of 4K 746 MB.
    bytes: 128 << 20,
};

/// A camera's driver may need this long to answer a last call.
const JOIN_GRACE: Duration = Duration::from_secs(5);

/// Runs one source to its end. Opens the input before it touches Kafka: a misspelt path costs no epoch.
pub async fn run(
    kafka: KafkaConfig,
    source: SourceConfig,
    shutdown: CancellationToken,
    progress: Arc<Progress>,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let stop = shutdown.child_token();
    let pause = Pause::new(stop.clone());
    let input = {
        let (spec, pause) = (source.input.clone(), pause.clone());
        tokio::task::spawn_blocking(move || open_input(&spec, pause)).await??
    };
    let partitions = {
        let (kafka, source) = (kafka.clone(), source.clone());
        tokio::task::spawn_blocking(move || prepare_topic(&kafka, &source)).await??
    };
    let (claim, first, _writer, watch) = claim(&kafka, &source).await?;
    tracing::info!(
        source = source.source_id,
        topic = %source.topic,
        epoch = claim.epoch,
        first,
        "source started"
    );
    progress.begin(claim.epoch, first);
    let messages = Messages::new(&source, claim.epoch, input.time_base(), partitions);
    let (giver, taker) = handover::<Captured>(source.overload, WAITING);
    let (frames, mut workers) = encode::spawn(&source.source_id, &taker, source.encoding)?;
    drop(taker);
    let capture = Capture {
        input,
        first: FrameId::new(&source.source_id, claim.epoch, first),
        end: source.count,
        pacer: pacer(&source),
        giver,
        pause,
        progress: Arc::clone(&progress),
    };
    workers.push(Worker::spawn(
        &format!("capture {}", source.source_id),
        move || capture.run(),
    )?);
    let writer = {
        let kafka = kafka.clone();
        tokio::task::spawn_blocking(move || Writer::new(&kafka)).await??
    };
    let publisher = Publisher::new(
        messages,
        frames,
        writer,
        Arc::clone(&progress),
        stop.clone(),
    );
    let result = publisher.run(watch.taken_over()).await;
    finish(
        &source.source_id,
        result,
        stop,
        workers,
        watch,
        &progress,
        start,
    )
    .await
}

async fn finish(
    source_id: &str,
    result: Result<Ending, PublishError>,
    stop: CancellationToken,
    workers: Vec<Worker>,
    watch: Watch,
    progress: &Progress,
    start: Instant,
) -> anyhow::Result<()> {
    stop.cancel();
    let mut joined = Ok(());
    for worker in workers {
        joined = joined.and(worker.join(JOIN_GRACE).await);
    }
    watch.close().await;
    let ended = match &result {
        Ok(Ending::Finished) => "finished",
        Ok(_) => "stopped",
        Err(_) => "failed",
    };
    eprintln!("{}", progress.summary(ended, start.elapsed()));
    result.with_context(|| format!("source {source_id}"))?;
    joined.with_context(|| format!("source {source_id}"))
}

fn open_input(spec: &InputSpec, _pause: Pause) -> anyhow::Result<Box<dyn Input>> {
    let input: Result<Box<dyn Input>, InputError> = match spec {
        InputSpec::Pattern(spec) => Pattern::new(*spec).map(|input| Box::new(input) as _),
        _ => Err(InputError::Unusable("not yet".into())),
    };
    input.map_err(|fault| match fault {
        InputError::Unusable(why) => ConfigError(why).into(),
        other => other.into(),
    })
}

/// Makes the topic if need be, checks that it fits, and answers how many partitions it has.
fn prepare_topic(kafka: &KafkaConfig, source: &SourceConfig) -> anyhow::Result<i32> {
    let admin = Admin::connect(kafka)?;
    let topic = &source.topic;
    let partitions = match source.placement.missing_topic {
        MissingTopic::Create => admin.ensure_topic(&source.topic_spec())?.partitions,
        MissingTopic::Fail => i32::try_from(admin.partitions(topic)?.len())?,
    };
    admin.check_record_limit(topic)?;
    if source.placement.order == Order::Spread && partitions < 2 {
        return Err(ConfigError(format!(
            "--spread needs a topic of at least 2 partitions, {topic} has 1: add some, or choose another topic"
        ))
        .into());
    }
    if let Some(wanted) = source
        .placement
        .partitions
        .filter(|wanted| *wanted != partitions)
    {
        tracing::warn!(%topic, partitions, wanted, "the topic exists already and stays as it is");
    }
    Ok(partitions)
}

/// The claim and the first sequence to be sent.
async fn claim(
    kafka: &KafkaConfig,
    source: &SourceConfig,
) -> anyhow::Result<(Claim, u64, TransactionalWriter, Watch)> {
    let (topic, id) = (&*source.topic, source.source_id.as_str());
    let opened = epoch::open(kafka, topic, id, source.placement.replication).await?;
    let transactional = source.delivery == Delivery::Resumable;
    let (claim, writer, watch) = opened
        .claim(topic, id, &Wanted::Next, String::new(), transactional)
        .await?;
    Ok((claim, 0, writer, watch))
}

fn pacer(source: &SourceConfig) -> Option<Pacer> {
    let paced = source.pace == Pace::Realtime && !matches!(source.input, InputSpec::Live(_));
    paced.then(Pacer::default)
}
