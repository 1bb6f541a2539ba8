//! Alerts as commands: the JSON line on stdin, the picture in a file that the environment names.

use super::retry::{Patience, Refusal};
use crate::delivery::Delivery;
use crate::sinks::{Flow, Sink, SinkError};
use bytes::Bytes;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::{NamedTempFile, TempPath};

/// A command that takes longer hangs. It is ended with all that it started.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks whether it has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The sink.
#[derive(Debug)]
pub struct Exec {
    command: String,
    patience: Patience,
}

/// What a command is given.
struct Given<'a> {
    id: &'a str,
    source: &'a str,
    line: &'a [u8],
    picture: &'a Path,
}

impl Exec {
    /// Nothing is run yet.
    pub fn new(command: &str, patience: Patience) -> Self {
        Self {
            command: command.to_owned(),
            patience,
        }
    }

    fn run(&self, given: &Given<'_>) -> Result<(), Refusal> {
        let status = self.spawn(given).and_then(wait).map_err(|cause| {
            Refusal::NotNow(format!("the command cannot be run: {cause}"), None)
        })?;
        match (status, status.and_then(|status| status.code())) {
            (_, Some(0)) => Ok(()),
            (None, _) => Err(Refusal::NotNow(
                format!("the command was ended after {COMMAND_TIMEOUT:?}"),
                None,
            )),
            // So the shell says that there is no such command, or that it may not be run.
            (_, Some(code @ (126 | 127))) => Err(Refusal::Never(format!(
                "the shell cannot run the command (exit code {code}, see above)"
            ))),
            (Some(status), _) => Err(Refusal::NotNow(
                format!("the command ended with {status}"),
                None,
            )),
        }
    }

    fn spawn(&self, given: &Given<'_>) -> io::Result<Child> {
        // A file instead of a pipe: a command that does not read it cannot hold us up.
        let mut input = tempfile::tempfile()?;
        input.write_all(given.line)?;
        input.write_all(b"\n")?;
        input.rewind()?;
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.command])
            .env("FRAMELANE_ALERT_ID", given.id)
            .env("FRAMELANE_SOURCE", given.source)
            .env("FRAMELANE_PICTURE", given.picture)
            .stdin(input)
            // stdout may be that of another sink.
            .stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?))
            .process_group(0);
        command.spawn()
    }
}

/// None if it had to be ended.
fn wait(mut child: Child) -> io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= COMMAND_TIMEOUT {
            if let Ok(group) = i32::try_from(child.id()) {
                // It may have ended just now.
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn write_picture(jpeg: &Bytes) -> io::Result<TempPath> {
    let mut file: NamedTempFile = tempfile::Builder::new()
        .prefix("framelane-")
        .suffix(".jpg")
        .tempfile()?;
    file.write_all(jpeg)?;
    Ok(file.into_temp_path())
}

impl Sink for Exec {
    fn take(&mut self, delivery: &Delivery) -> Result<Flow, SinkError> {
        let Some(alert) = delivery.alert() else {
            return Ok(Flow::GoOn);
        };
        let picture = match delivery.original_jpeg()? {
            Some(jpeg) => jpeg,
            None => delivery.picture_jpeg()?,
        };
        // Removed when the command has ended.
        let picture =
            write_picture(&picture).map_err(SinkError::write(std::env::temp_dir().as_path()))?;
        let (id, line) = (alert.id(), alert.line(delivery));
        let given = Given {
            id: &id,
            source: &alert.frame.source_id,
            line: &line,
            picture: &picture,
        };
        let name = format!("exec {}", self.command);
        self.patience.persist(&name, &id, || self.run(&given))?;
        Ok(Flow::GoOn)
    }
}
