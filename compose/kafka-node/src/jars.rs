//! A node as a process of this machine's Java. Its settings, data and log lie in one temporary folder.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::error::Error;
use crate::leash::Leash;
use crate::options::Options;
use crate::settings::{CONTROLLER, Listener};
use crate::{java, ports, probe, settings, wait};

/// A port that was free may be taken before Kafka binds it: then another one is tried.
const START_ATTEMPTS: usize = 3;

/// Lines of the log that a failed start shows.
const LOG_TAIL_LINES: usize = 20;

/// Names the throwaway cluster; any 16 bytes in base64 will do.
const CLUSTER_ID: &str = "RnJhbWVsYW5lLWthZmthIQ";

/// Warnings and the milestones of a start; Kafka prints its 500 lines of configuration at INFO elsewhere.
const LOG4J: &str = "\
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
logger.server.name=kafka.server
logger.server.level=INFO
";

#[derive(Debug)]
pub struct JarsNode {
    /// None between a kill and a restart. Before `folder`, so that it ends before its data goes.
    process: Option<Process>,
    /// Settings, log and data; removed with the node.
    folder: TempDir,
    java: PathBuf,
    jars: PathBuf,
    heap_mib: u32,
    client_port: u16,
    log_file: PathBuf,
}

/// The node's Java, with the leash that ends it when we die. Killed when dropped, unless it is to be left.
#[derive(Debug)]
struct Process {
    child: Child,
    _leash: Leash,
    on_drop: OnDrop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDrop {
    Kill,
    Leave,
}

impl JarsNode {
    pub fn start(options: &Options) -> Result<Self, Error> {
        let java = java::find()?;
        let jars = java::kafka_jars(options)?;
        let mut attempt = 1;
        loop {
            match Self::start_once(options, java.clone(), jars.clone()) {
                Err(Error::Start { log_tail, .. })
                    if log_tail.contains("BindException") && attempt < START_ATTEMPTS =>
                {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    fn start_once(options: &Options, java: PathBuf, jars: PathBuf) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("framelane-kafka-")
            .tempdir()
            .map_err(Error::io("creating a temporary folder for Kafka's data"))?;
        let [client_port, controller_port] = ports::free()?;
        write_settings(folder.path(), client_port, controller_port)?;
        format_storage(&java, &jars, folder.path())?;
        let log_file = folder.path().join("kafka.log");
        let mut node = Self {
            process: None,
            folder,
            java,
            jars,
            heap_mib: options.heap_mib,
            client_port,
            log_file,
        };
        node.run()?;
        Ok(node)
    }

    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// None while it is killed.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    pub fn log_file(&self) -> &Path {
        &self.log_file
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill();
        self.run()
    }

    pub fn pause(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGSTOP)
    }

    pub fn resume(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        let what = || format!("sending {signal} to Kafka");
        let child = self.process.as_mut().map(|process| &mut process.child);
        let child = child.ok_or_else(|| Error::io(what())(io::Error::other("it is killed")))?;
        // While it has not been waited for, the pid cannot belong to another process.
        if let Some(status) = child.try_wait().map_err(Error::io(what()))? {
            return Err(Error::io(what())(io::Error::other(format!(
                "it has ended ({status})"
            ))));
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid is positive and fits"));
        signal::kill(pid, signal)
            .map_err(io::Error::from)
            .map_err(Error::io(what()))
    }

    pub fn leave_running(mut self) -> String {
        let address = self.bootstrap_servers();
        let Some(mut process) = self.process.take() else {
            return format!("Kafka at {address} was killed and is not left running");
        };
        process.on_drop = OnDrop::Leave;
        let folder = self.folder.keep();
        format!(
            "Kafka at {address} goes on; `kill {}` stops it, its data is in {}",
            process.child.id(),
            folder.display()
        )
    }

    /// Starts the process and returns once it answers; one that does not is ended.
    fn run(&mut self) -> Result<(), Error> {
        let mut process = spawn(
            &self.java,
            &self.jars,
            self.heap_mib,
            self.folder.path(),
            &self.log_file,
        )?;
        wait_ready(&mut process.child, &self.bootstrap_servers()).map_err(|reason| {
            Error::Start {
                reason,
                log_tail: log_tail(&self.log_file),
            }
        })?;
        self.process = Some(process);
        Ok(())
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

/// The error is the reason why there was no answer.
fn wait_ready(child: &mut Child, address: &str) -> Result<(), String> {
    let mut reason = String::new();
    let ready = wait::until(wait::START_LIMIT, || match child.try_wait() {
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

fn write_settings(folder: &Path, client_port: u16, controller_port: u16) -> Result<(), Error> {
    let client = format!("127.0.0.1:{client_port}");
    let controller = format!("127.0.0.1:{controller_port}");
    let listeners = [
        Listener {
            name: "CLIENT",
            bind: client.clone(),
            advertised: Some(client),
        },
        Listener {
            name: CONTROLLER,
            bind: controller.clone(),
            advertised: None,
        },
    ];
    let mut properties = format!("log.dirs={}\n", folder.join("data").display());
    for (key, value) in settings::node(&listeners, "CLIENT", &controller) {
        properties.push_str(&format!("{key}={value}\n"));
    }
    for (name, text) in [
        ("server.properties", properties.as_str()),
        ("log4j2.properties", LOG4J),
    ] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))?;
    }
    Ok(())
}

fn class_path(jars: &Path) -> String {
    format!("{}/*", jars.display())
}

fn format_storage(java: &Path, jars: &Path, folder: &Path) -> Result<(), Error> {
    let mut format = Command::new(java);
    // Half a second of work: the heavier compilers and collectors would only warm up.
    format.args([
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xmx128m",
        "-cp",
        &class_path(jars),
    ]);
    format.args([
        "kafka.tools.StorageTool",
        "format",
        "--cluster-id",
        CLUSTER_ID,
        "--config",
    ]);
    format.arg(folder.join("server.properties"));
    wait::success(&mut format, wait::START_LIMIT).map(drop)
}

/// Frames are large and short-lived: G1 with short pauses and an early cycle copies about twice as many of them a second
/// as Java's defaults do.
fn spawn(
    java: &Path,
    jars: &Path,
    heap_mib: u32,
    folder: &Path,
    log_file: &Path,
) -> Result<Process, Error> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_file)
        .map_err(Error::io(format!("opening {}", log_file.display())))?;
    let errors = log
        .try_clone()
        .map_err(Error::io(format!("opening {}", log_file.display())))?;
    let mut child = Command::new(java)
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
        Ok(leash) => Ok(Process {
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

fn log_tail(log_file: &Path) -> String {
    match fs::read(log_file) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
        }
        Err(error) => format!("({}: {error})", log_file.display()),
    }
}
