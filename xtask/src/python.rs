//! The Python SDK (`sdk/python`): an environment of its own below `target`, its style, its types and its tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use anyhow::{Context, Result, bail};

use crate::check::Findings;
use crate::needs;
use crate::steps::{execute, line};
use crate::test::stream;
use crate::test_report::Report;
use crate::workspace::{root, target};

/// Exact versions of all that is installed.
const REQUIREMENTS: &str = "requirements-dev.txt";

/// Checks the SDK. Returns the interpreter of its environment, for the tests that run its examples under a broker; none
/// if there is no environment.
pub fn run(findings: &mut Findings, report: &mut Report) -> Option<PathBuf> {
    let mut ready = None;
    findings.check("Python environment", || match environment()? {
        Environment::Ready(python) => {
            ready = Some(python);
            Ok(None)
        }
        Environment::None(reason) => Ok(Some(reason)),
    });
    let python = ready?;
    let module = |words: &[&str]| {
        let mut command = Command::new(&python);
        command.arg("-m").args(words).current_dir(sdk());
        command
    };
    let checks: [(&str, &[&str]); 3] = [
        ("Python format", &["ruff", "format", "--check"]),
        ("Python lints", &["ruff", "check"]),
        ("Python types", &["mypy"]),
    ];
    for (name, words) in checks {
        findings.check(name, || execute(&mut module(words)).map(|()| None));
    }
    findings.check("Python tests", || {
        stream(&mut module(&["pytest"]), |line| report.read_pytest(line)).map(|()| None)
    });
    Some(python)
}

/// `cargo xtask python`.
pub fn alone() -> Result<ExitCode> {
    let (mut findings, mut report) = (Findings::default(), Report::default());
    run(&mut findings, &mut report);
    let code = match findings.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    report.add(findings);
    print!("{report}");
    Ok(code)
}

fn sdk() -> PathBuf {
    root().join("sdk").join("python")
}

enum Environment {
    /// Its interpreter.
    Ready(PathBuf),
    /// Why it cannot be had on this machine.
    None(String),
}

/// Makes the environment, unless it is there already with the same versions in it.
fn environment() -> Result<Environment> {
    let folder = target().join("python").join("venv");
    let python = folder.join("bin").join("python");
    let versions = fs::read_to_string(sdk().join(REQUIREMENTS)).context("reading the versions")?;
    let installed = folder.join("installed");
    if python.exists() && fs::read_to_string(&installed).is_ok_and(|then| then == versions) {
        return Ok(Environment::Ready(python));
    }
    let found = ["python3", "python3.11", "python3.12", "python3.13"]
        .into_iter()
        .find(|name| needs::has_command(name) && is_new_enough(name));
    let Some(system) = found else {
        return Ok(Environment::None(
            "there is no Python 3.11 or newer here".into(),
        ));
    };
    // What an older list left behind would be there as well.
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("removing the old environment {}", folder.display()))?;
    }
    let venv = output(Command::new(system).args(["-m", "venv"]).arg(&folder))?;
    if !venv.status.success() {
        return Ok(Environment::None(format!(
            "{system} -m venv: {}",
            last_line(&venv)
        )));
    }
    let download = output(&mut pip(&python, &["--requirement", REQUIREMENTS]))?;
    if !download.status.success() {
        return Ok(Environment::None(format!(
            "pip cannot install {REQUIREMENTS}: {}",
            last_line(&download)
        )));
    }
    // From here on nothing has to be fetched: what fails is ours.
    execute(&mut pip(
        &python,
        &["--no-build-isolation", "--editable", "."],
    ))?;
    fs::write(&installed, versions).with_context(|| format!("writing {}", installed.display()))?;
    Ok(Environment::Ready(python))
}

fn is_new_enough(python: &str) -> bool {
    let question = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
    output(Command::new(python).args(["-c", question])).is_ok_and(|answer| answer.status.success())
}

fn pip(python: &Path, words: &[&str]) -> Command {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(words)
        .current_dir(sdk());
    pip
}

fn output(command: &mut Command) -> Result<Output> {
    match command.output() {
        Ok(output) => Ok(output),
        Err(error) => bail!("running {}: {error}", line(command)),
    }
}

/// The last thing it said about what went wrong.
fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.next_back().unwrap_or("it gave no reason").to_owned()
}
