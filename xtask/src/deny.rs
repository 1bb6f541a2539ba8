//! Licences, bans, sources and known vulnerabilities of everything we depend on, by cargo-deny and `deny.toml`.

use std::process::Command;

use anyhow::{Context, Result};

use crate::needs;
use crate::steps::{run as run_command, step};
use crate::workspace::cargo;

const VERSION: &str = "0.20.2";

/// What cargo-deny says when it cannot get the list of vulnerabilities: that is no finding about the code.
const NO_DATABASE: [&str; 3] = ["failed to fetch advisory database", "unable to load advisory database", "failed to clone"];

/// Returns what could not run, with the reason.
pub fn run() -> Result<Vec<String>> {
    if !needs::has_command("cargo-deny") {
        let install = ["install", "--locked", "--version", VERSION, "cargo-deny"];
        let name = "building cargo-deny (once; takes some minutes)";
        step(name, || run_command(&mut cargo(&install)))?;
    }
    step("licences, bans, sources", || run_command(&mut cargo(&["deny", "check", "licenses", "bans", "sources"])))?;
    step("known vulnerabilities", advisories)
}

fn advisories() -> Result<Vec<String>> {
    let mut check: Command = cargo(&["deny", "check", "advisories"]);
    let output = check.output().context("running cargo deny check advisories")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(Vec::new());
    }
    let Some(reason) = said.lines().find(|line| NO_DATABASE.iter().any(|sign| line.contains(sign))) else {
        eprint!("{said}");
        anyhow::bail!("a dependency has a known vulnerability, or is not maintained: see above");
    };
    Ok(vec![format!("the check for known vulnerabilities: its database cannot be had ({})", reason.trim())])
}
