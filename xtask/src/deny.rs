//! Licences, bans, sources and known vulnerabilities of everything we depend on, by cargo-deny and `deny.toml`.

use anyhow::{Context, Result, bail};

use crate::check::Findings;
use crate::needs;
use crate::steps::execute;
use crate::workspace::cargo;

const VERSION: &str = "0.20.2";

/// What cargo-deny says when it cannot get the list of vulnerabilities: that is no finding about the code.
const NO_DATABASE: [&str; 3] = [
    "failed to fetch advisory database",
    "unable to load advisory database",
    "failed to clone",
];

/// Runs what `deny.toml` demands.
pub fn run(findings: &mut Findings) {
    if !needs::has_command("cargo-deny") {
        let install = ["install", "--locked", "--version", VERSION, "cargo-deny"];
        findings.check("building cargo-deny (once; takes some minutes)", || {
            execute(&mut cargo(&install)).map(|()| None)
        });
    }
    let offline = [
        "deny",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ];
    findings.check("licences, bans, sources", || {
        execute(&mut cargo(&offline)).map(|()| None)
    });
    findings.check("known vulnerabilities", advisories);
}

/// Why it could not run, if it could not: the list of vulnerabilities has to be fetched.
fn advisories() -> Result<Option<String>> {
    let mut check = cargo(&["deny", "check", "--hide-inclusion-graph", "advisories"]);
    let output = check
        .output()
        .context("running cargo deny check advisories")?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if let Some(line) = said
        .lines()
        .find(|line| NO_DATABASE.iter().any(|sign| line.contains(sign)))
    {
        // Without the date in front.
        return Ok(Some(
            line.rsplit("[ERROR] ")
                .next()
                .unwrap_or(line)
                .trim()
                .to_owned(),
        ));
    }
    eprint!("{said}");
    bail!("a dependency has a known vulnerability, or is not maintained any more: see above")
}
