//! How a test says that it cannot run on this machine.

use std::io::Write;

/// Prints `SKIPPED NAME: REASON` on standard error, past the capture of the test harness (which only holds back what
/// the print macros write): `cargo xtask test` counts these lines and names them again at its end.
pub fn skipped(name: &str, reason: &str) {
    let line = format!("SKIPPED {name}: {}\n", reason.replace('\n', " "));
    // In one write, so that tests that run at the same time do not cut each other's lines. If standard error is closed,
    // there is nobody to tell.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
