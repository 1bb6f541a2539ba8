//! The services of the demo, as command lines that a person could type.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kafka_node::Kafka;

use super::record::{self, Record};
use super::scrape;
use super::service::Service;

/// Both together take a few frames at once, and one can die.
const PROCESSORS: usize = 2;
/// From the start of a service to the first sign of life. Opening a camera takes longest.
const START_LIMIT: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Reading a topic back takes a second or two; this bounds a service that hangs.
const READ_BACK_LIMIT: Duration = Duration::from_secs(120);

/// Where the pictures come from.
#[derive(Debug)]
pub enum Source {
    Camera(u32),
    File(PathBuf),
    FileAgainAndAgain(PathBuf),
}

/// Everything that runs. What still runs when this is dropped is killed.
#[derive(Debug)]
pub struct Pipeline {
    binaries: PathBuf,
    kafka: String,
    folder: PathBuf,
    topic: String,
    metrics: Metrics,
    processor_addresses: Vec<String>,
    pub processors: Vec<Service>,
    pub producer: Service,
    pub broker: Service,
    pub consumer: Service,
}

/// Where the services tell their numbers.
#[derive(Debug, Clone, Copy)]
struct Metrics {
    producer: SocketAddr,
    broker: SocketAddr,
    processors: [SocketAddr; PROCESSORS],
}

/// How a binary is started, before there is a pipeline.
struct Launcher<'a> {
    binaries: &'a Path,
    kafka: &'a str,
    logs: PathBuf,
}

impl Launcher<'_> {
    fn command(&self, binary: &str) -> Command {
        Command::new(self.binaries.join(binary))
    }

    /// For those that speak to Kafka.
    fn client(&self, binary: &str) -> Command {
        let mut command = self.command(binary);
        command.args(["--bootstrap-servers", self.kafka]);
        command
    }

    fn processor(&self, number: usize, metrics: SocketAddr, port_file: &Path) -> Result<Service> {
        let mut command = self.command("processor");
        command
            .args(["people", "--listen", "127.0.0.1:0", "--port-file"])
            .arg(port_file);
        command.args(["--metrics", &metrics.to_string()]);
        Service::start(&format!("processor-{number}"), &mut command, &self.logs)
    }

    fn producer(&self, topic: &str, metrics: SocketAddr, source: &Source) -> Result<Service> {
        let mut command = self.client("producer");
        command.args(["--topic", topic, "--metrics", &metrics.to_string()]);
        match source {
            Source::Camera(index) => command.args(["--camera", &index.to_string()]),
            Source::File(path) => command.arg("--file").arg(path),
            Source::FileAgainAndAgain(path) => command.arg("--loop").arg("--file").arg(path),
        };
        Service::start("producer", &mut command, &self.logs)
    }

    fn broker(&self, topic: &str, processors: &[String], metrics: SocketAddr) -> Result<Service> {
        let mut command = self.client("broker");
        command.args([
            "--input",
            topic,
            "--output",
            &output_topic(topic),
            "--group",
            topic,
        ]);
        command.args(["--metrics", &metrics.to_string()]);
        for address in processors {
            command.args(["--processor", &format!("http://{address}")]);
        }
        Service::start("broker", &mut command, &self.logs)
    }

    fn consumer(&self, topic: &str, folder: &Path) -> Result<Service> {
        let mut command = self.client("consumer");
        command.args([
            "--topic",
            &output_topic(topic),
            "--from",
            "earliest",
            "--until",
            "eos",
        ]);
        let sinks = [
            ("video", "people.mp4"),
            ("jpeg", "stills"),
            ("jsonl", RESULTS),
            ("stats", STATISTICS),
        ];
        for (kind, name) in sinks {
            command.args(["--sink", &format!("{kind}:{}", folder.join(name).display())]);
        }
        command.arg("--overlay");
        Service::start("consumer", &mut command, &self.logs)
    }
}

const RESULTS: &str = "results.jsonl";
const STATISTICS: &str = "stats.json";

fn output_topic(topic: &str) -> String {
    format!("{topic}.people")
}

impl Pipeline {
    /// Starts the services from the right to the left, so that the first frame finds everything ready. The input topic is
    /// made here, because the broker wants to see it, and the producer that would make it comes last.
    pub fn start(binaries: PathBuf, kafka: &Kafka, folder: &Path, source: &Source) -> Result<Self> {
        let logs = folder.join("logs");
        let launcher = Launcher {
            binaries: &binaries,
            kafka: kafka.bootstrap_servers(),
            logs: logs.clone(),
        };
        let topic = fresh_topic();
        let [producer, broker, first, second] = kafka_node::free_ports()?.map(local);
        let metrics = Metrics {
            producer,
            broker,
            processors: [first, second],
        };

        kafka.create_topic(&topic)?;
        let (processors, processor_addresses) = start_processors(&launcher, &metrics.processors)?;
        let mut broker = launcher.broker(&topic, &processor_addresses, metrics.broker)?;
        wait_for("its first partition", &mut broker, || {
            scrape::has(metrics.broker, "framelane_broker_window_slots").then_some(())
        })?;
        let consumer = launcher.consumer(&topic, folder)?;
        let producer = launcher.producer(&topic, metrics.producer, source)?;
        Ok(Self {
            kafka: kafka.bootstrap_servers().to_owned(),
            folder: folder.to_owned(),
            binaries,
            topic,
            metrics,
            processor_addresses,
            processors,
            producer,
            broker,
            consumer,
        })
    }

    /// Starts a broker in the place of one that is gone.
    pub fn start_broker_again(&mut self) -> Result<()> {
        self.broker =
            self.launcher()
                .broker(&self.topic, &self.processor_addresses, self.metrics.broker)?;
        Ok(())
    }

    /// An error, with the log's tail, if a service has ended that should not have.
    pub fn check(&mut self) -> Result<()> {
        self.processors
            .iter_mut()
            .chain([&mut self.broker])
            .try_for_each(Service::must_run)
    }

    /// Ends what still runs, from the left to the right.
    pub fn stop(&mut self) {
        self.producer.stop();
        self.broker.stop();
        self.processors.iter_mut().for_each(Service::stop);
        self.consumer.stop();
    }

    /// Frames that Kafka has from the producer. None if it does not say (any more).
    pub fn frames_in(&self) -> Option<u64> {
        scrape::sum(self.metrics.producer, "framelane_producer_frames_total")
            .map(|frames| frames as u64)
    }

    /// Calls that the processors have answered, retries included. None if one of them does not say.
    pub fn processor_calls(&self) -> Option<u64> {
        let calls = |address: &SocketAddr| scrape::sum(*address, "framelane_processor_calls_total");
        self.metrics
            .processors
            .iter()
            .map(calls)
            .sum::<Option<f64>>()
            .map(|calls| calls as u64)
    }

    /// What the input topic holds, read by a consumer of its own.
    pub fn read_input_back(&self) -> Result<Vec<Record>> {
        let file = self.folder.join("input.jsonl");
        let mut command = self.launcher().client("consumer");
        command.args([
            "--topic",
            &self.topic,
            "--from",
            "earliest",
            "--until",
            "end",
        ]);
        command.args(["--sink", &format!("jsonl:{}", file.display())]);
        let mut consumer = Service::start("consumer-of-input", &mut command, &self.log_folder())?;
        let deadline = Instant::now() + READ_BACK_LIMIT;
        while !consumer.has_ended()? {
            if Instant::now() >= deadline {
                bail!(
                    "reading {} back takes too long; the consumer's last words:\n{}",
                    self.topic,
                    consumer.log_tail()
                );
            }
            thread::sleep(LOOK_INTERVAL);
        }
        record::read(&file)
    }

    pub fn input_topic(&self) -> &str {
        &self.topic
    }

    pub fn output_topic(&self) -> String {
        output_topic(&self.topic)
    }

    pub fn kafka(&self) -> &str {
        &self.kafka
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn log_folder(&self) -> PathBuf {
        self.folder.join("logs")
    }

    pub fn results_file(&self) -> PathBuf {
        self.folder.join(RESULTS)
    }

    pub fn statistics_file(&self) -> PathBuf {
        self.folder.join(STATISTICS)
    }

    fn launcher(&self) -> Launcher<'_> {
        Launcher {
            binaries: &self.binaries,
            kafka: &self.kafka,
            logs: self.log_folder(),
        }
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// No two demos share a topic, also on a Kafka that keeps what earlier ones wrote.
fn fresh_topic() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!(
        "demo-{:08x}",
        RandomState::new().hash_one(std::process::id()) >> 32
    )
}

/// Starts them together and returns their addresses once they take calls.
fn start_processors(
    launcher: &Launcher<'_>,
    metrics: &[SocketAddr],
) -> Result<(Vec<Service>, Vec<String>)> {
    let port_file = |number: usize| launcher.logs.join(format!("processor-{number}.port"));
    let start = |(number, metrics): (usize, &SocketAddr)| {
        launcher.processor(number, *metrics, &port_file(number))
    };
    let mut processors = metrics
        .iter()
        .enumerate()
        .map(start)
        .collect::<Result<Vec<_>>>()?;
    let ready =
        |(number, processor): (usize, &mut Service)| wait_for_file(&port_file(number), processor);
    let addresses = processors
        .iter_mut()
        .enumerate()
        .map(ready)
        .collect::<Result<_>>()?;
    Ok((processors, addresses))
}

/// The content of a file that a service writes (in one piece) when it is ready.
fn wait_for_file(file: &Path, service: &mut Service) -> Result<String> {
    wait_for("its port", service, || {
        fs::read_to_string(file)
            .ok()
            .map(|text| text.trim().to_owned())
    })
}

fn wait_for<T>(
    what: &str,
    service: &mut Service,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        service
            .must_run()
            .with_context(|| format!("waiting for {what}"))?;
        if Instant::now() >= deadline {
            bail!(
                "no sign of {what} after {} s; its last words:\n{}",
                START_LIMIT.as_secs(),
                service.log_tail()
            );
        }
        thread::sleep(LOOK_INTERVAL);
    }
}
