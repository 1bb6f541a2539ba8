//! What can be said of the code without running it.

use anyhow::{Result, bail};

use crate::deny;
use crate::setup;
use crate::steps::{execute, step};
use crate::workspace::cargo;

/// What the checks came to. One that fails does not keep the others from running.
#[derive(Debug, Default)]
pub struct Findings {
    /// `CHECK: what went wrong`, of those that failed. The details are above, in the check's own output.
    pub failed: Vec<String>,
    /// `CHECK: why`, of those that could not run here.
    pub not_run: Vec<String>,
}

impl Findings {
    /// Runs a check under its name. It returns why it could not run, if it could not.
    pub fn check(&mut self, name: &str, check: impl FnOnce() -> Result<Option<String>>) {
        match step(name, check) {
            Ok(None) => {}
            Ok(Some(reason)) => self.not_run.push(format!("{name}: {reason}")),
            Err(error) => self.failed.push(format!("{error:#}")),
        }
    }
}

pub fn run() -> Result<()> {
    setup::run()?;
    let findings = all();
    for reason in &findings.not_run {
        eprintln!("NOT RUN {reason}");
    }
    if !findings.failed.is_empty() {
        bail!("{}", findings.failed.join("; "));
    }
    Ok(())
}

/// Every check, the quick ones first.
pub fn all() -> Findings {
    let mut findings = Findings::default();
    let mut run = |name: &str, mut command: std::process::Command| {
        findings.check(name, || execute(&mut command).map(|()| None));
    };
    run("format", cargo(&["fmt", "--all", "--check"]));
    run(
        "lints",
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]),
    );
    let mut doc = cargo(&[
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    run("documentation", doc);
    deny::run(&mut findings);
    findings
}
