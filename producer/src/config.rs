//! What a producer is asked to do. `check` makes it from what was written, or says what is wrong with that.

mod check;

pub use check::parse_sources;

use crate::options::{Fps, Overload, Pace, PatternSpec, PictureCodec, Quality, Size};
use pipeline::kafka::{KafkaConfig, TopicSpec};
use pipeline::service::ConfigError;
use pipeline::wire::MAX_ENVELOPE_BYTES;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything a producer needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Kafka is.
    pub kafka: KafkaConfig,
    /// What is run.
    pub work: Work,
}

/// What a producer runs.
#[derive(Debug, Clone)]
pub enum Work {
    /// These, to their ends. At least one; no two with the same topic and id.
    Sources(Vec<SourceConfig>),
    /// Those that a registry declares, while it declares them.
    Managed(ManagedConfig),
}

/// Whose sources are run.
#[derive(Debug, Clone)]
pub struct ManagedConfig {
    /// The capture host's name.
    pub host: String,
    /// The registry's topic.
    pub registry: String,
}

/// One source of frames.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceConfig {
    /// The topic to write to.
    pub topic: Arc<str>,
    /// The source's name on its frames.
    pub source_id: String,
    /// Where pictures come from.
    pub input: InputSpec,
    /// How fast they are taken.
    pub pace: Pace,
    /// Stop after this many.
    pub count: Option<u64>,
    /// What happens when the rest is slower.
    pub overload: Overload,
    /// How pictures are written.
    pub encoding: Encoding,
    /// Free text on every frame.
    pub labels: Vec<(String, String)>,
    /// The topic's settings and use.
    pub placement: Placement,
    /// What a kill -9 may cost.
    pub delivery: Delivery,
}

/// Where pictures come from.
#[derive(Debug, Clone, PartialEq)]
pub enum InputSpec {
    /// Drawn here.
    Pattern(PatternSpec),
    /// A folder of pictures.
    Images {
        /// The folder.
        folder: PathBuf,
        /// Pictures a second.
        fps: Fps,
        /// What happens at the end.
        at_end: AtEnd,
    },
    /// A video file.
    File {
        /// The file.
        path: PathBuf,
        /// Resampled to this rate; None: the file's own timestamps.
        fps: Option<Fps>,
        /// What happens at the end.
        at_end: AtEnd,
    },
    /// A camera or a stream.
    Live(LiveSpec),
}

/// What happens when a file or folder has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    /// The source ends.
    Stop,
    /// It begins again.
    Repeat,
}

/// A source that gives pictures at its own pace, may stall, and may come back.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveSpec {
    /// What to open.
    pub place: LivePlace,
    /// At most this many frames a second.
    pub fps: Option<Fps>,
    /// No picture for this long: reopen.
    pub stall_timeout: Duration,
    /// No success in reopening for this long: fail. None: never.
    pub reconnect_for: Option<Duration>,
    /// What a camera is asked for, if it has a choice.
    pub size: Option<Size>,
}

/// What to open. Shown without passwords.
#[derive(Clone, PartialEq, Eq)]
pub enum LivePlace {
    /// `/dev/videoN`.
    Camera(u32),
    /// RTSP or HTTP.
    Url(String),
}

/// How pictures are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Encoding {
    /// The codec.
    pub codec: PictureCodec,
    /// JPEG quality; None: [`Quality::DEFAULT`], and JPEGs of the source pass as they are.
    pub quality: Option<Quality>,
    /// Scale to this size.
    pub resize: Option<Size>,
}

impl Encoding {
    /// True if JPEGs of the source are sent as they are: no work, no second loss.
    pub fn takes_jpegs(&self) -> bool {
        self.codec == PictureCodec::Jpeg && self.quality.is_none() && self.resize.is_none()
    }
}

/// Where in Kafka the frames go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// One partition or all.
    pub order: Order,
    /// Partitions of a topic that has to be made; None: what `order` needs.
    pub partitions: Option<i32>,
    /// Copies of each partition.
    pub replication: Option<i32>,
    /// How long frames are kept.
    pub retention: Option<Duration>,
    /// May the topic be made?
    pub missing_topic: MissingTopic,
}

/// What order the topic keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// All frames in the partition of the source id: Kafka keeps their order.
    Kept,
    /// Frame n in partition n modulo the partitions: readers restore the order from the sequence.
    Spread,
}

/// What happens without a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingTopic {
    /// It is made.
    Create,
    /// The source fails.
    Fail,
}

/// What a kill -9 may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Each frame at once; the next start is a new epoch.
    AtOnce,
    /// Batches in transactions; the next start goes on behind the last one, in the same epoch.
    Resumable,
}

/// Partitions of a new topic for `--spread`.
const SPREAD_PARTITIONS: i32 = 4;

impl SourceConfig {
    /// The size of the pictures as far as the options tell it.
    fn known_size(&self) -> Option<Size> {
        self.encoding.resize.or(match &self.input {
            InputSpec::Pattern(spec) => Some(spec.size),
            _ => None,
        })
    }

    /// Refuses pictures that, written as they are, fit into no record.
    pub fn check_raw_size(&self, size: Option<Size>) -> Result<(), ConfigError> {
        let Some(size) = size.filter(|_| self.encoding.codec == PictureCodec::Raw) else {
            return Ok(());
        };
        let bytes = u64::from(size.width) * u64::from(size.height) * 3;
        if bytes < MAX_ENVELOPE_BYTES as u64 {
            return Ok(());
        }
        Err(ConfigError(format!(
            "source {}: a raw picture of {size} has {bytes} bytes, a record takes {MAX_ENVELOPE_BYTES}: use --codec \
             jpeg or png, or --resize",
            self.source_id
        )))
    }

    /// The topic as it is to be made.
    pub fn topic_spec(&self) -> TopicSpec {
        let partitions = self
            .placement
            .partitions
            .unwrap_or(match self.placement.order {
                Order::Kept => 1,
                Order::Spread => SPREAD_PARTITIONS,
            });
        TopicSpec {
            replication: self.placement.replication,
            retention: self.placement.retention,
            ..TopicSpec::frames(&self.topic, partitions)
        }
    }
}
