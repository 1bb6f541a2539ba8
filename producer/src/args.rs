//! The command line, and the file that lists several sources with the same options.

use crate::options::{
    Fps, Label, Overload, Pace, PatternSpec, PictureCodec, Quality, Size, Span, optional_text,
};
use pipeline::kafka::KafkaArgs;
use pipeline::service::TelemetryArgs;
use registry::RegistryArgs;
use serde::Deserialize;
use std::path::PathBuf;

/// Video in: captures frames and publishes them to Kafka, each exactly once and in order.
///
/// Exit codes: 0 all sources ended or were stopped, 1 a source failed, 2 the settings are wrong.
#[derive(Debug, Clone, clap::Parser)]
#[command(version, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub source: SourceArgs,
    /// Run every source that this YAML file lists (`sources:`, each with the options' names without dashes in front)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub managed: ManagedArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// Sources that are declared elsewhere.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Managed")]
pub struct ManagedArgs {
    /// Follow the registry: open, change and close the sources that it declares for this host, without disturbing the
    /// others. Of several producers of a host one is at work; another takes over when it ends or dies
    #[arg(long)]
    pub managed: bool,
    /// This host's name in the registry [default: the machine's name]
    #[arg(long, value_name = "NAME", requires = "managed")]
    pub host: Option<String>,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// One source, as written.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SourceArgs {
    /// A camera by its index (/dev/videoN)
    #[arg(long, value_name = "N", help_heading = "Source (one of)")]
    pub camera: Option<u32>,
    /// A video file
    #[arg(long, value_name = "PATH", help_heading = "Source (one of)")]
    pub file: Option<PathBuf>,
    /// A live stream: rtsp://, rtsps://, http:// or https://
    #[arg(long, value_name = "URL", help_heading = "Source (one of)")]
    pub url: Option<String>,
    /// A folder of pictures, in the natural order of their names
    #[arg(long, value_name = "DIR", help_heading = "Source (one of)")]
    pub images: Option<PathBuf>,
    /// A moving test picture with its frame id in it, as text and as a bar code
    #[arg(long, value_name = "WxH@FPS", help_heading = "Source (one of)")]
    #[serde(deserialize_with = "optional_text")]
    pub pattern: Option<PatternSpec>,

    /// The topic to write to
    #[arg(long, value_name = "NAME", help_heading = "Topic")]
    pub topic: Option<String>,
    /// The source's name on its frames [default: the topic's name]
    #[arg(long, value_name = "NAME", help_heading = "Topic")]
    pub source_id: Option<String>,
    /// Write the frames to the topic's partitions in turn: more throughput, no order across partitions
    #[arg(long, help_heading = "Topic")]
    pub spread: bool,
    /// Partitions of the topic if it has to be made [default: 1, with --spread 4]
    #[arg(long, value_name = "N", help_heading = "Topic")]
    pub partitions: Option<i32>,
    /// Copies of each partition if the topic has to be made [default: the cluster's]
    #[arg(long, value_name = "N", help_heading = "Topic")]
    pub replication: Option<i32>,
    /// How long a topic that has to be made keeps frames, e.g. 24h [default: the cluster's]
    #[arg(long, value_name = "DURATION", help_heading = "Topic")]
    #[serde(deserialize_with = "optional_text")]
    pub retention: Option<Span>,
    /// Fail if the topic does not exist rather than make it
    #[arg(long, help_heading = "Topic")]
    pub no_create: bool,

    /// Frames a second. Files: frames are left out or repeated to fit. Cameras and streams: an upper limit.
    /// Images: their rate [default: 10]
    #[arg(long, value_name = "F", help_heading = "Pace")]
    #[serde(deserialize_with = "optional_text")]
    pub fps: Option<Fps>,
    /// realtime, or max: as fast as Kafka takes them [default: realtime]
    #[arg(long, value_name = "PACE", help_heading = "Pace")]
    #[serde(deserialize_with = "optional_text")]
    pub pace: Option<Pace>,
    /// Begin again when the file or folder ends; the sequence goes on
    #[arg(long = "loop", help_heading = "Pace")]
    #[serde(rename = "loop")]
    pub repeat: bool,
    /// Stop after N frames
    #[arg(long, value_name = "N", help_heading = "Pace")]
    pub count: Option<u64>,
    /// When Kafka or encoding is too slow: wait, drop-oldest, latest (keep only the newest) or every-nth=N (thin out).
    /// What is dropped is announced by a Gap record [default: drop-oldest for cameras and streams, otherwise wait]
    #[arg(long, value_name = "POLICY", help_heading = "Pace")]
    #[serde(deserialize_with = "optional_text")]
    pub overload: Option<Overload>,

    /// Scale every picture to this size
    #[arg(long, value_name = "WxH", help_heading = "Picture")]
    #[serde(deserialize_with = "optional_text")]
    pub resize: Option<Size>,
    /// jpeg, png or raw. JPEGs that a source gives are passed on as they are, unless --quality or --resize is given
    /// [default: jpeg]
    #[arg(long, value_name = "CODEC", help_heading = "Picture")]
    #[serde(deserialize_with = "optional_text")]
    pub codec: Option<PictureCodec>,
    /// JPEG quality, 1 to 100 [default: 85]
    #[arg(long, value_name = "Q", help_heading = "Picture")]
    #[serde(deserialize_with = "optional_text")]
    pub quality: Option<Quality>,
    /// Free text on every frame; can be given more than once
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Picture")]
    pub label: Vec<Label>,

    /// Go on after the last frame that Kafka holds: a killed import neither loses nor doubles a frame. Files and
    /// folders only; give it from the first run on
    #[arg(long, help_heading = "When things fail")]
    pub resume: bool,
    /// Reopen a camera or stream that gives no picture for this long [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = "When things fail")]
    #[serde(deserialize_with = "optional_text")]
    pub stall_timeout: Option<Span>,
    /// Give a camera or stream up when it cannot be reopened for this long [default: never]
    #[arg(long, value_name = "DURATION", help_heading = "When things fail")]
    #[serde(deserialize_with = "optional_text")]
    pub reconnect_for: Option<Span>,
}

/// The content of `--config FILE`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceList {
    /// Run side by side; none disturbs another.
    pub sources: Vec<SourceArgs>,
}
