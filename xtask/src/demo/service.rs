//! One binary of the product as a child process: its log in a file, its end noticed, its life no longer than ours.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kafka_node::leash::Leash;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a service gets to end by itself after SIGTERM. Their own grace times are shorter.
const GRACE: Duration = Duration::from_secs(15);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Lines of the log that an error shows.
const LOG_TAIL_LINES: usize = 15;

#[derive(Debug)]
pub struct Service {
    name: String,
    child: Child,
    _leash: Leash,
    log_file: PathBuf,
}

impl Service {
    /// Starts the command; both its output streams go to `LOG_FOLDER/NAME.log`, after what is there.
    pub fn start(name: &str, command: &mut Command, log_folder: &Path) -> Result<Self> {
        let log_file = log_folder.join(format!("{name}.log"));
        let open = || File::options().create(true).append(true).open(&log_file);
        let (output, errors) = open()
            .and_then(|log| Ok((log.try_clone()?, log)))
            .with_context(|| format!("opening {}", log_file.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .env("NO_COLOR", "1")
            .stdout(output)
            .stderr(errors)
            // Ctrl-C in a terminal goes to our group: we end the services in order instead.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        match Leash::for_pid(child.id()) {
            Ok(leash) => Ok(Self {
                name: name.to_owned(),
                child,
                _leash: leash,
                log_file,
            }),
            Err(error) => {
                // Our own child, on the way out with a better error.
                let _ = child.kill();
                let _ = child.wait();
                Err(error).with_context(|| format!("starting the shell that watches over {name}"))
            }
        }
    }

    /// Whether it has ended well. An end that is not well is an error with the log's tail.
    pub fn has_ended(&mut self) -> Result<bool> {
        match self
            .child
            .try_wait()
            .with_context(|| format!("looking at {}", self.name))?
        {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => bail!(self.obituary(status)),
        }
    }

    /// For those that end only when they are told to.
    pub fn must_run(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .with_context(|| format!("looking at {}", self.name))?
        {
            None => Ok(()),
            Some(status) => bail!(self.obituary(status)),
        }
    }

    /// As `kill -9` does, and waits until it is gone.
    pub fn kill_hard(&mut self) -> Result<()> {
        self.child
            .kill()
            .with_context(|| format!("killing {}", self.name))?;
        self.child
            .wait()
            .with_context(|| format!("waiting for the end of {}", self.name))?;
        Ok(())
    }

    /// Asks it to end (SIGTERM). Does nothing if it has ended.
    pub fn ask_to_end(&mut self) {
        // Until we have waited for it the pid is its own.
        if let Ok(None) = self.child.try_wait() {
            let pid =
                Pid::from_raw(i32::try_from(self.child.id()).expect("a pid is positive and fits"));
            let _ = kill(pid, Signal::SIGTERM);
        }
    }

    /// Ends it: SIGTERM, and SIGKILL after the grace time.
    pub fn stop(&mut self) {
        self.ask_to_end();
        let deadline = Instant::now() + GRACE;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() >= deadline {
                eprintln!(
                    "note: {} did not end within {} s and was killed",
                    self.name,
                    GRACE.as_secs()
                );
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    fn obituary(&self, status: ExitStatus) -> String {
        format!(
            "{} ended ({status}); the end of {}:\n{}",
            self.name,
            self.log_file.display(),
            self.log_tail()
        )
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log_file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // After a regular end this does nothing; after an error nothing better is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
