//! What was written, checked: combinations that cannot work are refused before anything starts.

use super::{
    AtEnd, Config, Delivery, Encoding, InputSpec, LivePlace, LiveSpec, ManagedConfig, MissingTopic,
    Order, Placement, SourceConfig, Work,
};
use crate::args::{Cli, ManagedArgs, SourceArgs, SourceList};
use crate::epoch::host_name;
use crate::options::{Fps, Overload, Pace, PictureCodec};
use pipeline::envelope::is_source_id;
use pipeline::kafka::KafkaConfig;
use pipeline::service::ConfigError;
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

fn wrong(text: impl Into<String>) -> ConfigError {
    ConfigError(text.into())
}

const STALL_TIMEOUT: Duration = Duration::from_secs(10);

impl TryFrom<Cli> for Config {
    type Error = anyhow::Error;

    fn try_from(cli: Cli) -> anyhow::Result<Self> {
        let kafka = KafkaConfig::try_from(cli.kafka)?;
        if cli.managed.managed {
            if cli.config.is_some() || cli.source != SourceArgs::default() {
                return Err(wrong(
                    "--managed runs the sources that the registry declares: declare this one there too (framelane apply), \
                     or run it in a producer of its own",
                )
                .into());
            }
            let work = Work::Managed(managed(cli.managed)?);
            return Ok(Self { kafka, work });
        }
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
        let work = Work::Sources(sources);
        Ok(Self { kafka, work })
    }
}

fn managed(args: ManagedArgs) -> Result<ManagedConfig, ConfigError> {
    let host = args.host.unwrap_or_else(host_name);
    if !is_source_id(&host) {
        return Err(wrong(format!(
            "--host {host:?} is not 1 to 249 characters of A-Z, a-z, 0-9, '.', '_' and '-'"
        )));
    }
    let registry = args.registry.registry.to_string();
    Ok(ManagedConfig { host, registry })
}

fn sources_of(file: &Path) -> Result<Vec<SourceConfig>, ConfigError> {
    let text = std::fs::read_to_string(file)
        .map_err(|cause| wrong(format!("cannot read {}: {cause}", file.display())))?;
    parse_sources(&text).map_err(|cause| wrong(format!("{}: {cause}", file.display())))
}

/// The sources that a YAML file's text lists: at least one, no two with the same topic and id. The error says what to
/// change.
pub fn parse_sources(text: &str) -> Result<Vec<SourceConfig>, String> {
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
                place: place @ LivePlace::Url(url),
                ..
            }) if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) => Err(wrong(format!(
                "--url {place}: a live stream begins with {}; a video file is --file",
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
        match config.work {
            Work::Sources(sources) => Ok(sources.into_iter().next().expect("at least one")),
            Work::Managed(_) => Err("no sources of its own".to_owned()),
        }
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
            (
                "--managed --topic t --pattern 640x480@30",
                "framelane apply",
            ),
            ("--managed --config sources.yaml", "framelane apply"),
            ("--managed --host a/b", "--host"),
            ("--host lab1 --topic t --camera 0", "--managed"),
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
