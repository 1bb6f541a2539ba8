//! The command line. People use `cargo xtask bench`.

use crate::baselines::Baseline;
use crate::cases::{self, Amount, CASES, Case, Plan};
use crate::lab::{Lab, Machine};
use crate::report::Report;
use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Measures Framelane against what the field would do without it.
#[derive(Debug, Parser)]
#[command(name = "framelane-bench")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the cases
    Run(Run),
    /// Run one of the programs of comparison by itself
    #[command(subcommand)]
    Baseline(Baseline),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Only this case; repeatable
    #[arg(long = "case", value_name = "NAME", value_parser = PossibleValuesParser::new(CASES.iter().map(|case| case.name)))]
    cases: Vec<String>,
    /// Runs of each side, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    runs: u8,
    /// An eighth of the frames: shows that everything works, the figures mean little
    #[arg(long)]
    quick: bool,
    /// Where the product's binaries are
    #[arg(long, value_name = "FOLDER")]
    binaries: PathBuf,
    /// Where the figures go; cases in it that are not run now stay
    #[arg(long, value_name = "FILE")]
    json: PathBuf,
    /// Put the figures into this page, between its marks
    #[arg(long, value_name = "FILE", conflicts_with = "quick")]
    page: Option<PathBuf>,
}

impl Cli {
    /// Does what it says.
    ///
    /// # Errors
    /// A case could not be measured, or a baseline failed. An aim that is not met is no error.
    pub fn run(&self) -> Result<()> {
        match &self.command {
            Command::Run(run) => run.run(),
            Command::Baseline(baseline) => baseline.run(),
        }
    }
}

impl Run {
    fn run(&self) -> Result<()> {
        let lab = Lab::open(&self.binaries)?;
        eprintln!("Kafka at {} ({})", lab.servers(), lab.kafka());
        let plan = Plan {
            runs: usize::from(self.runs),
            amount: if self.quick {
                Amount::Quick
            } else {
                Amount::Full
            },
        };
        let wanted =
            |case: &&Case| self.cases.is_empty() || self.cases.iter().any(|name| name == case.name);
        let chosen: Vec<_> = CASES.iter().filter(wanted).collect();
        let machine = Machine::here();
        let mut measured = String::new();
        let errors = cases::run(&lab, &plan, &chosen, |case| {
            measured += &case.lines();
            let report = Report {
                machine: machine.clone(),
                cases: vec![case],
            };
            let report = report.merged_into(&self.json);
            report.save(&self.json)?;
            match &self.page {
                Some(page) => report.write_into(page),
                None => Ok(()),
            }
        })?;
        print!("{measured}");
        if !errors.is_empty() {
            let texts: Vec<_> = errors.iter().map(|error| format!("{error:#}")).collect();
            bail!("not measured:\n{}", texts.join("\n"));
        }
        Ok(())
    }
}
