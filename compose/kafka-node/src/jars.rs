//! A node as a process of this machine's Java. Its settings, data and log lie in one temporary folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::error::Error;
use crate::guard::Guard;
use crate::options::Options;
use crate::process::{self, Process, class_path};
use crate::settings::{CONTROLLER, FIRST_NODE, Listener};
use crate::{java, ports, settings, wait};

/// A port that was free may be taken before Kafka binds it: then another one is tried.
const START_ATTEMPTS: usize = 3;

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
    client: String,
    /// Where it listens for those who come through a proxy.
    proxied: Vec<String>,
    /// Its guarded listeners and where they are.
    guarded: Vec<(&'static str, String)>,
    log_file: PathBuf,
}

/// What tells the nodes of a cluster apart.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its own number, and everybody's voters by theirs.
    pub id: usize,
    pub voters: Vec<String>,
    /// The proxies in front of it.
    pub proxies: Vec<String>,
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
        let [controller] = ports::free()?;
        let member = Member {
            id: FIRST_NODE,
            voters: vec![local(controller)],
            proxies: options.proxies.clone(),
        };
        let mut node = Self::prepare(options, java, jars, member)?;
        node.restart()?;
        Ok(node)
    }

    /// A node that is formatted, but not started yet.
    pub fn prepare(
        options: &Options,
        java: PathBuf,
        jars: PathBuf,
        member: Member,
    ) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("framelane-kafka-")
            .tempdir()
            .map_err(Error::io("creating a temporary folder for Kafka's data"))?;
        let doors = options.guard.iter().flat_map(|guard| &guard.listeners);
        let mut ports = ports::free_list(1 + member.proxies.len() + doors.clone().count())?
            .into_iter()
            .map(local);
        let client = ports.next().expect("one for the clients");
        let proxied: Vec<String> = ports.by_ref().take(member.proxies.len()).collect();
        let guarded: Vec<_> = doors.map(|door| door.name).zip(ports).collect();
        let data = options
            .data
            .clone()
            .unwrap_or_else(|| folder.path().join("data"));
        let listeners = listeners(&client, &proxied, &guarded, &member);
        write_settings(
            folder.path(),
            &data,
            &listeners,
            &member,
            options.guard.as_ref(),
        )?;
        format_storage(&java, &jars, folder.path(), options.guard.as_ref())?;
        let log_file = folder.path().join("kafka.log");
        Ok(Self {
            process: None,
            folder,
            java,
            jars,
            heap_mib: options.heap_mib,
            client,
            proxied,
            guarded,
            log_file,
        })
    }

    pub fn bootstrap_servers(&self) -> String {
        self.client.clone()
    }

    /// Where the proxies are to connect to, in the order in which they were given.
    pub fn proxied(&self) -> &[String] {
        &self.proxied
    }

    /// Where a guarded listener is.
    pub fn guarded(&self, name: &str) -> Option<&str> {
        let found = self.guarded.iter().find(|(known, _)| *known == name);
        found.map(|(_, address)| address.as_str())
    }

    /// None while it is killed.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    pub fn log_file(&self) -> &Path {
        &self.log_file
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn restart(&mut self) -> Result<(), Error> {
        self.spawn()?;
        self.wait_ready()
    }

    pub fn pause(&mut self) -> Result<(), Error> {
        self.running("freezing Kafka")?.freeze()
    }

    pub fn resume(&mut self) -> Result<(), Error> {
        self.running("waking Kafka")?.wake()
    }

    fn running(&mut self, to_do: &str) -> Result<&mut Process, Error> {
        let killed = || Error::io(to_do)(io::Error::other("it is killed"));
        self.process.as_mut().ok_or_else(killed)
    }

    pub fn leave_running(mut self) -> String {
        let address = self.bootstrap_servers();
        let Some(process) = self.process.take() else {
            return format!("Kafka at {address} was killed and is not left running");
        };
        let pid = process.leave();
        let folder = self.folder.keep();
        format!(
            "Kafka at {address} goes on; `kill {pid}` stops it, its data is in {}",
            folder.display()
        )
    }

    /// Starts the process, after the end of the one before.
    pub fn spawn(&mut self) -> Result<(), Error> {
        self.kill();
        self.process = Some(Process::spawn(
            &self.java,
            &self.jars,
            self.heap_mib,
            self.folder.path(),
            &self.log_file,
        )?);
        Ok(())
    }

    /// Returns once it answers; a process that does not is ended.
    pub fn wait_ready(&mut self) -> Result<(), Error> {
        let address = self.bootstrap_servers();
        let ready = match &mut self.process {
            Some(process) => process.wait_ready(&address),
            None => Err("it is killed".to_owned()),
        };
        ready.map_err(|reason| {
            self.kill();
            Error::Start {
                reason,
                log_tail: process::log_tail(&self.log_file),
            }
        })
    }
}

/// All that the node listens on; guarded listeners are plain ones until [`Guard::complete`].
fn listeners(
    client: &str,
    proxied: &[String],
    guarded: &[(&str, String)],
    member: &Member,
) -> Vec<Listener> {
    let listener = |name: String, bind: &str, advertised: Option<&str>| Listener {
        name,
        bind: bind.to_owned(),
        advertised: advertised.map(str::to_owned),
    };
    let own_voter = &member.voters[member.id - FIRST_NODE];
    let mut listeners = vec![
        listener("CLIENT".to_owned(), client, Some(client)),
        listener(CONTROLLER.to_owned(), own_voter, None),
    ];
    for (at, (bind, advertised)) in proxied.iter().zip(&member.proxies).enumerate() {
        listeners.push(listener(format!("PROXY{at}"), bind, Some(advertised)));
    }
    for (name, address) in guarded {
        listeners.push(listener(name.to_uppercase(), address, Some(address)));
    }
    listeners
}

fn write_settings(
    folder: &Path,
    data: &Path,
    listeners: &[Listener],
    member: &Member,
    guard: Option<&Guard>,
) -> Result<(), Error> {
    let numbered = member.voters.iter().zip(FIRST_NODE..);
    let voters: Vec<String> = numbered
        .map(|(voter, id)| format!("{id}@{voter}"))
        .collect();
    let mut settings = settings::node(member.id, listeners, "CLIENT", &voters.join(","));
    if member.voters.len() > 1 {
        settings.retain(|(key, _)| !settings::COPIES.iter().any(|(copied, _)| copied == key));
        settings.extend(
            settings::COPIES
                .iter()
                .map(|(key, value)| (*key, (*value).to_owned())),
        );
    }
    let named = settings
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));
    let mut settings: Vec<(String, String)> = named.collect();
    if let Some(guard) = guard {
        guard.complete(&mut settings);
    }
    let mut properties = format!("log.dirs={}\n", data.display());
    for (key, value) in settings {
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

/// An address of this machine.
pub fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn format_storage(
    java: &Path,
    jars: &Path,
    folder: &Path,
    guard: Option<&Guard>,
) -> Result<(), Error> {
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
    format.args(guard.map(Guard::format_arguments).unwrap_or_default());
    wait::success(&mut format, wait::START_LIMIT).map(drop)
}
