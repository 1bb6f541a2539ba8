//! Bounded waiting for another process, and the bounds.

use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Error;

/// A Kafka that is said to run should answer; a little patience for one that somebody has just started.
pub const GIVEN_LIMIT: Duration = Duration::from_secs(10);
/// A node answers after 3 to 5 s, on a machine that is busy compiling after a minute and more.
pub const START_LIMIT: Duration = Duration::from_secs(180);
/// One step of one probe. Long enough for a node in a garbage collection, short enough to ask again often.
pub const PROBE_STEP_LIMIT: Duration = Duration::from_secs(2);
/// Commands that only ask (`docker info`, `java -version`): an engine that hangs must not hang us.
pub const QUESTION_LIMIT: Duration = Duration::from_secs(20);
/// Downloads (the image: about 400 MB; the jars: 43 MB).
pub const DOWNLOAD_LIMIT: Duration = Duration::from_secs(900);

/// Between two looks at something that cannot tell us when it changes.
const INTERVAL: Duration = Duration::from_millis(50);

/// Asks `look` until it gives something (`Some`), fails, or `limit` is over (`None`).
pub fn until<T, E>(
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if start.elapsed() >= limit {
            return Ok(None);
        }
        thread::sleep(INTERVAL);
    }
}

/// Runs a command to its end and returns what it printed; a command that takes longer than `limit` is killed.
pub fn output(command: &mut Command, limit: Duration) -> Result<Output, Error> {
    let name = command_line(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::io(format!("running {name}")))?;
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid is positive and fits"));
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let (done, finished) = mpsc::channel();
    let watch = thread::spawn(move || {
        // Until `done` is dropped the child is not reaped, so that the pid is still its own.
        if finished.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = kill(pid, Signal::SIGKILL);
            return true;
        }
        false
    });
    // Both pipes close when the command ends (or is killed): only then is it reaped.
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    drop::<mpsc::Sender<()>>(done);
    let killed = watch.join().unwrap_or(false);
    let status = child
        .wait()
        .map_err(Error::io(format!("waiting for {name}")))?;
    if killed {
        return Err(Error::Command {
            command: name,
            stderr: format!("no end after {} s", limit.as_secs()),
        });
    }
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

/// [`output`], and a status other than 0 is an error that carries the last line of what the command complained about.
pub fn success(command: &mut Command, limit: Duration) -> Result<String, Error> {
    let output = output(command, limit)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let text = if output.stderr.is_empty() {
        output.stdout
    } else {
        output.stderr
    };
    let text = String::from_utf8_lossy(&text);
    let complaint = text
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or("no word why")
        .to_owned();
    Err(Error::Command {
        command: command_line(command),
        stderr: complaint,
    })
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is still the best there is to show.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// The command and its first argument: enough to recognise it, without a screenful of settings.
fn command_line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    if let Some(first) = command.get_args().next() {
        line.push(' ');
        line.push_str(&first.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_killed_and_named() {
        let started = Instant::now();
        let error =
            output(Command::new("sleep").arg("60"), Duration::from_millis(100)).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(30));
        assert!(
            error
                .to_string()
                .starts_with("sleep 60 failed: no end after"),
            "{error}"
        );
    }

    #[test]
    fn a_command_that_refuses_is_quoted() {
        let error = success(
            Command::new("sh").args(["-c", "echo first; echo why >&2; exit 3"]),
            QUESTION_LIMIT,
        );
        assert_eq!(error.unwrap_err().to_string(), "sh -c failed: why");
    }

    #[test]
    fn waiting_ends_at_the_limit() {
        let found = until::<(), Error>(Duration::from_millis(10), || Ok(None)).unwrap();
        assert_eq!(found, None);
    }
}
