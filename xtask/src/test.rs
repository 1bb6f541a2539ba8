//! `cargo xtask test`: every check, then every test against one real Kafka.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;

use anyhow::{Context, Result, bail};
use kafka_node::{Kafka, Options};

use crate::check;
use crate::fuzz;
use crate::prove;
use crate::python;
use crate::setup;
use crate::steps::{line, step};
use crate::test_report::Report;
use crate::workspace::cargo;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Passed on to `cargo test`, e.g. `-p broker` or `-- --nocapture`
    #[arg(last = true)]
    cargo_test: Vec<String>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    setup::run()?;
    setup::run_for_tests();
    let mut report = Report::default();
    let mut findings = check::all();
    let python = python::run(&mut findings, &mut report);
    match step("Kafka", find_kafka) {
        Ok(kafka) => findings.check("tests", || {
            cargo_test(&kafka, python.as_deref(), &args.cargo_test, &mut report).map(|()| None)
        }),
        Err(error) => findings.failed.push(format!("tests: {error:#}")),
    }
    findings.check("fuzzing", || fuzz::run_short().map(|()| None));
    prove::run_smoke(&mut findings);
    let code = if findings.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    report.add(findings);
    print!("{report}");
    std::io::stdout().flush().context("writing the report")?;
    Ok(code)
}

/// One Kafka for all tests; those that do it harm start their own.
fn find_kafka() -> Result<Kafka> {
    let kafka = Kafka::find_or_start(&Options::from_env()?)?;
    eprintln!(
        "Kafka at {} ({})",
        kafka.bootstrap_servers(),
        kafka.provider()
    );
    Ok(kafka)
}

fn cargo_test(
    kafka: &Kafka,
    python: Option<&Path>,
    arguments: &[String],
    report: &mut Report,
) -> Result<()> {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    command
        .args(arguments)
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers());
    if let Some(python) = python {
        command.env("FRAMELANE_PYTHON", python);
    }
    stream(&mut command, |line| report.read(line))
}

/// Runs a command; its lines go to the terminal as they come, and to `seen`.
pub fn stream(command: &mut Command, mut seen: impl FnMut(&str)) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {}", line(command)))?;
    let (sender, lines) = mpsc::channel();
    let readers = [
        forward(child.stdout.take(), sender.clone()),
        forward(child.stderr.take(), sender),
    ];
    for line in lines {
        println!("{line}");
        seen(&line);
    }
    for reader in readers {
        reader
            .join()
            .map_err(|_| anyhow::anyhow!("a thread that reads the output of the tests panicked"))?;
    }
    let status = child.wait().context("waiting for the tests")?;
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(())
}

/// Lines to the channel until the pipe ends. Bytes that are not UTF-8 do not end it.
fn forward(
    pipe: Option<impl Read + Send + 'static>,
    lines: Sender<String>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if lines
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                return;
            }
        }
    })
}
