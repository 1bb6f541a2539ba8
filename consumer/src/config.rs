//! Validated settings.

use crate::args::Args;
use crate::monitor::condition::Condition;
use crate::monitor::{ActionSpec, MonitorSettings, Rule};
use crate::range::{Begin, Rate, Until};
use crate::reorder::ReorderBounds;
use crate::sinks::{Existing, ReportSpec, SinkOptions, SinkSpec, Stills};
use crate::track::{ContentMode, topics::is_topic_part};
use pipeline::kafka::{GroupMember, KafkaConfig, Membership, Position};
use pipeline::service::ConfigError;
use regex_lite::Regex;
use registry::model::Name;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// After this much silence the group takes a member for dead. Kafka's default is 45 s; a person watches this one.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// For what the sinks have begun, when partitions move.
const FINISHING: Duration = Duration::from_secs(30);

/// What a consumer is to do.
#[derive(Debug, Clone)]
pub enum Work {
    /// To read these topics.
    Topics(Box<Config>),
    /// To read what a registry assigns to it, while it does.
    Managed(Box<ManagedConfig>),
}

/// Whose sources are read.
#[derive(Debug, Clone)]
pub struct ManagedConfig {
    /// Where Kafka is.
    pub kafka: KafkaConfig,
    /// The consumer's name.
    pub name: Name,
    /// The registry's topic.
    pub registry: String,
    /// What may be done with the commands that it declares.
    pub commands: DeclaredCommands,
}

/// What becomes of `exec:` actions that somebody else declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeclaredCommands {
    /// A declaration that has some is not taken up.
    Refused,
    /// They run, as this process's user.
    Allowed,
}

impl TryFrom<Args> for Work {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> Result<Self, anyhow::Error> {
        let Some(name) = args.managed.name.clone().filter(|_| args.managed.managed) else {
            return Ok(Self::Topics(Box::new(args.try_into()?)));
        };
        Ok(Self::Managed(Box::new(ManagedConfig {
            kafka: KafkaConfig::try_from(args.kafka)?,
            name,
            registry: args.managed.registry.registry.to_string(),
            commands: match args.managed.allow_exec {
                true => DeclaredCommands::Allowed,
                false => DeclaredCommands::Refused,
            },
        })))
    }
}

/// Everything that it takes to read and to show.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Kafka is.
    pub kafka: KafkaConfig,
    /// Names, and patterns that begin with `^`.
    pub topics: Vec<String>,
    /// None: read alone, commit nothing.
    pub group: Option<GroupMember>,
    /// Where to begin.
    pub begin: Begin,
    /// Where to end.
    pub until: Until,
    /// How fast.
    pub rate: Rate,
    /// None: records are shown in the order in which they are read.
    pub reorder: Option<ReorderBounds>,
    /// None: frames stay as they are.
    pub track: Option<TrackSettings>,
    /// None: every frame passes, and nothing is done with it.
    pub monitor: Option<MonitorSettings>,
    /// The page to make.
    pub report: Option<ReportSpec>,
    /// At least one.
    pub sinks: Vec<SinkSpec>,
    /// What the sinks have in common.
    pub sink_options: SinkOptions,
    /// Whether pictures are checked against their frame ids.
    pub verify: PictureCheck,
}

/// How objects are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackSettings {
    /// The topic that tracked frames are written to. None: only the sinks see them.
    pub output: Option<String>,
    /// What its records hold of the pictures.
    pub content: ContentMode,
}

/// Whether the code drawn into each picture is compared with its frame's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureCheck {
    /// Pictures are not looked at.
    Off,
    /// Every picture must name its frame.
    On,
}

impl TryFrom<Args> for Config {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> Result<Self, anyhow::Error> {
        check_topics(&args.topics)?;
        check_outputs(&args)?;
        let track = track_settings(&args)?;
        let monitor = monitor_settings(&args)?;
        let until = args.until.unwrap_or(Until::Stopped);
        let begin = match (args.from, &args.group) {
            (Some(Begin::Committed), None) => {
                return Err(ConfigError(
                    "--from committed needs --group: only a group remembers progress".to_owned(),
                )
                .into());
            }
            (Some(begin), _) => begin,
            (None, Some(_)) => Begin::Committed,
            (None, None) if until == Until::Stopped => Begin::At(Position::Latest),
            (None, None) => Begin::At(Position::Earliest),
        };
        let group = args.group.map(|group| GroupMember {
            group,
            membership: args
                .instance
                .map_or(Membership::Dynamic, Membership::Static),
            session_timeout: SESSION_TIMEOUT,
            finishing: FINISHING,
        });
        Ok(Self {
            kafka: KafkaConfig::try_from(args.kafka)?,
            topics: args.topics,
            sink_options: SinkOptions {
                group: group.as_ref().map(|member| member.group.clone()),
                existing: if args.overwrite {
                    Existing::Replace
                } else {
                    Existing::Refuse
                },
                stills: if args.overlay {
                    Stills::Overlay
                } else {
                    Stills::Original
                },
                fps: args.fps,
            },
            group,
            begin,
            until,
            rate: args.rate,
            reorder: args.reorder.then_some(ReorderBounds {
                records: args.reorder_window as usize,
                wait: args.reorder_time,
            }),
            track,
            monitor,
            report: args.report,
            sinks: args.sinks,
            verify: if args.verify_picture {
                PictureCheck::On
            } else {
                PictureCheck::Off
            },
        })
    }
}

fn track_settings(args: &Args) -> Result<Option<TrackSettings>, ConfigError> {
    if !args.track {
        return Ok(None);
    }
    if let Some(group) = args.group.as_ref().filter(|group| !is_topic_part(group)) {
        return Err(ConfigError(format!(
            "--group {group}: with --track the group's name becomes a part of the name of a topic, so it takes letters, \
             digits, and . _ - only"
        )));
    }
    if let Some(output) = &args.output {
        check_topic(output, "--output ")?;
        check_no_circle(&args.topics, output, "--output")?;
    }
    Ok(Some(TrackSettings {
        output: args.output.clone(),
        content: args.content,
    }))
}

fn monitor_settings(args: &Args) -> Result<Option<MonitorSettings>, ConfigError> {
    let Some(condition) = args.when.clone() else {
        return Ok(None);
    };
    Condition::compile(&condition).map_err(|cause| ConfigError(cause.to_string()))?;
    if args.reorder && args.group.is_some() {
        return Err(ConfigError(
            "--when does not go with --reorder and --group: what is known of a source belongs to one partition. Restore \
             the order without --group, or write the source into one partition"
                .to_owned(),
        ));
    }
    let mut topics = Vec::new();
    for (at, action) in args.actions.iter().enumerate() {
        if args.actions[..at].contains(action) {
            return Err(ConfigError(format!("--do {action} is given twice")));
        }
        if let ActionSpec::Topic(name) = action {
            check_no_circle(&args.topics, name, &format!("--do {action}"))?;
            topics.push(name);
        }
    }
    for name in &topics {
        check_topic(name, "--do topic:")?;
    }
    match topics[..] {
        [] => {}
        [name] if args.group.is_none() => {
            return Err(ConfigError(format!(
                "--do topic:{name} needs --group: its records are written in one transaction with the group's progress"
            )));
        }
        [_] => {}
        [first, second, ..] => {
            return Err(ConfigError(format!(
                "--do topic:{second}: there is topic:{first} already; one topic takes the alerts"
            )));
        }
    }
    Ok(Some(MonitorSettings {
        condition,
        rule: Rule {
            hold: args.hold,
            cooldown: args.cooldown,
        },
        actions: args.actions.clone(),
    }))
}

fn check_topic(name: &str, option: &str) -> Result<(), ConfigError> {
    match is_topic_part(name) {
        true => Ok(()),
        false => Err(ConfigError(format!(
            "{option}{name}: the name of a topic has letters, digits, and . _ - only"
        ))),
    }
}

fn check_no_circle(topics: &[String], output: &str, option: &str) -> Result<(), ConfigError> {
    let reads_it = |topic: &&String| match topic.starts_with('^') {
        false => topic.as_str() == output,
        true => Regex::new(topic).is_ok_and(|pattern| pattern.is_match(output)),
    };
    match topics.iter().find(reads_it) {
        Some(topic) => Err(ConfigError(format!(
            "--topic {topic} reads what {option} writes: frames would go round for ever. Give {option} another name"
        ))),
        None => Ok(()),
    }
}

fn check_topics(topics: &[String]) -> Result<(), ConfigError> {
    for topic in topics {
        if topic.is_empty() {
            return Err(ConfigError("--topic needs a name".to_owned()));
        }
        if topic.starts_with('^')
            && let Err(cause) = Regex::new(topic)
        {
            return Err(ConfigError(format!("--topic {topic}: {cause}")));
        }
    }
    Ok(())
}

/// Two that write one file would tear each other's output, or replace it.
fn check_outputs(args: &Args) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    if let Some(twice) = (args.sinks.iter()).find(|sink| !seen.insert(sink.to_string())) {
        return Err(ConfigError(format!("--sink {twice} is given twice")));
    }
    let sinks = args.sinks.iter().filter_map(|sink| {
        let path = sink.path()?;
        Some((path, format!("--sink {sink}")))
    });
    let actions = args.actions.iter().filter_map(|action| match action {
        ActionSpec::Jsonl(path) => Some((path.as_path(), format!("--do {action}"))),
        _ => None,
    });
    let report = (args.report.iter()).map(|page| (page.0.as_path(), format!("--report {page}")));
    let mut places = HashMap::new();
    for (path, option) in sinks.chain(actions).chain(report) {
        if let Some(other) = places.insert(path, option.clone()) {
            return Err(ConfigError(format!(
                "{other} and {option} write to one place: give each its own"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn config(line: &str) -> Result<Config, anyhow::Error> {
        let words = std::iter::once("consumer").chain(line.split_whitespace());
        Args::try_parse_from(words)?.try_into()
    }

    fn begin(line: &str) -> Begin {
        config(line).unwrap().begin
    }

    #[test]
    fn without_a_group_live_views_begin_now_and_bounded_ones_at_the_beginning() {
        assert_eq!(begin("--topic a"), Begin::At(Position::Latest));
        assert_eq!(
            begin("--topic a --until end"),
            Begin::At(Position::Earliest)
        );
    }

    #[test]
    fn a_group_goes_on_where_it_stopped() {
        assert_eq!(begin("--topic a --group g"), Begin::Committed);
        assert_eq!(begin("--topic a --group g --until end"), Begin::Committed);
        assert_eq!(Begin::Committed.unknown_partition(), Position::Earliest);
    }

    #[test]
    fn a_monitor_needs_no_action_and_may_have_many() {
        let all = "--topic a --group g --when true --for 2s --do exec:true --do jsonl:x --do topic:b --report html:r";
        let config = config(all).unwrap();
        let monitor = config.monitor.unwrap();
        assert_eq!(monitor.rule.hold, Duration::from_secs(2));
        assert_eq!(monitor.rule.cooldown, Duration::ZERO);
        assert_eq!(monitor.actions.len(), 3);
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        for line in [
            "",
            "--topic a --from committed",
            "--topic a --instance i",
            "--topic ^[",
            "--topic a --sink jsonl:x --sink jsonl:x",
            "--topic a --sink jsonl:x --sink stats:x",
            "--topic a --sink stats:x --report html:x",
            "--topic a --when true --sink jsonl:x --do jsonl:x",
            "--topic a --sink paper",
            "--topic a --reorder-window 3",
            "--topic a --fps 0",
            "--topic a --output b",
            "--topic a --group g --track --output a/b",
            "--topic a --track --output b",
            "--topic a --group g --track --output a",
            "--topic ^a --group g --track --output ab",
            "--topic a --group g/h --track",
            "--topic a --group g --track --reorder",
            "--topic a --for 2s",
            "--topic a --do exec:true",
            "--topic a --when nothing",
            "--topic a --when true --cooldown soon",
            "--topic a --when true --do paper:x",
            "--topic a --when true --do exec:x --do exec:x",
            "--topic a --when true --do topic:b",
            "--topic a --group g --when true --do topic:a",
            "--topic a --group g --when true --do topic:b --do topic:c",
            "--topic a --group g --when true --reorder",
            "--topic a --report paper:x",
            "--topic a --bootstrap-servers nowhere",
        ] {
            assert!(config(line).is_err(), "{line:?} was accepted");
        }
    }
}
