//! The command line, and how it becomes a [`Config`].

use crate::config::{Config, Encoding, Target, Where};
use crate::targets;
use clap::{Args, Parser, ValueEnum};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// What a service takes that was started beside it; that of `processor`.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";
/// Instances are independent clients with threads and connections of their own: more than this is a slip of the finger.
const MAX_INSTANCES: u32 = 1000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Plays a video N times at once through the resize service, each frame a call of its own.
///
/// Instance i starts (i-1)*M seconds after the first and writes every resized frame, as soon as it is there, to
/// OUT/vid-instance{i}/Frame00001.jpg and so on. Frames of an earlier run in these folders are removed first.
///
/// Exit codes: 0 every frame of every instance is on disk, 1 not so (or stopped before), 2 wrong settings.
#[derive(Debug, Parser)]
#[command(name = "resize-clients", version, arg_required_else_help = true)]
pub struct Cli {
    /// How many instances
    #[arg(value_name = "N", allow_negative_numbers = true, value_parser = instances)]
    instances: u32,
    /// Seconds between the start of one instance and the next; 0 starts all at once
    #[arg(value_name = "M", allow_negative_numbers = true, value_parser = seconds)]
    stagger: Duration,
    /// A video file
    #[arg(value_name = "VIDEO")]
    video: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    /// Where the service is: one or more URLs; a name with several addresses counts as so many services
    /// [default: http://127.0.0.1:50051]
    #[arg(long = "endpoint", value_name = "URL", num_args = 1.., value_delimiter = ',', conflicts_with = "local")]
    endpoints: Vec<String>,
    /// Start a service for this run: `processor`, from beside this program or from the PATH
    #[arg(long)]
    local: bool,
    /// The folder of the instances' folders
    #[arg(long, default_value = "/tmp", value_name = "FOLDER")]
    out: PathBuf,
    /// Write the final table to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Calls at once of each instance
    #[arg(long, default_value = "8", value_name = "K", value_parser = in_flight)]
    in_flight: NonZeroUsize,
    /// How frames travel to the service
    #[arg(long, value_enum, default_value_t = Send::Auto)]
    send: Send,
    /// How long an instance waits for a service that does not answer, until it gives up
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = patience)]
    patience: Duration,
    #[command(flatten)]
    tls: targets::TlsArgs,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct TargetArgs {
    /// The new size in pixels [default: what the service was started with]
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<Target>,
    /// The new size as a part of the old one
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = scale)]
    scale: Option<Target>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Send {
    /// Raw to services on this machine, JPEG to others
    Auto,
    /// Compressed: little to carry, work for both sides
    Jpeg,
    /// The pixels: no work, and no loss, but 20 times as much to carry
    Raw,
}

fn instances(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=MAX_INSTANCES).contains(count))
        .ok_or_else(|| format!("{text:?} is not a number of instances from 1 to {MAX_INSTANCES}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| *time <= DAY)
        .ok_or_else(|| format!("{text:?} is not a number of seconds from 0 to a day (86400)"))
}

fn size(text: &str) -> Result<Target, String> {
    let side = |text: &str| text.parse().ok().filter(|side| (1..=65_500).contains(side));
    text.split_once('x')
        .and_then(|(width, height)| {
            Some(Target::Size {
                width: side(width)?,
                height: side(height)?,
            })
        })
        .ok_or_else(|| format!("{text:?} is not WIDTHxHEIGHT with sides of 1 to 65500 pixels"))
}

fn scale(text: &str) -> Result<Target, String> {
    text.parse()
        .ok()
        .filter(|scale| *scale > 0.0 && *scale <= 16.0)
        .map(Target::Scale)
        .ok_or_else(|| format!("{text:?} is not a number above 0, up to 16"))
}

fn in_flight(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .ok()
        .filter(|calls: &NonZeroUsize| calls.get() <= 1024)
        .ok_or_else(|| format!("{text:?} is not a number of calls from 1 to 1024"))
}

fn patience(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match time {
        Duration::ZERO => Err("no time at all: write for example 30s".to_owned()),
        time if time > DAY => Err("more than a day: write for example 10m".to_owned()),
        time => Ok(time),
    }
}

impl TryFrom<Cli> for Config {
    type Error = anyhow::Error;

    fn try_from(cli: Cli) -> anyhow::Result<Self> {
        let service = if cli.local {
            Where::Local
        } else {
            let given = match cli.endpoints.is_empty() {
                true => vec![DEFAULT_ENDPOINT.to_owned()],
                false => cli.endpoints,
            };
            Where::At(targets::targets(&given, &cli.tls)?)
        };
        Ok(Self {
            instances: cli.instances,
            stagger: cli.stagger,
            video: cli.video,
            target: cli.target.size.or(cli.target.scale),
            service,
            out: cli.out,
            json: cli.json,
            in_flight: cli.in_flight,
            encoding: match cli.send {
                Send::Auto => None,
                Send::Jpeg => Some(Encoding::Jpeg),
                Send::Raw => Some(Encoding::Raw),
            },
            patience: cli.patience,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(line: &str) -> Result<Config, String> {
        let words = std::iter::once("resize-clients").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        Config::try_from(cli).map_err(|error| error.to_string())
    }

    #[test]
    fn a_line_says_all() {
        let config = config("4 2.5 clip.mp4 --scale 0.5 --endpoint http://a:1 http://b:2").unwrap();
        assert_eq!(config.instances, 4);
        assert_eq!(config.stagger, Duration::from_millis(2500));
        assert_eq!(config.target, Some(Target::Scale(0.5)));
        let Where::At(targets) = config.service else {
            panic!("endpoints were given")
        };
        assert_eq!(targets.len(), 2);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (line, word) in [
            ("0 2 a.mp4", "<N>"),
            ("-1 2 a.mp4", "<N>"),
            ("1001 2 a.mp4", "<N>"),
            ("four 2 a.mp4", "<N>"),
            ("4 -2 a.mp4", "<M>"),
            ("4 nan a.mp4", "<M>"),
            ("4 soon a.mp4", "<M>"),
            ("4 2", "<VIDEO>"),
            ("4 2 a.mp4 --size 10x0", "10x0"),
            ("4 2 a.mp4 --scale 0", "--scale"),
            ("4 2 a.mp4 --scale 0.5 --size 8x8", "--size"),
            ("4 2 a.mp4 --in-flight 0", "--in-flight"),
            ("4 2 a.mp4 --patience 0s", "--patience"),
            ("4 2 a.mp4 --local --endpoint http://a:1", "--local"),
            ("4 2 a.mp4 --endpoint nonsense", "nonsense"),
            ("4 2 a.mp4 --endpoint http://a", "http://HOST:PORT"),
            ("4 2 a.mp4 --ca ca.pem", "--ca"),
        ] {
            let error = config(line).unwrap_err();
            assert!(error.contains(word), "{line}: no {word} in {error}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
