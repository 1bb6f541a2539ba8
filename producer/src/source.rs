//! One source from its start to its end.
//!
//! ```text
//! input -> capture thread -> handover (overload policy) -> encoder threads -> publisher -> Kafka
//! ```
//! An end travels right in the stream itself; a failure on the right closes what is left of it.

use crate::capture::Capture;
use crate::config::{Delivery, InputSpec, MissingTopic, Order, SourceConfig};
use crate::encode::{self, Captured, EncodedStream};
use crate::epoch::{self, Claim, Member, Start, Wanted, Watch};
use crate::handover::{Ending, handover};
use crate::import::Importer;
use crate::input::file::VideoFile;
use crate::input::images::Images;
use crate::input::live::{Live, Passthrough};
use crate::input::pattern::Pattern;
use crate::input::{Input, InputError};
use crate::message::Messages;
use crate::options::Pace;
use crate::overload::Bounds;
use crate::pace::Pacer;
use crate::progress::Progress;
use crate::publish::{PublishError, Publisher};
use crate::reach;
use crate::resume::{self, Plan};
use crate::tail;
use crate::worker::{Pause, Worker};
use anyhow::Context;
use pipeline::kafka::{
    Admin, KafkaConfig, TopicPartition, TransactionalWriter, Writer, partition_of,
};
use pipeline::say;
use pipeline::service::ConfigError;
use pipeline::v1::FrameId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Pictures between camera and encoders: a second of video, so that a short hold-up drops nothing.
const WAITING: Bounds = Bounds {
    frames: 30,
    // Decoded pictures are large: 30 of 1280x720 are 83 MB, of 4K 746 MB.
    bytes: 128 << 20,
};

/// A camera's driver may need this long to answer a last call.
const JOIN_GRACE: Duration = Duration::from_secs(5);

/// Runs one source to its end, for a managed producer or for whoever started it. Opens the input before it touches
/// Kafka: a misspelt path costs no epoch.
pub async fn run(
    kafka: KafkaConfig,
    source: SourceConfig,
    by: Option<Member>,
    shutdown: CancellationToken,
    progress: Arc<Progress>,
) -> anyhow::Result<()> {
    let source_id = source.source_id.clone();
    let running = Running {
        kafka,
        source: Arc::new(source),
        by,
        stop: shutdown.child_token(),
        progress: Arc::clone(&progress),
    };
    let result = running.run().await;
    progress.end();
    result.with_context(|| format!("source {source_id}"))
}

struct Running {
    kafka: KafkaConfig,
    source: Arc<SourceConfig>,
    by: Option<Member>,
    stop: CancellationToken,
    progress: Arc<Progress>,
}

/// A source that may send.
struct Started {
    claim: Claim,
    first: u64,
    writer: TransactionalWriter,
    watch: Watch,
}

impl Running {
    async fn run(self) -> anyhow::Result<()> {
        let pause = Pause::new(self.stop.clone());
        let input = {
            let (source, pause) = (Arc::clone(&self.source), pause.clone());
            blocking(move || open_input(&source, pause)).await?
        };
        if self.is_stopped() {
            return Ok(());
        }
        let lanes = {
            let (kafka, source) = (self.kafka.clone(), Arc::clone(&self.source));
            blocking(move || prepare_topic(&kafka, &source)).await?
        };
        if self.is_stopped() {
            return Ok(());
        }
        let Some(started) = self.claim(&lanes).await? else {
            return Ok(());
        };
        let Started {
            claim,
            first,
            writer,
            watch,
        } = started;
        tracing::info!(
            source = claim.source,
            topic = claim.topic,
            epoch = claim.epoch,
            first,
            "started"
        );
        self.progress.begin(claim.epoch, first);
        let start = Instant::now();
        let messages = Messages::new(&self.source, &claim, input.time_base(), lanes.len());
        let id = FrameId::new(&claim.source, claim.epoch, first);
        let (frames, workers) = self.start_threads(input, id, pause)?;
        let result = match self.source.delivery {
            Delivery::AtOnce => {
                // The claim is made; from now on only the watch fences this source.
                tokio::task::spawn_blocking(move || drop(writer)).await?;
                self.publish(messages, frames, first, &watch).await?
            }
            Delivery::Resumable => {
                let importer = Importer {
                    messages,
                    frames,
                    writer,
                    progress: Arc::clone(&self.progress),
                    source_id: claim.source,
                    next: first,
                    runtime: Handle::current(),
                    taken_over: Box::pin(watch.taken_over()),
                };
                tokio::task::spawn_blocking(move || importer.run()).await?
            }
        };
        self.finish(result, start, workers, watch).await
    }

    /// Asked before every step up to the claim: one that is told to end takes the source from nobody any more.
    fn is_stopped(&self) -> bool {
        let is_stopped = self.stop.is_cancelled();
        if is_stopped {
            tracing::info!(source = %self.source.source_id, "stopped before it began");
        }
        is_stopped
    }

    /// None if there is nothing to be sent.
    async fn claim(&self, lanes: &[TopicPartition]) -> anyhow::Result<Option<Started>> {
        let (topic, id) = (&*self.source.topic, self.source.source_id.as_str());
        let replication = self.source.placement.replication;
        let opened = epoch::open(&self.kafka, topic, id, replication).await?;
        let transactional = self.source.delivery == Delivery::Resumable;
        let plan = if transactional {
            self.resume_plan(lanes, opened.previous.clone()).await
        } else {
            Ok(Plan::Send {
                epoch: Wanted::Next,
                first: 0,
            })
        };
        match plan {
            Ok(Plan::Send { .. }) if self.is_stopped() => {
                opened.close().await;
                Ok(None)
            }
            Ok(Plan::Send { epoch, first }) => {
                let start = Start {
                    wanted: epoch,
                    input: resume::fingerprint(&self.source.input),
                    partition: self.partition(lanes.len(), opened.previous.as_ref()),
                    transactional,
                    by: self.by.clone(),
                };
                let (claim, writer, watch) = opened.claim(topic, id, start).await?;
                Ok(Some(Started {
                    claim,
                    first,
                    writer,
                    watch,
                }))
            }
            Ok(Plan::Complete { frames }) => {
                opened.close().await;
                say(format_args!(
                    "{id}: already complete: Kafka holds all {frames} frames and the end of the stream"
                ));
                Ok(None)
            }
            Err(fault) => {
                opened.close().await;
                Err(fault)
            }
        }
    }

    /// Where all frames go: where they went before, else by the source id. None if they are spread.
    fn partition(&self, partitions: usize, previous: Option<&Claim>) -> Option<i32> {
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let before = || previous?.partition.filter(|before| *before < count);
        let by_id = || partition_of(self.source.source_id.as_bytes(), count);
        match self.source.placement.order {
            Order::Kept => Some(before().unwrap_or_else(by_id)),
            Order::Spread => None,
        }
    }

    async fn resume_plan(
        &self,
        lanes: &[TopicPartition],
        previous: Option<Claim>,
    ) -> anyhow::Result<Plan> {
        let (kafka, source, lanes) = (self.kafka.clone(), Arc::clone(&self.source), lanes.to_vec());
        blocking(move || {
            let admin = Admin::connect(&kafka)?;
            let last = tail::last_of(&kafka, &admin, &lanes, &source.source_id)?;
            let plan = resume::plan(&source, previous.as_ref(), last)?;
            if matches!(&plan, Plan::Send { first, .. } if *first > 0)
                && previous.is_some_and(|claim| !claim.transactional)
            {
                tracing::warn!(
                    source = source.source_id,
                    "the epoch was begun without --resume: if its producer still runs, frames may be doubled"
                );
            }
            Ok(plan)
        })
        .await
    }

    fn start_threads(
        &self,
        input: Box<dyn Input>,
        first: FrameId,
        pause: Pause,
    ) -> anyhow::Result<(EncodedStream, Vec<Worker>)> {
        let (giver, taker) = handover::<Captured>(self.source.overload, WAITING);
        let name = format!("capture {}", first.source_id);
        let (frames, mut workers) = encode::spawn(&first.source_id, &taker, self.source.encoding)?;
        let capture = Capture {
            input,
            first,
            end: self.source.count,
            pacer: pacer(&self.source),
            giver,
            pause,
            progress: Arc::clone(&self.progress),
        };
        workers.push(Worker::spawn(&name, move || capture.run())?);
        Ok((frames, workers))
    }

    async fn publish(
        &self,
        messages: Messages,
        frames: EncodedStream,
        first: u64,
        watch: &Watch,
    ) -> anyhow::Result<Result<Ending, PublishError>> {
        let kafka = self.kafka.clone();
        let writer = Arc::new(blocking(move || Ok(Writer::new(&kafka)?)).await?);
        let lost = reach::lost(
            Arc::clone(&writer),
            self.kafka.clone(),
            self.source.topic.to_string(),
            watch,
        );
        let publisher = Publisher {
            messages,
            frames,
            writer,
            progress: Arc::clone(&self.progress),
            stop: self.stop.clone(),
            next: first,
        };
        Ok(publisher.run(watch.taken_over(), lost).await)
    }

    async fn finish(
        &self,
        result: Result<Ending, PublishError>,
        start: Instant,
        workers: Vec<Worker>,
        watch: Watch,
    ) -> anyhow::Result<()> {
        self.stop.cancel();
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
        say(self.progress.summary(ended, start.elapsed()));
        result?;
        Ok(joined?)
    }
}

/// Runs what blocks off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

fn open_input(source: &SourceConfig, pause: Pause) -> anyhow::Result<Box<dyn Input>> {
    let input: Result<Box<dyn Input>, InputError> = match &source.input {
        InputSpec::Pattern(spec) => Pattern::new(*spec).map(boxed),
        InputSpec::Images {
            folder,
            fps,
            at_end,
        } => Images::open(folder, *fps, *at_end).map(boxed),
        InputSpec::File { path, fps, at_end } => VideoFile::open(path, *fps, *at_end).map(boxed),
        InputSpec::Live(spec) => Live::new(spec.clone(), passthrough(source), pause).map(boxed),
    };
    input.map_err(|fault| match fault {
        InputError::Unusable(why) => ConfigError(why).into(),
        other => other.into(),
    })
}

fn boxed(input: impl Input + 'static) -> Box<dyn Input> {
    Box::new(input)
}

fn passthrough(source: &SourceConfig) -> Passthrough {
    if source.encoding.takes_jpegs() {
        Passthrough::Jpeg
    } else {
        Passthrough::Never
    }
}

/// Makes the topic if need be, checks that it fits, and answers its partitions.
fn prepare_topic(
    kafka: &KafkaConfig,
    source: &SourceConfig,
) -> anyhow::Result<Vec<TopicPartition>> {
    let admin = Admin::connect(kafka)?;
    let topic = &source.topic;
    if source.placement.missing_topic == MissingTopic::Create {
        admin.ensure_topic(&source.topic_spec())?;
    }
    let lanes = admin.partitions(topic)?;
    admin.check_record_limit(topic)?;
    if source.placement.order == Order::Spread && lanes.len() < 2 {
        return Err(ConfigError(format!(
            "--spread needs a topic of at least 2 partitions, {topic} has 1: add some, or choose another topic"
        ))
        .into());
    }
    if let Some(wanted) = source
        .placement
        .partitions
        .filter(|wanted| *wanted as usize != lanes.len())
    {
        tracing::warn!(%topic, partitions = lanes.len(), wanted, "the topic exists already and stays as it is");
    }
    Ok(lanes)
}

fn pacer(source: &SourceConfig) -> Option<Pacer> {
    let paced = source.pace == Pace::Realtime && !matches!(source.input, InputSpec::Live(_));
    paced.then(Pacer::default)
}
