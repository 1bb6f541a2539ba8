//! A program under measurement: its log in a file, its use of the machine, its life no longer than ours.

use anyhow::{Context, Result, bail, ensure};
use kafka_node::leash::Leash;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a program gets to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(15);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Lines of the log that an error shows.
const LOG_TAIL_LINES: usize = 15;
/// The unit of times in `/proc`, the same on every Linux (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// User and system time of all its threads.
    pub cpu_seconds: f64,
    /// The most memory it ever held (VmHWM).
    pub peak_bytes: u64,
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    _leash: Leash,
    log: PathBuf,
    printed: PathBuf,
}

impl Process {
    /// Starts it; stdout goes to `NAME.out` in the folder, stderr to `NAME.log`.
    pub(super) fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let (log, printed) = (
            folder.join(format!("{name}.log")),
            folder.join(format!("{name}.out")),
        );
        let open =
            |path: &Path| File::create(path).with_context(|| format!("opening {}", path.display()));
        let mut child = command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(open(&printed)?)
            .stderr(open(&log)?)
            // Ctrl-C ends us; the leash then ends what we started.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        match Leash::for_pid(child.id()) {
            Ok(leash) => Ok(Self {
                name: name.to_owned(),
                child,
                _leash: leash,
                log,
                printed,
            }),
            Err(error) => {
                // Our own child, on the way out with a better error.
                let _ = child.kill();
                let _ = child.wait();
                Err(error).with_context(|| format!("starting the shell that watches over {name}"))
            }
        }
    }

    /// For programs that end only when they are told to.
    ///
    /// # Errors
    /// It has ended, with the end of its log.
    pub fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(self.obituary(status)),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It ends badly, or not in time.
    pub fn wait(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!(self.obituary(status)),
                None => ensure!(
                    Instant::now() < deadline,
                    "{} does not end; its log:\n{}",
                    self.name,
                    self.log_tail()
                ),
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Waits until its log holds this.
    ///
    /// # Errors
    /// It does not come, or the process ends.
    pub fn wait_for_log(&mut self, text: &str, limit: Duration) -> Result<()> {
        super::wait_for(&format!("{text:?} from {}", self.name), limit, || {
            self.must_run()?;
            let log = fs::read(&self.log)?;
            Ok(String::from_utf8_lossy(&log).contains(text).then_some(()))
        })
    }

    /// Waits for its end and reads the JSON that it printed.
    ///
    /// # Errors
    /// As [`Process::wait`], or it printed something else.
    pub fn result<T: DeserializeOwned>(mut self, limit: Duration) -> Result<T> {
        self.wait(limit)?;
        let text = fs::read_to_string(&self.printed)?;
        serde_json::from_str(&text).with_context(|| format!("{} printed {text:?}", self.name))
    }

    /// As `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill_hard(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// It ends badly, or not in time.
    pub fn stop(mut self) -> Result<()> {
        self.must_run()?; // until we have waited for it the pid is its own
        let pid = i32::try_from(self.child.id()).expect("a pid is positive and fits");
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        self.wait(GRACE)
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&self) -> Result<Usage> {
        let folder = PathBuf::from(format!("/proc/{}", self.child.id()));
        let stat = fs::read_to_string(folder.join("stat"))
            .with_context(|| format!("{} has ended", self.name))?;
        // Field 2 is the name in parentheses; fields 14 and 15 are the times.
        let (_, rest) = stat.rsplit_once(')').context("no process's stat")?;
        let ticks = |at: usize| -> Result<f64> {
            let field = rest
                .split_whitespace()
                .nth(at - 3)
                .context("a short stat")?;
            Ok(field.parse()?)
        };
        let status = fs::read_to_string(folder.join("status"))?;
        let peak_kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
            .context("no peak in the process's status")?
            .trim()
            .parse()?;
        Ok(Usage {
            cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
            peak_bytes: peak_kib * 1024,
        })
    }

    fn obituary(&self, status: ExitStatus) -> String {
        let Self { name, log, .. } = self;
        format!(
            "{name} ended ({status}); the end of {}:\n{}",
            log.display(),
            self.log_tail()
        )
    }

    fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After a regular end this does nothing; after an error nothing better is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
