//! The command line.

use clap::{CommandFactory, Error, FromArgMatches, Parser, Subcommand, ValueEnum};
use pipeline::kafka::KafkaArgs;
use registry::{Kind, Name, RegistryArgs};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const AFTER_HELP: &str = "\
Examples:
  framelane apply -f lanes.yaml              declare sources, processors, pipelines, consumers, assignments
  framelane get sources                      what is declared, and how it is
  framelane describe source cam0             what is declared of it, who wrote it, who runs it
  framelane assign monitor1 cam0 cam1        what a consumer reads, in order of preference
  framelane top                              live: sources, lanes, processors
  framelane doctor                           what is wrong, and how to mend it

Exit codes: 0 done, 1 failed (Kafka away, a stale version, something wrong found by doctor), 2 wrong settings or documents.";

/// Declares sources, pipelines and consumers, and shows what runs and what is wrong.
#[derive(Debug, Parser)]
#[command(name = "framelane", version, after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    pub access: Access,
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// The command line of this process; ends it if that is wrong.
    pub fn read() -> Self {
        let read = Self::read_from(std::env::args_os());
        read.unwrap_or_else(|fault| fault.exit())
    }

    /// Where everything is can stand before the command and behind it.
    fn read_from(
        line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, Error> {
        let command = Self::command().mut_args(|arg| arg.global(true));
        Self::from_arg_matches(&command.try_get_matches_from(line)?)
    }
}

/// Where everything is.
#[derive(Debug, Clone, clap::Args)]
pub struct Access {
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the objects of YAML files: all of them, or none
    Apply(ApplyArgs),
    /// Show objects, or what runs
    Get(GetArgs),
    /// Show all that is known of one object or instance
    Describe(DescribeArgs),
    /// Delete objects
    Delete(DeleteArgs),
    /// Say which sources a consumer reads
    Assign(AssignArgs),
    /// Show live what runs: sources, lanes, processors
    Top(TopArgs),
    /// Look for what is wrong with Kafka, groups, clocks and instances, and say how to mend it
    Doctor(DoctorArgs),
    /// Print the JSON schema of the YAML documents
    Schema,
}

#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    /// A file of YAML or JSON documents, or - for standard input; repeatable
    #[arg(short = 'f', long = "file", required = true, value_name = "FILE|-")]
    pub files: Vec<PathBuf>,
    /// Only show what would become of each object, field by field
    #[arg(long)]
    pub dry_run: bool,
    #[arg(short, long, value_enum, default_value_t = Report::Text)]
    pub output: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Report {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A line each
    Table,
    /// As `apply` takes it
    Yaml,
    /// As `apply` takes it, with versions
    Json,
}

#[derive(Debug, clap::Args)]
pub struct GetArgs {
    /// source, processor, pipeline, consumer, assignment, or instance; all kinds without it. KIND/NAME works too
    #[arg(value_name = "KIND")]
    pub what: Option<String>,
    /// Only this one
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
    /// Only those with this label; repeatable
    #[arg(short, long, value_name = "NAME=TEXT", value_parser = label)]
    pub label: Vec<(String, String)>,
    /// Show passwords in addresses
    #[arg(long)]
    pub show_secrets: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, text) = text
        .split_once('=')
        .ok_or_else(|| "expected NAME=TEXT".to_owned())?;
    Ok((name.to_owned(), text.to_owned()))
}

#[derive(Debug, clap::Args)]
pub struct DescribeArgs {
    /// source, processor, pipeline, consumer, assignment or instance; KIND/NAME works too
    #[arg(value_name = "KIND")]
    pub what: String,
    /// For instances: the id, or what it begins with
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    /// The kind; KIND/NAME works too
    #[arg(value_name = "KIND", required_unless_present = "files")]
    pub what: Option<String>,
    /// Which of that kind. With a consumer goes its assignment
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Delete everything that these files declare
    #[arg(short = 'f', long = "file", value_name = "FILE|-", conflicts_with_all = ["what", "names"])]
    pub files: Vec<PathBuf>,
    /// Only if this is the present version
    #[arg(long, value_name = "N", conflicts_with = "files")]
    pub version: Option<u64>,
    #[arg(short, long, value_enum, default_value_t = Report::Text)]
    pub output: Report,
}

#[derive(Debug, clap::Args)]
pub struct AssignArgs {
    pub consumer: Name,
    /// Names of sources or of stages' outputs, in order of preference
    #[arg(value_name = "SOURCE", required_unless_present = "none")]
    pub sources: Vec<Name>,
    /// It reads nothing any more
    #[arg(long, conflicts_with = "sources")]
    pub none: bool,
}

#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// Print once, as plain text
    #[arg(long)]
    pub once: bool,
    /// Time between two pictures
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub every: Duration,
}

#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    #[arg(short, long, value_enum, default_value_t = Report::Text)]
    pub output: Report,
    /// How long to watch what may be passing: rebalances, transactions, growing lag
    #[arg(long, default_value = "3s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub watch: Duration,
}

/// A kind of object, or the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Objects(Kind),
    Instances,
}

impl std::str::FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "instance" | "instances" => Ok(Self::Instances),
            other => other
                .parse()
                .map(Self::Objects)
                .map_err(|why| format!("{why}; or instances")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_everything_is_can_stand_before_the_command_and_behind_it() {
        for line in [
            ["framelane", "--registry", "lab", "get"],
            ["framelane", "get", "--registry", "lab"],
        ] {
            let args = Args::read_from(line).unwrap();
            assert_eq!(args.access.registry.registry.to_string(), "lab");
        }
    }
}
