//! `cargo xtask prove`: builds what is to be proved and what proves it, then lets it run.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::check::Findings;
use crate::setup;
use crate::steps::{execute, step};
use crate::workspace::{cargo, target};

/// Runs of CI. Together these seeds reach most rows of the fault matrix; the fresh one finds what they do not.
const FIXED_SEEDS: (&str, &str) = ("3", "2");
/// Of the run on three nodes.
const CLUSTER_SEED: &str = "3001";

#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Runs, of as many seeds in a row [default: 1]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first seed [default: a fresh one, which is printed]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Go on with further seeds for so long instead
    #[arg(long, value_name = "M", conflicts_with = "seeds")]
    minutes: Option<u64>,
    /// Only these rows of the fault matrix (docs/faults.md), each of them: 1,2,9
    #[arg(long, value_name = "ROW,...")]
    rows: Option<String>,
    /// Kafka nodes: 1 or 3 [default: 1]
    #[arg(long)]
    nodes: Option<u64>,
    /// Make the run of this plan again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "seed", "minutes", "rows", "nodes"])]
    plan: Option<PathBuf>,
    /// Take broker and consumer from here instead of building them
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Build with optimisation
    #[arg(long)]
    release: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    setup::run()?;
    let built = build(args)?;
    let mut prove = command(&built, args.binaries.as_ref());
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            prove.arg(format!("--{name}={value}"));
        }
    };
    option("seeds", args.seeds.map(|seeds| seeds.to_string()));
    option("seed", args.seed.map(|seed| seed.to_string()));
    option("minutes", args.minutes.map(|minutes| minutes.to_string()));
    option("rows", args.rows.clone());
    option("nodes", args.nodes.map(|nodes| nodes.to_string()));
    option(
        "plan",
        args.plan.as_ref().map(|plan| plan.display().to_string()),
    );
    let status = prove.status().context("running the proof")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
    })
}

/// A few runs, some minutes: for every change.
pub fn run_smoke(findings: &mut Findings) {
    let built = step("build of the proof", || build(&Args::default()));
    let built = match built {
        Ok(built) => built,
        Err(error) => return findings.failed.push(format!("proof: {error:#}")),
    };
    let (first, count) = FIXED_SEEDS;
    let runs: [(&str, &[&str]); 3] = [
        ("fixed seeds", &["--seed", first, "--seeds", count]),
        ("a fresh seed", &[]),
        (
            "three Kafka nodes",
            &["--nodes", "3", "--seed", CLUSTER_SEED],
        ),
    ];
    for (at, (name, options)) in runs.into_iter().enumerate() {
        findings.check(&format!("proof, {name}"), || {
            let report = target().join(format!("prove-smoke-{at}.json"));
            let mut prove = command(&built, None);
            prove.args(options).arg("--report").arg(report);
            execute(&mut prove).map(|()| None)
        });
    }
}

/// The folder of what was built.
fn build(args: &Args) -> Result<PathBuf> {
    let mut build = cargo(&["build", "--quiet", "-p", "prove"]);
    if args.binaries.is_none() {
        build.args(["-p", "broker", "-p", "consumer"]);
    }
    if args.release {
        build.arg("--release");
    }
    execute(&mut build)?;
    let profile = if args.release { "release" } else { "debug" };
    Ok(target().join(profile))
}

fn command(built: &std::path::Path, binaries: Option<&PathBuf>) -> Command {
    let mut command = Command::new(built.join("prove"));
    command.arg("run").arg("--target").arg(target());
    command
        .arg("--binaries")
        .arg(binaries.map_or(built, PathBuf::as_path));
    command
}

/// Builds what judges, and nothing of what is judged; returns its folder.
pub fn build_checker() -> Result<PathBuf> {
    execute(&mut cargo(&["build", "--quiet", "-p", "prove"]))?;
    Ok(target().join("debug"))
}

/// Runs the checker with these options on the services in `binaries`; returns the names of what does not hold.
pub fn violations(checker: &Path, binaries: &Path, options: &[String]) -> Result<Vec<String>> {
    let report = target().join("mutants/prove.json");
    let mut prove = command(checker, Some(&binaries.to_owned()));
    prove.args(options).arg("--report").arg(&report);
    prove.stdout(Stdio::null()).stderr(Stdio::null());
    let status = prove.status().context("running the checker")?;
    let text = std::fs::read_to_string(&report)
        .with_context(|| format!("the checker ended with {status} and left no report"))?;
    let report: serde_json::Value = serde_json::from_str(&text).context("reading its report")?;
    let runs = report["runs"].as_array().into_iter().flatten();
    let mut names = Vec::new();
    for run in runs {
        if let Some(error) = run["error"].as_str() {
            bail!("the checker could not judge: {error}");
        }
        let checks = run["checks"].as_array().into_iter().flatten();
        // Number 0 is the plan's own: a fault that did not happen shows nothing about what is judged.
        let violated = checks.filter(|check| {
            check["number"].as_u64() > Some(0) && check["violations"].as_u64() > Some(0)
        });
        names.extend(violated.filter_map(|check| check["name"].as_str().map(str::to_owned)));
    }
    names.sort();
    names.dedup();
    Ok(names)
}
