//! `cargo xtask bench`: builds everything with optimisation and measures it (see BENCHMARKS.md and the crate `bench`).

use std::fs;

use anyhow::{Context, Result};

use crate::setup;
use crate::steps::{execute, step};
use crate::workspace::{self, SERVICES, cargo};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this case; repeatable. An unknown name lists them all
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Runs of each side, in turn
    #[arg(long, default_value_t = 3, value_name = "N")]
    runs: u8,
    /// An eighth of the frames: shows that everything works, the figures mean little
    #[arg(long, conflicts_with = "write")]
    quick: bool,
    /// Put the figures into BENCHMARKS.md
    #[arg(long)]
    write: bool,
}

/// An aim that is not met is reported, and no error.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    step("build", build)?;
    let target = workspace::target();
    fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
    let binaries = target.join("release");
    // Figures that mean little must not stand beside those that do.
    let json = if args.quick {
        "bench-quick.json"
    } else {
        "bench.json"
    };
    let mut bench = std::process::Command::new(binaries.join("framelane-bench"));
    bench
        .arg("run")
        .arg("--binaries")
        .arg(&binaries)
        .arg("--json")
        .arg(target.join(json))
        .args(["--runs", &args.runs.to_string()])
        .args(args.cases.iter().flat_map(|name| ["--case", name]));
    if args.quick {
        bench.arg("--quick");
    }
    if args.write {
        bench
            .arg("--page")
            .arg(workspace::root().join("BENCHMARKS.md"));
    }
    execute(&mut bench)
}

fn build() -> Result<()> {
    let mut command = cargo(&["build", "--release", "--bins", "--package", "bench"]);
    for (package, _) in SERVICES {
        command.args(["--package", package]);
    }
    execute(&mut command)
}
