//! `cargo xtask fuzz`: random bytes, guided by the branches they reach, into everything that reads foreign bytes.
//!
//! `fuzz/` has the targets and the inputs that are remembered; `fuzz/instrument.sh` says how the fuzzer is built.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::steps::{execute, line, step};
use crate::workspace::{cargo, root, target};

/// For all targets together, in what continuous integration runs; each core takes one target after the other.
const SHORT: Duration = Duration::from_secs(60);
/// One input may take this long: the slowest that a target should ever see takes a fraction of a second.
const INPUT_TIMEOUT_S: u32 = 20;
/// Longer inputs find the same branches, later.
const MAX_INPUT_BYTES: u32 = 32 << 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to fuzz, see fuzz/corpus/ [default: everything]
    targets: Vec<String>,
    /// How long, all targets together
    #[arg(long, default_value_t = 10.0, value_name = "MINUTES", value_parser = minutes)]
    minutes: f64,
    /// Give this input to the one target named, once, and show what comes of it; repeatable
    #[arg(long, value_name = "FILE")]
    replay: Vec<PathBuf>,
}

fn minutes(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|minutes| (0.05..=100_000.0).contains(minutes))
        .ok_or_else(|| format!("{text:?} is not a number of minutes from 0.05"))
}

pub fn run(args: &Args) -> Result<()> {
    let targets = chosen(&args.targets)?;
    let fuzzer = step("building the fuzzer", build)?;
    if let Some(input) = args.replay.first() {
        let [target] = &targets[..] else {
            bail!(
                "say which target takes {}: cargo xtask fuzz TARGET --replay FILE",
                input.display()
            );
        };
        return replay(&fuzzer, target, &args.replay);
    }
    fuzz(
        &fuzzer,
        &targets,
        Duration::from_secs_f64(args.minutes * 60.0),
    )
}

/// What continuous integration runs: all targets for a minute.
pub fn run_short() -> Result<()> {
    fuzz(&build()?, &chosen(&[])?, SHORT)
}

fn corpus() -> PathBuf {
    root().join("fuzz/corpus")
}

/// The targets named, or all. A target has a folder in the corpus; a test sees to that.
fn chosen(named: &[String]) -> Result<Vec<String>> {
    let entries = fs::read_dir(corpus()).context("reading fuzz/corpus")?;
    let mut all: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    all.sort();
    if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    Ok(if named.is_empty() {
        all
    } else {
        named.to_vec()
    })
}

/// Ours that the fuzzer spends its time in: as fast as they get for little compile time, with all debug assertions.
const OPTIMISED: [&str; 4] = ["processor-proto", "producer", "consumer", "framelane-fuzz"];

/// Builds the fuzzer. Only our own crates are built for it: the dependencies are those of the ordinary tests.
fn build() -> Result<PathBuf> {
    let mut build = cargo(&["build", "--workspace", "--test", "fuzz"]);
    build
        .args(["--features", "framelane-fuzz/coverage"])
        .arg("--message-format=json-render-diagnostics")
        .env("RUSTC_WORKSPACE_WRAPPER", root().join("fuzz/instrument.sh"))
        .stderr(Stdio::inherit());
    for name in OPTIMISED {
        build.args([
            "--config",
            &format!("profile.dev.package.{name}.opt-level=1"),
        ]);
    }
    let built = build.output().context("running cargo build")?;
    if !built.status.success() {
        bail!("{} ended with {}", line(&build), built.status);
    }
    executable(&String::from_utf8_lossy(&built.stdout)).context("cargo build names no fuzzer")
}

/// The program that Cargo says it built: its name has a hash in it.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|message| serde_json::from_str::<serde_json::Value>(message).ok())
        .filter(|message| message["target"]["name"] == "fuzz")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// Runs the fuzzer's target on these inputs alone.
fn replay(fuzzer: &Path, target: &str, inputs: &[PathBuf]) -> Result<()> {
    execute(command(fuzzer, target).args(inputs))
}

fn command(fuzzer: &Path, target: &str) -> Command {
    let mut command = Command::new(fuzzer);
    command
        .env("FRAMELANE_FUZZ_TARGET", target)
        .env("RUST_BACKTRACE", "1")
        .arg(format!("-timeout={INPUT_TIMEOUT_S}"));
    command
}

/// Fuzzes the targets for `time` in all, as many at once as there are cores.
fn fuzz(fuzzer: &Path, targets: &[String], time: Duration) -> Result<()> {
    let at_once = thread::available_parallelism()
        .map_or(1, |cores| cores.get())
        .min(targets.len());
    let rounds = targets.len().div_ceil(at_once);
    let each = Duration::from_secs((time.as_secs_f64() / rounds as f64).ceil() as u64);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = Run::of(target).fuzz(fuzzer, each);
                    match outcome {
                        Ok(summary) => eprintln!("{target}: {summary}"),
                        Err(failure) => failures
                            .lock()
                            .expect("no thread panics with it")
                            .push(failure),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panics with it");
    for failure in &failures {
        eprintln!("FAILED {failure:#}");
    }
    match failures.len() {
        0 => Ok(()),
        failed => bail!("{failed} of {} targets failed", targets.len()),
    }
}

/// One target's run and where it leaves what.
struct Run<'a> {
    target: &'a str,
    /// `target/fuzz/TARGET`: the log, what was found, inputs that failed.
    folder: PathBuf,
}

impl<'a> Run<'a> {
    fn of(name: &'a str) -> Self {
        Self {
            target: name,
            folder: target().join("fuzz").join(name),
        }
    }

    fn fuzz(&self, fuzzer: &Path, time: Duration) -> Result<String> {
        let (found, log) = (self.folder.join("found"), self.folder.join("log"));
        fs::create_dir_all(&found).with_context(|| format!("making {}", found.display()))?;
        let output = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let mut command = command(fuzzer, self.target);
        command
            .arg(format!("-max_total_time={}", time.as_secs()))
            .arg(format!("-max_len={MAX_INPUT_BYTES}"))
            // Bounded by the target itself, in address space: see fuzz/src/memory.rs.
            .arg("-rss_limit_mb=0")
            .arg("-print_final_stats=1")
            .arg(format!("-artifact_prefix={}/", self.folder.display()));
        let words = root()
            .join("fuzz/words")
            .join(format!("{}.dict", self.target));
        if words.exists() {
            command.arg(format!("-dict={}", words.display()));
        }
        let status = command
            .args([&found, &corpus().join(self.target)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .status()
            .with_context(|| format!("running {}", fuzzer.display()))?;
        let said = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
        let said = String::from_utf8_lossy(&said);
        if status.success() {
            return Ok(summary(&said, time));
        }
        bail!(
            "target {}, {status}\n{}",
            self.target,
            self.failure(&said, &log)
        )
    }

    /// What a person needs: what happened, the input, how to see it again, how to keep it.
    fn failure(&self, said: &str, log: &Path) -> String {
        let target = self.target;
        let panic = said
            .lines()
            .skip_while(|line| !line.starts_with("thread '"));
        let what: Vec<&str> = panic
            .take_while(|line| !line.starts_with("stack backtrace"))
            .collect();
        let what = match what.is_empty() {
            true => said.lines().filter(|line| line.contains("ERROR")).collect(),
            false => what,
        };
        let input = said
            .lines()
            .find_map(|line| line.split_once("Test unit written to "));
        let Some((_, input)) = input else {
            return format!(
                "{}\n  there is no input; see {}",
                what.join("\n"),
                log.display()
            );
        };
        format!(
            "{}\n  input   {input}\n  replay  cargo xtask fuzz {target} --replay {input}\n  keep    cp {input} \
             fuzz/corpus/{target}/WHAT-IT-IS\n  log     {}",
            what.join("\n"),
            log.display()
        )
    }
}

/// From libFuzzer's last lines: `stat::NAME: NUMBER`.
fn summary(said: &str, time: Duration) -> String {
    let number = |name: &str| {
        said.lines()
            .filter_map(|line| {
                line.strip_prefix("stat::")?
                    .strip_prefix(name)?
                    .strip_prefix(':')
            })
            .map(str::trim)
            .next_back()
            .unwrap_or("?")
            .to_owned()
    };
    format!(
        "{} inputs in {} s, {} of them new, no promise broken",
        number("number_of_executed_units"),
        time.as_secs(),
        number("new_units_added")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_happened_and_how_to_see_it_again() {
        let said = "INFO: Seed: 1\nthread '<unnamed>' (7) panicked at fuzz/src/order.rs:9:5:\n1 is not 2\nstack \
                    backtrace:\n   0: x\nartifact_prefix='t/'; Test unit written to t/crash-1\n";
        let text = Run::of("order").failure(said, Path::new("t/log"));
        let begin = "thread '<unnamed>' (7) panicked at fuzz/src/order.rs:9:5:\n1 is not 2\n  input   t/crash-1\n";
        assert!(text.starts_with(begin), "{text}");
        assert!(
            text.contains("cargo xtask fuzz order --replay t/crash-1"),
            "{text}"
        );
    }

    #[test]
    fn a_timeout_has_no_panic_and_is_named_by_its_error() {
        let said = "==5== ERROR: libFuzzer: timeout after 20 seconds\n==5== x\nTest unit written to t/timeout-1\n";
        let text = Run::of("order").failure(said, Path::new("t/log"));
        assert!(
            text.starts_with("==5== ERROR: libFuzzer: timeout"),
            "{text}"
        );
    }

    #[test]
    fn the_fuzzer_is_where_cargo_says() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"pipeline"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"fuzz"},"executable":"/t/debug/deps/fuzz-1"}"#;
        assert_eq!(executable(messages), Some("/t/debug/deps/fuzz-1".into()));
        assert_eq!(executable("{}\nno json"), None);
    }

    #[test]
    fn the_summary_counts_inputs() {
        let said = "stat::number_of_executed_units: 1234\nstat::new_units_added:          9\n";
        assert_eq!(
            summary(said, Duration::from_secs(5)),
            "1234 inputs in 5 s, 9 of them new, no promise broken"
        );
    }
}
