//! What was written, checked: combinations that cannot work are refused before anything starts.

use crate::args::{Cli, SourceArgs, SourceList};
use crate::options::{Fps, Overload, Pace, PatternSpec, PictureCodec, Quality, Size};
use pipeline::envelope::is_source_id;
use pipeline::kafka::{KafkaConfig, TopicSpec};
use pipeline::service::ConfigError;
use pipeline::wire::MAX_ENVELOPE_BYTES;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Everything a producer needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Kafka is.
    pub kafka: KafkaConfig,
    /// At least one; no two with the same topic and id.
    pub sources: Vec<SourceConfig>,
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

/// What to open.
#[derive(Debug, Clone, PartialEq, Eq)]
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
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

fn wrong(text: impl Into<String>) -> ConfigError {
    ConfigError(text.into())
}

impl TryFrom<Cli> for Config {
    type Error = anyhow::Error;

    fn try_from(cli: Cli) -> anyhow::Result<Self> {
        let kafka = KafkaConfig::try_from(cli.kafka)?;
        let sources = match cli.config {
            None => vec![SourceConfig::try_from(cli.source)?],
            Some(file) if cli.source == SourceArgs::default() => sources_of(&file)?,
            Some(file) => {
                return Err(wrong(format!(
                    "--config {} lists the sources: write the other source options into it",
                    file.display()
                ))
                .into());
            }
        };
        Ok(Self { kafka, sources })
    }
}

fn sources_of(file: &Path) -> Result<Vec<SourceConfig>, ConfigError> {
    let text = std::fs::read_to_string(file)
        .map_err(|cause| wrong(format!("cannot read {}: {cause}", file.display())))?;
    parse_sources(&text).map_err(|cause| wrong(format!("{}: {cause}", file.display())))
}

fn parse_sources(text: &str) -> Result<Vec<SourceConfig>, String> {
    let list: SourceList = serde_saphyr::from_str(text).map_err(|cause| cause.to_string())?;
    if list.sources.is_empty() {
        return Err("it lists no source".to_owned());
    }
    let mut names = HashSet::new();
    let mut sources = Vec::with_capacity(list.sources.len());
    for (n, args) in list.sources.into_iter().enumerate() {
        let source =
            SourceConfig::try_from(args).map_err(|cause| format!("source {}: {cause}", n + 1))?;
        if !names.insert((source.topic.clone(), source.source_id.clone())) {
            return Err(format!(
                "source {}: source id {} is used twice in topic {}: give each its own source-id",
                n + 1,
                source.source_id,
                source.topic
            ));
        }
        sources.push(source);
    }
    Ok(sources)
}

impl TryFrom<SourceArgs> for SourceConfig {
    type Error = ConfigError;

    fn try_from(args: SourceArgs) -> Result<Self, ConfigError> {
        let topic = args
            .topic
            .clone()
            .ok_or_else(|| wrong("say where the frames go: --topic NAME"))?;
        let source_id = args.source_id.clone().unwrap_or_else(|| topic.clone());
        for (option, name) in [("--topic", &topic), ("--source-id", &source_id)] {
            if !is_source_id(name) {
                return Err(wrong(format!(
                    "{option} {name:?} is not 1 to 249 characters of A-Z, a-z, 0-9, '.', '_' and '-'"
                )));
            }
        }
        let input = InputSpec::try_from(&args)?;
        check_combinations(&args, &input)?;
        let source = Self {
            topic: topic.into(),
            source_id,
            pace: args.pace.unwrap_or(Pace::Realtime),
            count: args.count,
            overload: args.overload.unwrap_or(match input {
                InputSpec::Live(_) => Overload::DropOldest,
                _ => Overload::Wait,
            }),
            encoding: Encoding {
                codec: args.codec.unwrap_or(PictureCodec::Jpeg),
                quality: args.quality,
                resize: args.resize,
            },
            labels: args
                .label
                .iter()
                .map(|l| (l.key.clone(), l.value.clone()))
                .collect(),
            placement: Placement::try_from(&args)?,
            delivery: if args.resume {
                Delivery::Resumable
            } else {
                Delivery::AtOnce
            },
            input,
        };
        source.check_raw_size(source.known_size())?;
        Ok(source)
    }
}

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
        Err(wrong(format!(
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

impl TryFrom<&SourceArgs> for InputSpec {
    type Error = ConfigError;

    fn try_from(args: &SourceArgs) -> Result<Self, ConfigError> {
        let at_end = if args.repeat {
            AtEnd::Repeat
        } else {
            AtEnd::Stop
        };
        let live = |place| {
            Self::Live(LiveSpec {
                place,
                fps: args.fps,
                stall_timeout: args.stall_timeout.map_or(STALL_TIMEOUT, |span| span.0),
                reconnect_for: args.reconnect_for.map(|span| span.0),
                size: args.resize,
            })
        };
        let inputs = [
            args.camera.map(|n| live(LivePlace::Camera(n))),
            args.url.clone().map(|url| live(LivePlace::Url(url))),
            args.file.clone().map(|path| Self::File {
                path,
                fps: args.fps,
                at_end,
            }),
            args.images.clone().map(|folder| Self::Images {
                folder,
                fps: args.fps.unwrap_or(IMAGES_FPS),
                at_end,
            }),
            args.pattern.map(Self::Pattern),
        ];
        let mut given = inputs.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(input), None) => input.check_url(),
            _ => Err(wrong(
                "say where pictures come from, with exactly one of --camera N, --file PATH, --url URL, --images DIR \
                 and --pattern WxH@FPS",
            )),
        }
    }
}

const IMAGES_FPS: Fps = Fps::TEN;

impl InputSpec {
    fn check_url(self) -> Result<Self, ConfigError> {
        const SCHEMES: [&str; 4] = ["rtsp://", "rtsps://", "http://", "https://"];
        match &self {
            Self::Live(LiveSpec {
                place: LivePlace::Url(url),
                ..
            }) if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) => Err(wrong(format!(
                "--url {url}: a live stream begins with {}; a video file is --file",
                SCHEMES.join(", ")
            ))),
            _ => Ok(self),
        }
    }
}

/// Options that mean nothing, or something doubtful, for this input.
fn check_combinations(args: &SourceArgs, input: &InputSpec) -> Result<(), ConfigError> {
    let (live, stored, pattern) = match input {
        InputSpec::Live(_) => (true, false, false),
        InputSpec::File { .. } | InputSpec::Images { .. } => (false, true, false),
        InputSpec::Pattern(_) => (false, false, true),
    };
    let drops = args.overload.is_some_and(|policy| policy != Overload::Wait);
    let codec = args.codec.unwrap_or(PictureCodec::Jpeg);
    let refusals = [
        (args.repeat && !stored, "--loop is for --file and --images"),
        (
            args.resume && !stored,
            "--resume is for --file and --images: a live source cannot be asked again for what it showed",
        ),
        (
            args.resume && args.repeat,
            "--resume and --loop do not go together: one frame of the file would have many sequence numbers",
        ),
        (
            drops && stored,
            "files and folders never drop frames: only --overload wait",
        ),
        (
            args.pace.is_some() && live,
            "--pace is not for cameras and streams: they have their own pace (--fps limits it)",
        ),
        (
            args.fps.is_some() && pattern,
            "--fps is not for --pattern: write the rate into it, WxH@FPS",
        ),
        (
            (args.stall_timeout.is_some() || args.reconnect_for.is_some()) && !live,
            "--stall-timeout and --reconnect-for are for --camera and --url",
        ),
        (
            args.quality.is_some() && codec != PictureCodec::Jpeg,
            "--quality is for --codec jpeg",
        ),
        (args.count == Some(0), "--count 0 would give no frame"),
    ];
    match refusals.into_iter().find(|(refused, _)| *refused) {
        Some((_, why)) => Err(wrong(why)),
        None => Ok(()),
    }
}

impl TryFrom<&SourceArgs> for Placement {
    type Error = ConfigError;

    fn try_from(args: &SourceArgs) -> Result<Self, ConfigError> {
        for (option, n) in [
            ("--partitions", args.partitions),
            ("--replication", args.replication),
        ] {
            if n.is_some_and(|n| n < 1) {
                return Err(wrong(format!("{option} is at least 1")));
            }
        }
        if args.spread && args.partitions == Some(1) {
            return Err(wrong("--spread needs --partitions of at least 2"));
        }
        let shapes_topic =
            args.partitions.is_some() || args.replication.is_some() || args.retention.is_some();
        if args.no_create && shapes_topic {
            return Err(wrong(
                "--no-create leaves the topic as it is: drop --partitions, --replication and --retention",
            ));
        }
        Ok(Self {
            order: if args.spread {
                Order::Spread
            } else {
                Order::Kept
            },
            partitions: args.partitions,
            replication: args.replication,
            retention: args.retention.map(|span| span.0),
            missing_topic: if args.no_create {
                MissingTopic::Fail
            } else {
                MissingTopic::Create
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn of(line: &str) -> Result<SourceConfig, String> {
        let words = std::iter::once("producer").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|cause| cause.to_string())?;
        let config = Config::try_from(cli).map_err(|cause| cause.to_string())?;
        Ok(config.sources.into_iter().next().expect("at least one"))
    }

    #[test]
    fn a_camera_and_a_topic_are_enough() {
        let source = of("--camera 0 --topic cam0").unwrap();
        assert_eq!(source.source_id, "cam0");
        assert_eq!(source.overload, Overload::DropOldest);
        assert_eq!(source.topic_spec().partitions, 1);
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_way_out() {
        for (line, hint) in [
            ("--camera 0", "--topic"),
            ("--topic t", "--pattern"),
            ("--topic t --camera 0 --file x", "exactly one"),
            ("--topic a/b --camera 0", "--topic"),
            ("--topic t --camera 0 --resume", "--file"),
            ("--topic t --file x --resume --loop", "--loop"),
            ("--topic t --file x --overload latest", "wait"),
            ("--topic t --camera 0 --pace max", "--fps"),
            ("--topic t --pattern 640x480@30 --fps 5", "WxH@FPS"),
            ("--topic t --file x --stall-timeout 1s", "--camera"),
            ("--topic t --file x --codec png --quality 3", "jpeg"),
            ("--topic t --url clip.avi", "--file"),
            ("--topic t --file x --spread --partitions 1", "at least 2"),
            (
                "--topic t --file x --no-create --retention 1h",
                "--no-create",
            ),
            ("--topic t --pattern 4096x2160@30 --codec raw", "--resize"),
            ("--topic t --pattern 640x480@30 --bogus", "--bogus"),
        ] {
            let error = of(line).expect_err(line);
            assert!(error.contains(hint), "{line}: {error}");
        }
    }

    #[test]
    fn a_file_lists_sources_with_the_same_options() {
        let sources = parse_sources(
            "sources:\n  - topic: a\n    camera: 0\n    fps: 5\n    overload: every-nth=2\n    label: [site=north]\n  \
             - topic: b\n    pattern: 640x480@30\n    retention: 24h\n    count: 10\n",
        )
        .unwrap();
        assert_eq!(
            sources[0],
            of("--topic a --camera 0 --fps 5 --overload every-nth=2 --label site=north").unwrap()
        );
        assert_eq!(
            sources[1],
            of("--topic b --pattern 640x480@30 --retention 24h --count 10").unwrap()
        );
    }

    #[test]
    fn a_file_with_unknown_keys_or_doubled_sources_is_refused() {
        for (text, hint) in [
            ("sources:\n  - topic: a\n    camra: 0\n", "camra"),
            ("sources: []\n", "no source"),
            ("sauces: []\n", "sauces"),
            (
                "sources:\n  - topic: a\n    fps: fast\n    camera: 0\n",
                "frames a second",
            ),
            (
                "sources:\n  - {topic: a, camera: 0}\n  - {topic: a, camera: 1}\n",
                "source-id",
            ),
        ] {
            let error = parse_sources(text).expect_err(text);
            assert!(error.contains(hint), "{error}");
        }
    }
}
