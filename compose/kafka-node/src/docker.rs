//! A node in a container of Apache's image, driven through the `docker` command: it knows contexts, sockets and
//! credentials, and whoever has an engine has it.

use std::process::{Command, Stdio};

use crate::error::Error;
use crate::leash::Leash;
use crate::options::Options;
use crate::settings::{CONTROLLER, FIRST_NODE, Listener};
use crate::{KAFKA_VERSION, ports, probe, settings, wait};

/// Finds what a crash left behind: `docker ps -a --filter label=framelane.kafka-node`.
const LABEL: &str = "framelane.kafka-node";

/// The container's port for clients; `INTERNAL` is how the node reaches itself (transaction markers), since what it
/// advertises to clients is a port of the host.
const CLIENT_PORT: u16 = 9092;
const INTERNAL: &str = "localhost:19092";
const CONTROLLER_ADDRESS: &str = "localhost:9093";

/// A port that was free may be taken before the engine binds it: then another one is tried.
const START_ATTEMPTS: usize = 3;

#[derive(Debug)]
pub struct DockerNode {
    port: u16,
    container: Container,
}

/// Removed, with its data, when dropped or when we die; unless it is to be left.
#[derive(Debug)]
struct Container {
    id: String,
    /// None: left running.
    leash: Option<Leash>,
}

impl DockerNode {
    pub fn start(options: &Options) -> Result<Self, Error> {
        if let Some(option) = options.for_jars_only() {
            return Err(unavailable(format!(
                "{option} is for a Kafka from its jars"
            )));
        }
        require_engine()?;
        require_image(options)?;
        let mut attempt = 1;
        loop {
            let [port] = ports::free()?;
            match create(port, options.heap_mib) {
                Err(Error::Command { stderr, .. })
                    if is_port_taken(&stderr) && attempt < START_ATTEMPTS =>
                {
                    attempt += 1
                }
                Err(error) => return Err(error),
                Ok(container) => {
                    let node = Self { port, container };
                    node.wait_ready()?;
                    return Ok(node);
                }
            }
        }
    }

    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn short_id(&self) -> &str {
        self.container.id.get(..12).unwrap_or(&self.container.id)
    }

    pub fn kill(&mut self) -> Result<(), Error> {
        if self.is_running()? {
            self.docker(&["kill", "--signal", "KILL"])
        } else {
            Ok(())
        }
    }

    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill()?;
        // `start` refuses a container whose end the engine has not noticed yet.
        self.docker(&["wait"])?;
        self.docker(&["start"])?;
        self.wait_ready()
    }

    pub fn pause(&mut self) -> Result<(), Error> {
        self.docker(&["pause"])
    }

    pub fn resume(&mut self) -> Result<(), Error> {
        self.docker(&["unpause"])
    }

    pub fn leave_running(mut self) -> String {
        self.container.leash = None;
        format!(
            "Kafka at {} goes on; `docker rm -f -v {}` stops it and removes its data",
            self.bootstrap_servers(),
            self.short_id()
        )
    }

    fn docker(&self, arguments: &[&str]) -> Result<(), Error> {
        let mut command = Command::new("docker");
        command.args(arguments).arg(&self.container.id);
        wait::success(&mut command, wait::START_LIMIT).map(drop)
    }

    fn is_running(&self) -> Result<bool, Error> {
        let mut inspect = Command::new("docker");
        inspect.args([
            "inspect",
            "--format",
            "{{.State.Running}}",
            &self.container.id,
        ]);
        wait::success(&mut inspect, wait::QUESTION_LIMIT).map(|said| said == "true")
    }

    fn wait_ready(&self) -> Result<(), Error> {
        let address = self.bootstrap_servers();
        let mut reason = String::new();
        let ready = wait::until(wait::START_LIMIT, || {
            match probe(&address, wait::PROBE_STEP_LIMIT) {
                Ok(()) => return Ok(Some(())),
                Err(error) => reason = error.to_string(),
            }
            if self.is_running()? {
                Ok(None)
            } else {
                Err(self.start_error("its container ended".to_owned()))
            }
        })?;
        ready.ok_or_else(|| {
            let limit_s = wait::START_LIMIT.as_secs();
            self.start_error(format!(
                "no answer at {address} after {limit_s} s: {reason}"
            ))
        })
    }

    fn start_error(&self, reason: String) -> Error {
        let mut logs = Command::new("docker");
        logs.args(["logs", "--tail", "20", &self.container.id]);
        let log_tail = match wait::output(&mut logs, wait::QUESTION_LIMIT) {
            Ok(output) => {
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
            }
            Err(error) => format!("({error})"),
        };
        Error::Start { reason, log_tail }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.leash.is_some() {
            remove(&self.id);
        }
    }
}

/// Nothing better can be done if this fails; the label says whose the container is.
fn remove(id: &str) {
    let _ = wait::success(
        Command::new("docker").args(["rm", "-f", "-v", id]),
        wait::START_LIMIT,
    );
}

fn require_engine() -> Result<(), Error> {
    let mut info = Command::new("docker");
    info.args(["info", "--format", "{{.ServerVersion}}"]);
    wait::success(&mut info, wait::QUESTION_LIMIT)
        .map(drop)
        .map_err(|error| match error {
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                unavailable("no docker command on this machine".to_owned())
            }
            error => unavailable(format!("the engine does not answer: {error}")),
        })
}

fn require_image(options: &Options) -> Result<(), Error> {
    let image = image();
    let mut inspect = Command::new("docker");
    inspect.args(["image", "inspect", "--format", "{{.Id}}", &image]);
    if wait::success(&mut inspect, wait::QUESTION_LIMIT).is_ok() {
        return Ok(());
    }
    options.say(&format!("pulling the image {image} (about 400 MB, once)"));
    let mut pull = Command::new("docker");
    pull.args(["pull", "--quiet", &image]);
    wait::success(&mut pull, wait::DOWNLOAD_LIMIT)
        .map(drop)
        .map_err(|error| {
            unavailable(format!(
                "the engine answers, but the image {image} cannot be had: {error}"
            ))
        })
}

fn image() -> String {
    format!("apache/kafka:{KAFKA_VERSION}")
}

/// A container of its own data: without `--rm`, so that a killed one can be started again.
fn create(port: u16, heap_mib: u32) -> Result<Container, Error> {
    let listeners = [
        Listener {
            name: "CLIENT".to_owned(),
            bind: format!("0.0.0.0:{CLIENT_PORT}"),
            advertised: Some(format!("127.0.0.1:{port}")),
        },
        Listener {
            name: "INTERNAL".to_owned(),
            bind: INTERNAL.to_owned(),
            advertised: Some(INTERNAL.to_owned()),
        },
        Listener {
            name: CONTROLLER.to_owned(),
            bind: CONTROLLER_ADDRESS.to_owned(),
            advertised: None,
        },
    ];
    let mut create = Command::new("docker");
    create.args([
        "create",
        "--label",
        LABEL,
        "--publish",
        &format!("127.0.0.1:{port}:{CLIENT_PORT}"),
    ]);
    let voters = format!("{FIRST_NODE}@{CONTROLLER_ADDRESS}");
    for (key, value) in settings::node(FIRST_NODE, &listeners, "INTERNAL", &voters) {
        create.args(["--env", &format!("{}={value}", settings::variable(key))]);
    }
    create.args([
        "--env",
        &format!("KAFKA_HEAP_OPTS=-Xms{}m -Xmx{heap_mib}m", heap_mib / 2),
        &image(),
    ]);
    let id = wait::success(&mut create, wait::START_LIMIT)?;
    // Created before it is started: whatever happens from here on, it is removed.
    let leash = Leash::new(&["docker", "rm", "-f", "-v", &id]).map_err(|error| {
        remove(&id);
        Error::io("starting the shell that watches over Kafka's container")(error)
    })?;
    let container = Container {
        id,
        leash: Some(leash),
    };
    let mut start = Command::new("docker");
    start.args(["start", &container.id]).stdin(Stdio::null());
    wait::success(&mut start, wait::START_LIMIT)?;
    Ok(container)
}

fn is_port_taken(complaint: &str) -> bool {
    complaint.contains("port is already allocated") || complaint.contains("address already in use")
}

fn unavailable(reason: String) -> Error {
    Error::Unavailable {
        way: "Docker",
        reason,
    }
}
