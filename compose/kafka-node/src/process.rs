//! A node's Java: started, frozen, watched until it answers, and ended with us.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::error::Error;
use crate::leash::Leash;
use crate::{probe, wait};

/// Lines of the log that a failed start shows.
const LOG_TAIL_LINES: usize = 20;

/// A node with no more heap than this serves a test for a minute: compiling its code well would take two thirds more CPU
/// for its start than compiling it quickly, and never pay.
const SHORT_LIVED_HEAP_MIB: u32 = 512;

/// The node's Java, with the leash that ends it when we die. Killed when dropped, unless it is to be left.
#[derive(Debug)]
pub struct Process {
    child: Child,
    _leash: Leash,
    on_drop: OnDrop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDrop {
    Kill,
    Leave,
}

impl Process {
    /// Frames are large and short-lived: G1 with short pauses and an early cycle copies about twice as many of them a second
    /// as Java's defaults do.
    pub fn spawn(
        java: &Path,
        jars: &Path,
        heap_mib: u32,
        folder: &Path,
        log_file: &Path,
    ) -> Result<Self, Error> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(log_file)
            .map_err(Error::io(format!("opening {}", log_file.display())))?;
        let errors = log
            .try_clone()
            .map_err(Error::io(format!("opening {}", log_file.display())))?;
        let compiler: &[&str] = match heap_mib {
            ..=SHORT_LIVED_HEAP_MIB => &["-XX:TieredStopAtLevel=1"],
            _ => &[],
        };
        let mut child = Command::new(java)
            .args(compiler)
            .arg(format!("-Xms{}m", heap_mib / 2))
            .arg(format!("-Xmx{heap_mib}m"))
            .args([
                "-XX:+UseG1GC",
                "-XX:MaxGCPauseMillis=20",
                "-XX:InitiatingHeapOccupancyPercent=35",
            ])
            .args([
                "-XX:+ExplicitGCInvokesConcurrent",
                "-Djava.awt.headless=true",
            ])
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                folder.join("log4j2.properties").display()
            ))
            .args(["-cp", &class_path(jars), "kafka.Kafka"])
            .arg(folder.join("server.properties"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C in a terminal goes to the group: those who still use this Kafka must be able to end first.
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("starting {}", java.display())))?;
        let script = r#"kill -KILL "$1"; rm -rf -- "$2""#;
        let folder = folder.display().to_string();
        match Leash::new(&[
            "sh",
            "-c",
            script,
            "leash",
            &child.id().to_string(),
            &folder,
        ]) {
            Ok(leash) => Ok(Self {
                child,
                _leash: leash,
                on_drop: OnDrop::Kill,
            }),
            Err(error) => {
                end(&mut child);
                Err(Error::io("starting the shell that watches over Kafka")(
                    error,
                ))
            }
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The error is the reason why there was no answer.
    pub fn wait_ready(&mut self, address: &str) -> Result<(), String> {
        let mut reason = String::new();
        let ready = wait::until(wait::START_LIMIT, || match self.child.try_wait() {
            Ok(None) => Ok(probe(address, wait::PROBE_STEP_LIMIT)
                .map_err(|error| reason = error.to_string())
                .ok()),
            Ok(Some(status)) => Err(format!("its process ended ({status})")),
            Err(error) => Err(format!("its process cannot be watched: {error}")),
        })?;
        ready.ok_or_else(|| {
            format!(
                "no answer at {address} after {} s: {reason}",
                wait::START_LIMIT.as_secs()
            )
        })
    }

    /// Returns once nothing of it runs.
    pub fn freeze(&mut self) -> Result<(), Error> {
        let pid = self.signal(Signal::SIGSTOP)?;
        wait_stopped(pid).map_err(Error::io("freezing Kafka"))
    }

    pub fn wake(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGCONT).map(drop)
    }

    /// Lets it outlive us; returns its pid.
    pub fn leave(mut self) -> u32 {
        self.on_drop = OnDrop::Leave;
        self.child.id()
    }

    fn signal(&mut self, signal: Signal) -> Result<Pid, Error> {
        let what = || format!("sending {signal} to Kafka");
        // While it has not been waited for, the pid cannot belong to another process.
        if let Some(status) = self.child.try_wait().map_err(Error::io(what()))? {
            return Err(Error::io(what())(io::Error::other(format!(
                "it has ended ({status})"
            ))));
        }
        let pid =
            Pid::from_raw(i32::try_from(self.child.id()).expect("a pid is positive and fits"));
        signal::kill(pid, signal)
            .map(|()| pid)
            .map_err(io::Error::from)
            .map_err(Error::io(what()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Kill {
            end(&mut self.child);
        }
    }
}

/// Nothing better can be done if this fails: it is our own child, and we are on the way out.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A signal is sent at once, but a process of many threads on a busy machine may answer for a while before it takes it.
#[cfg(target_os = "linux")]
fn wait_stopped(pid: Pid) -> io::Result<()> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    // Not its end: that belongs to `child`.
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
    let stopped = wait::until(wait::QUESTION_LIMIT, || {
        waitid(Id::Pid(pid), flags).map(|status| match status {
            WaitStatus::Stopped(..) => Some(()),
            _ => None,
        })
    })?;
    stopped.ok_or_else(|| io::ErrorKind::TimedOut.into())
}

#[cfg(not(target_os = "linux"))]
fn wait_stopped(_: Pid) -> io::Result<()> {
    Ok(())
}

pub fn class_path(jars: &Path) -> String {
    format!("{}/*", jars.display())
}

/// The last lines of a node's log, for the error that says that it did not start.
pub fn log_tail(log_file: &Path) -> String {
    match fs::read(log_file) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
        }
        Err(error) => format!("({}: {error})", log_file.display()),
    }
}
