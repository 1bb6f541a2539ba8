//! Where benchmarks run: a Kafka, the product's binaries, topics and names that nobody else uses.

mod machine;
mod process;
mod topic;

pub use machine::Machine;
pub use process::{Process, Usage};
pub use topic::Topic;

use anyhow::{Context, Result, ensure};
use kafka_node::{Kafka, Options, Way};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use topic::Topics;

/// Enough for 100 KB frames at the speed of this machine's disk cache.
const KAFKA_HEAP_MIB: u32 = 2048;
/// How long a processor may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Everything that a case needs.
pub struct Lab {
    kafka: Kafka,
    topics: Topics,
    binaries: PathBuf,
    /// Logs, and what programs write.
    folder: TempDir,
    /// Makes names that nobody else has.
    count: Cell<u32>,
    run: String,
}

/// A processor that takes calls.
pub struct ProcessorServer {
    /// `http://HOST:PORT`
    pub url: String,
    _process: Process,
}

impl Lab {
    /// Starts Kafka from its jars unless the environment names one (or `FRAMELANE_KAFKA=docker` another way).
    ///
    /// # Errors
    /// There is no Kafka to be had, or a binary is missing.
    pub fn open(binaries: &Path) -> Result<Self> {
        for binary in ["producer", "broker", "consumer", "processor", "gateway"] {
            let path = binaries.join(binary);
            ensure!(
                path.is_file(),
                "there is no {}: use cargo xtask bench",
                path.display()
            );
        }
        let mut options = Options::from_env()?;
        options.heap_mib = KAFKA_HEAP_MIB;
        if options.way == Way::Any {
            options.way = Way::Jars;
        }
        let kafka = Kafka::find_or_start(&options)?;
        let topics = Topics::connect(kafka.bootstrap_servers())?;
        Ok(Self {
            kafka,
            topics,
            binaries: binaries.to_owned(),
            folder: tempfile::Builder::new()
                .prefix("framelane-bench-")
                .tempdir()
                .context("creating a folder for logs")?,
            count: Cell::new(0),
            run: format!("{:08x}", rand::random::<u32>()),
        })
    }

    /// Kafka's address.
    pub fn servers(&self) -> &str {
        self.kafka.bootstrap_servers()
    }

    /// Where Kafka comes from.
    pub fn kafka(&self) -> String {
        self.kafka.provider()
    }

    /// Where programs may leave files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the product's binaries are.
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// A name for a topic, a group, a log: unlike any other in this Kafka.
    pub fn name(&self, what: &str) -> String {
        self.count.set(self.count.get() + 1);
        format!("bench-{}-{:03}-{what}", self.run, self.count.get())
    }

    /// A new, empty topic.
    ///
    /// # Errors
    /// Kafka does not make it.
    pub fn topic(&self, what: &str, partitions: i32) -> Result<Topic> {
        self.topics.create(&self.name(what), partitions)
    }

    /// Starts one of the product's binaries.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn product<S: AsRef<str>>(&self, binary: &str, args: &[S]) -> Result<Process> {
        self.start(binary, Command::new(self.binaries.join(binary)), args)
    }

    /// Starts one of the baselines of this crate.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn baseline<S: AsRef<str>>(&self, baseline: &str, args: &[S]) -> Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["baseline", baseline]);
        self.start(baseline, command, args)
    }

    /// Starts a program of others, from the PATH or by its path.
    ///
    /// # Errors
    /// It cannot be started: it is to be installed first.
    pub fn foreign<S: AsRef<str>>(&self, program: &str, args: &[S]) -> Result<Process> {
        let name = Path::new(program).file_name();
        let name = name.map_or_else(|| program.to_owned(), |name| name.display().to_string());
        self.start(&name, Command::new(program), args)
            .with_context(|| format!("{program}: install it (apt-get install {program})"))
    }

    fn start<S: AsRef<str>>(
        &self,
        what: &str,
        mut command: Command,
        args: &[S],
    ) -> Result<Process> {
        command
            .args(args.iter().map(AsRef::as_ref))
            .env("KAFKA_BOOTSTRAP_SERVERS", self.servers());
        Process::start(&self.name(what), &mut command, self.folder())
    }

    /// Starts `processor` with these arguments and waits until it listens.
    ///
    /// # Errors
    /// It does not.
    pub fn processor(&self, args: &[&str]) -> Result<ProcessorServer> {
        self.serve(|listen| self.product("processor", &[args, listen].concat()))
    }

    /// Starts the processor that takes the pictures and does nothing with them.
    ///
    /// # Errors
    /// It does not listen.
    pub fn look(&self) -> Result<ProcessorServer> {
        self.look_at_batches(1)
    }

    /// The same, which asks for up to so many frames in a call.
    ///
    /// # Errors
    /// It does not listen.
    pub fn look_at_batches(&self, frames: u32) -> Result<ProcessorServer> {
        let batch = ["--batch", &frames.to_string()];
        self.serve(|listen| self.baseline("look", &[listen, &batch].concat()))
    }

    fn serve(&self, start: impl FnOnce(&[&str]) -> Result<Process>) -> Result<ProcessorServer> {
        let file = self.folder().join(self.name("port"));
        let path = file
            .to_str()
            .context("a temporary folder with an odd name")?;
        let mut process = start(&["--listen", "127.0.0.1:0", "--port-file", path])?;
        let address = wait_for("a processor's port", START_LIMIT, || {
            process.must_run()?;
            Ok(std::fs::read_to_string(&file).ok())
        })?;
        Ok(ProcessorServer {
            url: format!("http://{}", address.trim()),
            _process: process,
        })
    }
}

/// Looks again and again until there is something, for so long at most.
///
/// # Errors
/// The time is over, or the look itself failed.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    const LOOK_INTERVAL: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(
            Instant::now() < deadline,
            "{what}: not there after {} s",
            limit.as_secs()
        );
        std::thread::sleep(LOOK_INTERVAL);
    }
}
