//! Ends what a process started when that process dies, however it dies.
//!
//! A small shell waits on a pipe that only the owner holds. The owner's death (kill -9 included) closes the pipe, and
//! the shell runs its last command. `PR_SET_PDEATHSIG` would not do: it fires when the *thread* that started the child
//! ends (a test's thread, for one), cannot be taken back, and knows no containers.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Waits for one line; an end without one means that the owner died.
const SCRIPT: &str = r#"read -r word && [ "$word" = release ] && exit 0; "$@" >/dev/null 2>&1"#;

/// Runs a command when the process that holds the leash dies. Dropping it is the regular end: the command does not run.
#[derive(Debug)]
pub struct Leash {
    shell: Child,
    pipe: ChildStdin,
}

impl Leash {
    /// # Errors
    /// There is no `sh`, or no process can be started.
    pub fn new<S: AsRef<std::ffi::OsStr>>(last_command: &[S]) -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "leash"])
            .args(last_command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own: neither Ctrl-C nor a kill of the owner's group may reach it.
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { shell, pipe })
    }

    /// Kills the process `pid` with SIGKILL when the owner dies.
    ///
    /// # Errors
    /// As [`Leash::new`].
    pub fn for_pid(pid: u32) -> io::Result<Self> {
        Self::new(&["kill", "-KILL", &pid.to_string()])
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // If the shell is gone there is nothing to release.
        let _ = self.pipe.write_all(b"release\n");
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The owner is a shell that holds the pipe's other end; its death is what the leash must notice.
    #[test]
    fn the_command_runs_when_the_pipe_closes_without_a_word() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let status = Command::new("sh")
            .args(["-c", SCRIPT, "leash", "touch"])
            .arg(&mark)
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        assert!(mark.exists());
    }

    #[test]
    fn the_command_does_not_run_after_a_release() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        drop(Leash::new(&["touch", mark.to_str().unwrap()]).unwrap());
        assert!(!mark.exists());
    }
}
