//! The command line, and the validated settings that come of it.

use crate::calls::{self, Target, TlsArgs};
use crate::join;
use crate::managed::{ManagedArgs, ManagedConfig};
use anyhow::Context;
use clap::{Parser, ValueEnum};
use pipeline::kafka::{KafkaArgs, KafkaConfig, Position};
use pipeline::service::{ConfigError, TelemetryArgs};
use std::time::Duration;

/// Sends every frame of the input topics to a processor and writes frame + result to the output topic, in order,
/// exactly once
#[derive(Debug, Clone, Parser)]
#[command(
    name = "broker",
    version,
    after_help = "Examples:\n  broker --input cam0 --output cam0.faces --processor http://127.0.0.1:50051\n  broker --join \
                  cam0.people --join cam0.faces --output cam0.all\n  broker --managed\n\nN brokers with the same --group \
                  share the partitions of the input. Exit codes: 0 stopped, 1 failure, 2 wrong settings."
)]
pub struct Args {
    /// Topic to read; repeatable. A name that begins with ^ is a regular expression
    #[arg(long, required_unless_present_any = ["join", "managed"], value_name = "TOPIC")]
    pub input: Vec<String>,
    /// Instead of --input and --processor: topics that were made of one source by different stages, at least two. Each
    /// frame comes out once, with the results of all of them in this order; repeatable. The picture is that of the first
    #[arg(long, value_name = "TOPIC", conflicts_with_all = ["input", "processor", "managed"])]
    pub join: Vec<String>,
    /// Topic to write to; made with as many partitions as the input has, unless it exists
    #[arg(
        long,
        required_unless_present = "managed",
        default_value = "",
        hide_default_value = true,
        value_name = "TOPIC"
    )]
    pub output: String,
    /// Address of the processor, http://HOST:PORT or https://HOST:PORT; repeatable. A host name stands for all its
    /// addresses, looked up again and again
    #[arg(long, required_unless_present_any = ["join", "managed"], value_name = "URL")]
    pub processor: Vec<String>,
    #[command(flatten)]
    pub processor_tls: TlsArgs,
    /// Consumer group whose members share the work [default: framelane.OUTPUT]
    #[arg(long)]
    pub group: Option<String>,
    /// Where to begin if the group has no progress yet: earliest, latest, offset:N or time:RFC3339. latest is looked up again
    /// until the first frame of a partition is committed
    #[arg(long, default_value = "earliest", value_name = "POSITION")]
    pub from: Position,
    /// Fail if the output topic does not exist instead of making it
    #[arg(long)]
    pub no_create: bool,

    /// exactly-once: output and offset in one transaction. at-least-once: lower latency, duplicates after a crash
    #[arg(long, value_enum, default_value_t = Guarantee::ExactlyOnce, help_heading = "Delivery")]
    pub delivery: Guarantee,
    /// inline: the output carries the picture. reference: it names the input record that does (much cheaper for chains)
    #[arg(long, value_enum, default_value_t = ContentMode::Inline, help_heading = "Delivery")]
    pub content: ContentMode,
    /// How long a finished frame may wait for others before its transaction is committed. More come by themselves under
    /// load, because one commit waits for the one before [default: 5ms; 0s for at-least-once]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Delivery")]
    pub commit_linger: Option<Duration>,

    /// Calls in flight to each processor address [default: what the processor says it takes, else 32]
    #[arg(long, value_name = "CALLS", help_heading = "Flow")]
    pub in_flight: Option<usize>,
    /// Frames of a partition that may wait for their turn behind a slow one. Size it to the slowest calls: a larger
    /// window lets more calls overtake
    #[arg(
        long,
        default_value_t = 256,
        value_name = "FRAMES",
        help_heading = "Flow"
    )]
    pub window: usize,
    /// The same in MiB; frames whose results are not committed yet count too
    #[arg(long, default_value_t = 64, value_name = "MIB", help_heading = "Flow")]
    pub window_mib: usize,
    /// Frames of all partitions together, in MiB
    #[arg(long, default_value_t = 512, value_name = "MIB", help_heading = "Flow")]
    pub memory_mib: usize,

    /// Time for one call
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Failures")]
    pub deadline: Duration,
    /// Calls for a frame before --on-failure applies
    #[arg(
        long,
        default_value_t = 3,
        value_name = "CALLS",
        help_heading = "Failures"
    )]
    pub attempts: u32,
    /// Wait before the second call for a frame; doubles with each further one, with jitter
    #[arg(long, default_value = "100ms", value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Failures")]
    pub backoff: Duration,
    /// What becomes of a frame when all its calls have failed. error-result: it goes on in its place with an ERROR
    /// result. dead-letter: as well as that, a copy goes to the dead-letter topic. drop: a Gap record takes its place.
    /// halt: the broker stops before it
    #[arg(long, value_enum, default_value_t = OnFailure::ErrorResult, help_heading = "Failures")]
    pub on_failure: OnFailure,
    /// Topic for --on-failure dead-letter [default: OUTPUT.dead]
    #[arg(long, value_name = "TOPIC", help_heading = "Failures")]
    pub dead_letter: Option<String>,
    /// Report a partition that has made no progress for this long
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Failures")]
    pub watchdog: Duration,

    /// This instance's name in the group and for transactions [default: host name and a slot that a restart gets back]
    #[arg(long, value_name = "NAME", help_heading = "Group")]
    pub instance: Option<String>,
    /// static: a broker that restarts in time gets its partitions back at once. dynamic: the others take over at once
    /// when one stops in order
    #[arg(long, value_enum, default_value_t = Membership::Static, help_heading = "Group")]
    pub membership: Membership,
    /// After this much silence the group gives a broker's partitions to the others
    #[arg(long, default_value = "6s", value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Group")]
    pub session_timeout: Duration,
    /// Time for calls in flight when partitions move or the broker stops. A broker that stops sends no heartbeats: what takes
    /// longer than --session-timeout is done again by another
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Group")]
    pub drain: Duration,

    #[command(flatten)]
    pub managed: ManagedArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Guarantee {
    ExactlyOnce,
    AtLeastOnce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ContentMode {
    Inline,
    Reference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnFailure {
    ErrorResult,
    DeadLetter,
    Drop,
    Halt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Membership {
    Static,
    Dynamic,
}

/// Settings that fit together.
#[derive(Debug, Clone)]
pub enum Config {
    /// One stage, as the command line says.
    Stage(Box<StageConfig>),
    /// The stages that the registry says.
    Managed(Box<ManagedConfig>),
}

/// One stage.
#[derive(Debug, Clone)]
pub struct StageConfig {
    pub(crate) kafka: KafkaConfig,
    pub(crate) work: StageWork,
    pub(crate) group: String,
    pub(crate) dead_letter: Option<String>,
    pub(crate) commit_linger: Duration,
    /// As given, for what needs no check.
    pub(crate) args: Args,
}

/// What a stage does with what it reads.
#[derive(Debug, Clone)]
pub enum StageWork {
    /// Each frame goes to one of these.
    Process(Vec<Target>),
    /// Each frame is put together of what these topics have of it.
    Join(Vec<String>),
}

impl TryFrom<Args> for Config {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> anyhow::Result<Self> {
        Ok(match args.managed.managed {
            true => Self::Managed(Box::new(args.try_into()?)),
            false => Self::Stage(Box::new(args.try_into()?)),
        })
    }
}

impl TryFrom<Args> for StageConfig {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> anyhow::Result<Self> {
        let dead_letter = (args.on_failure == OnFailure::DeadLetter).then(|| {
            args.dead_letter
                .clone()
                .unwrap_or_else(|| format!("{}.dead", args.output))
        });
        if args.dead_letter.is_some() && dead_letter.is_none() {
            return wrong("--dead-letter is used with --on-failure dead-letter only".to_owned());
        }
        for topic in std::iter::once(&args.output).chain(&dead_letter) {
            if !pipeline::envelope::is_source_id(topic) {
                return wrong(format!(
                    "{topic:?} cannot be a topic: use 1 to 249 of [A-Za-z0-9._-]"
                ));
            }
            if let Some(input) = reading(&args.input, topic)? {
                return wrong(format!(
                    "--input {input} reads {topic}, which this broker writes: every frame would go round for ever"
                ));
            }
        }
        check_positive(&args)?;
        let work = match &args.join[..] {
            [] => StageWork::Process(calls::targets(&args.processor, &args.processor_tls)?),
            topics => StageWork::Join(join::check_topics(topics, &args)?),
        };
        let linger = match args.delivery {
            Guarantee::ExactlyOnce => Duration::from_millis(5),
            Guarantee::AtLeastOnce => Duration::ZERO,
        };
        Ok(Self {
            kafka: args.kafka.clone().try_into()?,
            work,
            group: args
                .group
                .clone()
                .unwrap_or_else(|| format!("framelane.{}", args.output)),
            dead_letter,
            commit_linger: args.commit_linger.unwrap_or(linger),
            args,
        })
    }
}

impl StageConfig {
    /// The topics that the group shares. Of a join it is the first: who has a partition of that, reads the same one of
    /// the others.
    pub(crate) fn subscription(&self) -> &[String] {
        match &self.work {
            StageWork::Process(_) => &self.args.input,
            StageWork::Join(topics) => &topics[..1],
        }
    }
}

fn wrong<T>(text: String) -> anyhow::Result<T> {
    Err(ConfigError(text).into())
}

fn check_positive(args: &Args) -> anyhow::Result<()> {
    let positive = [
        ("--window", args.window),
        ("--window-mib", args.window_mib),
        ("--memory-mib", args.memory_mib),
        ("--attempts", args.attempts as usize),
        ("--in-flight", args.in_flight.unwrap_or(1)),
        ("--deadline (in ms)", args.deadline.as_millis() as usize),
    ];
    match positive.iter().find(|(_, value)| *value == 0) {
        Some((name, _)) => wrong(format!("{name} must be at least 1")),
        None => Ok(()),
    }
}

/// The input that would read this topic.
fn reading<'a>(inputs: &'a [String], topic: &str) -> anyhow::Result<Option<&'a str>> {
    for input in inputs {
        let reads = if input.starts_with('^') {
            regex_lite::Regex::new(input)
                .with_context(|| ConfigError(format!("--input {input} is no regular expression")))?
                .is_match(topic)
        } else {
            input == topic
        };
        if reads {
            return Ok(Some(input));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &[&str]) -> anyhow::Result<StageConfig> {
        let words = ["broker", "--output", "out"];
        let processor = match more.contains(&"--join") {
            true => &[][..],
            false => &["--processor", "http://127.0.0.1:50051"],
        };
        let args = Args::try_parse_from(words.iter().chain(processor).chain(more))?;
        StageConfig::try_from(args)
    }

    #[test]
    fn defaults_follow_from_the_output() {
        let config = config(&["--input", "in"]).unwrap();
        assert_eq!(config.group, "framelane.out");
        assert_eq!(config.dead_letter, None);
    }

    #[test]
    fn settings_that_do_not_fit_together_are_refused_by_name() {
        for (more, named) in [
            (&["--input", "out"][..], "go round"),
            (&["--input", "^o.*"], "go round"),
            (&["--input", "in", "--window", "0"], "--window"),
            (&["--input", "in", "--dead-letter", "d"], "--on-failure"),
            (&["--join", "a"], "at least two"),
            (&["--join", "a", "--join", "a"], "twice"),
            (&["--join", "a", "--join", "out"], "go round"),
            (&["--join", "a", "--join", "^b"], "patterns"),
            (
                &["--join", "a", "--join", "b", "--delivery", "at-least-once"],
                "at-least-once",
            ),
            (
                &["--input", "in", "--processor", "localhost"],
                "http://HOST:PORT",
            ),
            (&["--input", "in", "--processor-ca", "ca.pem"], "https://"),
            (
                &[
                    "--input",
                    "in",
                    "--processor",
                    "https://localhost:1",
                    "--processor-cert",
                    "c.pem",
                ],
                "--processor-key",
            ),
            (
                &[
                    "--input",
                    "in",
                    "--processor",
                    "https://localhost:1",
                    "--processor-ca",
                    "/nowhere/ca.pem",
                ],
                "/nowhere/ca.pem",
            ),
        ] {
            let error = config(more).expect_err("accepted").to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
