//! `--local`: a service for this run, which ends with it, however it ends.

use crate::config::{ConfigError, Target};
use anyhow::{Context, bail};
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, ChildStdin, Command};

const PROGRAM: &str = "processor";
/// If nothing was asked for.
const DEFAULT_SCALE: Target = Target::Scale(0.5);
const START_DEADLINE: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// For its last words.
const LAST_LINES: usize = 5;

/// A running service.
#[derive(Debug)]
pub struct Local {
    /// `http://` and its address.
    pub address: std::net::SocketAddr,
    child: Child,
    _leash: Leash,
    /// Its log; removed at the end.
    folder: tempfile::TempDir,
}

impl Local {
    /// Starts it on a free port and waits until it listens.
    pub async fn start(target: Option<Target>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the local service's log")?;
        let port_file = folder.path().join("port");
        let log = std::fs::File::create(folder.path().join("log"))?;
        let program = program();
        let mut command = Command::new(&program);
        command.arg("resize");
        match target.unwrap_or(DEFAULT_SCALE) {
            size @ Target::Size { .. } => command.args(["--size", &size.to_string()]),
            scale @ Target::Scale(_) => command.args(["--scale", &scale.to_string()]),
        };
        command
            .args(["--listen", "127.0.0.1:0", "--port-file"])
            .arg(&port_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for us: frames under way are still to be answered.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|cause| {
            ConfigError(format!(
                "--local: {} cannot be started: {cause}. `cargo xtask install` puts it on the PATH",
                program.display()
            ))
        })?;
        let pid = child.id().context("the local service has no process id")?;
        let leash = Leash::new(pid).context("holding the local service on a leash")?;
        let mut local = Self {
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
            child,
            _leash: leash,
            folder,
        };
        local.address = local.listens(&port_file).await?;
        Ok(local)
    }

    async fn listens(&mut self, port_file: &Path) -> anyhow::Result<std::net::SocketAddr> {
        let look = async {
            loop {
                if let Ok(text) = std::fs::read_to_string(port_file) {
                    return text.trim().parse().context("the local service's address");
                }
                tokio::time::sleep(BETWEEN_LOOKS).await; // between two looks
            }
        };
        let found = tokio::select! {
            found = tokio::time::timeout(START_DEADLINE, look) => found,
            ended = self.child.wait() => bail!("the local service ended with {}:\n{}", ended?, self.last_words()),
        };
        found.unwrap_or_else(|_| {
            bail!(
                "the local service did not listen within {}:\n{}",
                humantime::format_duration(START_DEADLINE),
                self.last_words()
            )
        })
    }

    /// Comes back with an error when the service ends by itself.
    pub async fn must_live(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow::anyhow!(
                "the local service ended with {status}; its last words:\n{}",
                self.last_words()
            ),
            Err(cause) => anyhow::Error::new(cause).context("waiting for the local service"),
        }
    }

    /// Kills it: nothing is under way any more.
    pub async fn stop(mut self) {
        // It may have ended already.
        let _ = self.child.kill().await;
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

/// Beside this program, as Cargo puts both; else from the PATH.
fn program() -> PathBuf {
    env::current_exe()
        .ok()
        .map(|own| own.with_file_name(PROGRAM))
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PROGRAM.into())
}

/// Kills the service if this process dies without a word, by kill -9 too: the pipe closes, and a small shell acts.
#[derive(Debug)]
struct Leash {
    _shell: Child,
    _pipe: ChildStdin,
}

impl Leash {
    fn new(pid: u32) -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args([
                "-c",
                "read -r word; kill -KILL \"$1\"",
                "leash",
                &pid.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Neither Ctrl-C nor a kill of our group may reach it.
            .process_group(0)
            // The regular end: the service is killed before, and its id may be another's by then.
            .kill_on_drop(true)
            .spawn()?;
        let pipe = shell.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            _shell: shell,
            _pipe: pipe,
        })
    }
}
