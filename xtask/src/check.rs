//! What can be said of the code without running it.

use anyhow::Result;

use crate::deny;
use crate::setup;
use crate::steps::{run as run_command, step};
use crate::workspace::cargo;

pub fn run() -> Result<()> {
    setup::run()?;
    let not_run = all()?;
    for reason in not_run {
        eprintln!("not run: {reason}");
    }
    Ok(())
}

/// Every check, the quick ones first. Returns what could not run, with the reason.
pub fn all() -> Result<Vec<String>> {
    step("format", || run_command(&mut cargo(&["fmt", "--all", "--check"])))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    step("lints", || run_command(&mut cargo(&clippy)))?;
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    step("documentation", || run_command(cargo(&doc).env("RUSTDOCFLAGS", "--deny warnings")))?;
    deny::run()
}
