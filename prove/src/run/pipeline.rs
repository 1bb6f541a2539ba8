//! The pipeline under test: which processes there are, and how each is started.

use super::crew::{Crew, Ends, Job};
use super::world::World;
use crate::plan::{Content, Membership, Plan, Seat};
use crate::processor::DEADLINE;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Two attempts are misbehaved on purpose, two more may be lost to faults from outside, and one is to spare.
pub const ATTEMPTS: u32 = 5;

pub const PUBLISHER: &str = "publisher";
pub const CONSUMER: &str = "consumer";

/// Names in Kafka and files of one run.
#[derive(Debug, Clone)]
pub struct Names {
    /// What all topics and groups of the run begin with.
    pub prefix: String,
    pub folder: PathBuf,
}

impl Names {
    pub fn input(&self) -> String {
        format!("{}.in", self.prefix)
    }

    pub fn output(&self, stage: usize) -> String {
        format!("{}.{stage}", self.prefix)
    }

    pub fn dead(&self, stage: usize) -> String {
        format!("{}.{stage}.dead", self.prefix)
    }

    /// What a stage reads.
    pub fn read_by(&self, stage: usize) -> String {
        match stage.checked_sub(1) {
            None => self.input(),
            Some(before) => self.output(before),
        }
    }

    pub fn group(&self, stage: usize) -> String {
        format!("{}.group{stage}", self.prefix)
    }

    pub fn consumer_group(&self) -> String {
        format!("{}.live", self.prefix)
    }

    pub fn plan(&self) -> PathBuf {
        self.folder.join("plan.json")
    }

    pub fn publish_ledger(&self) -> PathBuf {
        self.folder.join("publish.jsonl")
    }

    pub fn seen_ledger(&self) -> PathBuf {
        self.folder.join("seen.jsonl")
    }

    pub fn live(&self) -> PathBuf {
        self.folder.join("live.jsonl")
    }

    /// All topics of a plan.
    pub fn topics(&self, plan: &Plan) -> Vec<String> {
        let stages = 0..plan.stages.len();
        let outputs = stages.flat_map(|stage| [self.output(stage), self.dead(stage)]);
        std::iter::once(self.input()).chain(outputs).collect()
    }
}

pub fn broker_name(seat: Seat) -> String {
    format!("broker-{}.{}", seat.stage, seat.broker)
}

pub fn processor_name(stage: usize, replica: usize) -> String {
    format!("processor-{stage}.{replica}")
}

/// Starts everything but the publisher, in the order of need.
pub fn start(
    plan: &Plan,
    names: &Names,
    world: &World,
    crew: &Crew,
    binaries: &Path,
) -> Result<()> {
    let client = world.client();
    for topic in names.topics(plan) {
        client.create_topic(&topic, plan.workload.partitions)?;
    }
    for stage in 0..plan.stages.len() {
        let urls = start_processors(plan, stage, names, crew)?;
        for broker in 0..plan.stages[stage].brokers {
            let seat = Seat { stage, broker };
            let job = Job {
                program: binaries.join("broker"),
                args: broker_args(plan, seat, names, world, &urls),
                lives: None,
                ends: Ends::Never,
            };
            crew.add(&broker_name(seat), job)?;
        }
    }
    let job = Job {
        program: binaries.join("consumer"),
        args: consumer_args(plan, names, world.servers()),
        lives: None,
        ends: Ends::Never,
    };
    crew.add(CONSUMER, job)
}

/// Starts the publisher.
pub fn publish(names: &Names, world: &World, crew: &Crew, begin_unix_ns: i64) -> Result<()> {
    let args = [
        "publish".to_owned(),
        format!("--plan={}", names.plan().display()),
        format!("--servers={}", world.servers()),
        format!("--topic={}", names.input()),
        format!("--ledger={}", names.publish_ledger().display()),
        format!("--begin-unix-ns={begin_unix_ns}"),
    ];
    let job = Job {
        program: ourselves()?,
        args: args.into(),
        lives: Some("--lives-before"),
        ends: Ends::AnyWay,
    };
    crew.add(PUBLISHER, job)
}

fn ourselves() -> Result<PathBuf> {
    std::env::current_exe().context("the path of this program")
}

/// Replicas keep their ports when they are started again. Returns their addresses.
fn start_processors(plan: &Plan, stage: usize, names: &Names, crew: &Crew) -> Result<Vec<String>> {
    let mut urls = Vec::new();
    for replica in 0..plan.stages[stage].replicas {
        let [port] = kafka_node::free_ports()?;
        let listen = format!("127.0.0.1:{port}");
        let args = [
            "processor".to_owned(),
            format!("--plan={}", names.plan().display()),
            format!("--stage={stage}"),
            format!("--replica={replica}"),
            format!("--listen={listen}"),
            format!("--ledger={}", names.seen_ledger().display()),
        ];
        let job = Job {
            program: ourselves()?,
            args: args.into(),
            lives: None,
            ends: Ends::ByAbort,
        };
        crew.add(&processor_name(stage, replica), job)?;
        urls.push(format!("http://{listen}"));
    }
    Ok(urls)
}

fn broker_args(
    plan: &Plan,
    seat: Seat,
    names: &Names,
    world: &World,
    urls: &[String],
) -> Vec<String> {
    let stage = &plan.stages[seat.stage];
    let content = match stage.content {
        Content::Inline => "inline",
        Content::Reference => "reference",
    };
    let membership = match stage.membership {
        Membership::Static => "static",
        Membership::Dynamic => "dynamic",
    };
    let mut args = vec![
        format!("--bootstrap-servers={}", world.servers_for(seat)),
        format!("--input={}", names.read_by(seat.stage)),
        format!("--output={}", names.output(seat.stage)),
        format!("--dead-letter={}", names.dead(seat.stage)),
        "--on-failure=dead-letter".to_owned(),
        format!("--group={}", names.group(seat.stage)),
        format!("--instance={}-{}", names.group(seat.stage), seat.broker),
        format!("--membership={membership}"),
        format!("--content={content}"),
        format!("--in-flight={}", stage.in_flight),
        format!("--window={}", stage.window),
        format!("--attempts={ATTEMPTS}"),
        format!("--deadline={}ms", DEADLINE.as_millis()),
        "--backoff=20ms".to_owned(),
    ];
    args.extend(urls.iter().map(|url| format!("--processor={url}")));
    args
}

fn consumer_args(plan: &Plan, names: &Names, servers: &str) -> Vec<String> {
    let last = plan.stages.len() - 1;
    vec![
        format!("--bootstrap-servers={servers}"),
        format!("--topic={}", names.output(last)),
        format!("--group={}", names.consumer_group()),
        format!("--instance={}", names.consumer_group()),
        "--from=earliest".to_owned(),
        format!("--sink=jsonl:{}", names.live().display()),
    ]
}

/// A reader of everything that is there, into a file of its own.
pub fn replay_args(plan: &Plan, names: &Names, servers: &str, file: &Path) -> Vec<String> {
    let last = plan.stages.len() - 1;
    vec![
        format!("--bootstrap-servers={servers}"),
        format!("--topic={}", names.output(last)),
        "--from=earliest".to_owned(),
        "--until=end".to_owned(),
        format!("--sink=jsonl:{}", file.display()),
    ]
}
