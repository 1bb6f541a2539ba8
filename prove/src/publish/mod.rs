//! The publisher: a process of its own that writes down what it is about to send, sends it, and writes down the answer.
//!
//! It dies by its own hand between a send and its answer where the plan says so; the next one goes on with the next
//! step and a new epoch. It ends in order when its standard input is closed.

mod script;
mod transactions;

use crate::frames::{Item, Studio};
use crate::kafka::Client;
use crate::ledger::{Ledger, Outcome, PublishLine};
use crate::plan::Plan;
use anyhow::{Context, Result, bail};
use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use script::{Script, Step};
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use transactions::Transactions;

pub use script::{step_of, steps_before};

/// Sends without an answer. Beyond it the publisher waits, as a real one does.
const MOST_UNANSWERED: usize = 500;
/// The longest that Kafka may be away; a run's faults take less.
const PATIENCE: Duration = Duration::from_secs(120);

/// One life of the publisher.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The run's plan
    #[arg(long)]
    pub plan: PathBuf,
    /// Addresses of the Kafka nodes
    #[arg(long)]
    pub servers: String,
    /// Where to publish
    #[arg(long)]
    pub topic: String,
    /// Where intents and answers are written down; what is there already says where to go on
    #[arg(long)]
    pub ledger: PathBuf,
    /// How many publishers there were before: the epoch is one more
    #[arg(long)]
    pub lives_before: u64,
    /// The capture time of the first frame, nanoseconds since the Unix epoch
    #[arg(long)]
    pub begin_unix_ns: i64,
}

/// Publishes until the standard input ends, or until it dies as planned.
pub fn run(args: &Args) -> Result<()> {
    let plan = Plan::read(&args.plan)?;
    let before: Vec<PublishLine> = crate::ledger::read(&args.ledger)?;
    let script = Script::new(&plan, args.lives_before + 1, steps_before(&before));
    let ledger = Arc::new(Ledger::open(&args.ledger)?);
    let client = Client::new(&args.servers);
    let mut publisher = Publisher {
        studio: Studio::new(plan.seed, &plan.workload, args.begin_unix_ns),
        sender: Sender::new(&client, Arc::clone(&ledger), &args.topic)?,
        transactions: Transactions::open(&client, ledger, &args.topic)?,
        script,
        interval: Duration::from_secs(1) / u32::try_from(plan.workload.steps_per_s).unwrap_or(100),
        death: plan
            .workload
            .deaths
            .get(args.lives_before as usize)
            .copied(),
        last_step: plan.workload.steps.saturating_mul(8),
    };
    let ended = end_of_input()?;
    publisher.run(&ended)
}

/// Set when whoever started this process closes its standard input, or is gone.
fn end_of_input() -> Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    let sets = Arc::clone(&ended);
    std::thread::Builder::new()
        .name("standard input".to_owned())
        .spawn(move || {
            let mut rest = Vec::new();
            // An error ends the input as well.
            drop(std::io::stdin().read_to_end(&mut rest));
            sets.store(true, Ordering::Release);
        })
        .context("watching the standard input")?;
    Ok(ended)
}

struct Publisher {
    studio: Studio,
    sender: Sender,
    transactions: Transactions,
    script: Script,
    interval: Duration,
    /// The step at which this life ends.
    death: Option<u64>,
    /// However long the faults of a run take: its data has an end.
    last_step: u64,
}

impl Publisher {
    fn run(&mut self, ended: &AtomicBool) -> Result<()> {
        let start = Instant::now();
        let first = self.script.step();
        while !ended.load(Ordering::Acquire) {
            let steps = u32::try_from(self.script.step() - first).unwrap_or(u32::MAX);
            self.sender.serve_until(start + self.interval * steps)?;
            if self.script.step() < self.last_step {
                self.take_step()?;
            } else {
                self.sender.serve_until(Instant::now() + self.interval)?;
            }
        }
        for (number, partition, item) in self.script.ends() {
            self.send(number, partition, &item)?;
        }
        self.sender.finish()
    }

    fn take_step(&mut self) -> Result<()> {
        if self.death.is_some_and(|death| self.script.step() >= death) {
            return self.die();
        }
        match self.script.next() {
            Step::Send(number, partition, item) => self.send(number, partition, &item),
            Step::Transaction(transaction) => {
                self.transactions.make(&self.studio, &transaction)?;
                self.sender.serve_until(Instant::now())
            }
        }
    }

    /// Some sends leave, none is answered any more: nobody polls for answers.
    fn die(&mut self) -> Result<()> {
        for (number, partition, item) in self.script.last_words() {
            self.send(number, partition, &item)?;
        }
        // Kafka gets none, some or all of it: which of these is left to chance on purpose.
        std::thread::sleep(Duration::from_millis(self.script.step() % 7));
        std::process::abort()
    }

    fn send(&mut self, number: u64, partition: i32, item: &Item) -> Result<()> {
        let made = self.studio.make(item);
        self.sender.ledger.write(&PublishLine::Intent {
            number,
            partition,
            item: item.clone(),
            payload: crate::dice::of_bytes(&made.payload),
            transaction: None,
        })?;
        self.sender.send(number, partition, &made)
    }
}

/// The native headers of a record.
fn headers(made: &crate::frames::Made) -> OwnedHeaders {
    let none = OwnedHeaders::new_with_capacity(made.headers.len());
    made.headers.iter().fold(none, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    })
}

/// An idempotent producer that writes every answer down.
struct Sender {
    producer: BaseProducer<Answers>,
    topic: String,
    ledger: Arc<Ledger<PublishLine>>,
}

/// What the client calls back with answers, in [`Sender::serve_until`].
struct Answers {
    ledger: Arc<Ledger<PublishLine>>,
    unanswered: AtomicUsize,
    failed: AtomicU64,
    trouble: Mutex<Option<anyhow::Error>>,
}

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
        let outcome = match result {
            Ok(_) => Outcome::Ok,
            // The client does not say whether it was sent before it was given up.
            Err(_) => Outcome::Unknown,
        };
        if outcome != Outcome::Ok {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        let number = number as u64;
        if let Err(error) = self.ledger.write(&PublishLine::Answer { number, outcome }) {
            self.trouble
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .get_or_insert(error);
        }
    }
}

impl Sender {
    fn new(client: &Client, ledger: Arc<Ledger<PublishLine>>, topic: &str) -> Result<Self> {
        let mut config = client.config();
        config
            .set("enable.idempotence", "true")
            // With more, librdkafka may begin a new producer epoch and write again what has no answer yet (its issue 4953).
            .set("max.in.flight.requests.per.connection", "1")
            // A record that is given up ends this life: nothing behind it may be sent.
            .set("enable.gapless.guarantee", "true")
            .set("linger.ms", "1")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string());
        let answers = Answers {
            ledger: Arc::clone(&ledger),
            unanswered: AtomicUsize::new(0),
            failed: AtomicU64::new(0),
            trouble: Mutex::new(None),
        };
        Ok(Self {
            producer: BaseProducer::from_config_and_context(&config, answers)
                .context("creating the publisher's producer")?,
            topic: topic.to_owned(),
            ledger,
        })
    }

    fn send(&self, number: u64, partition: i32, made: &crate::frames::Made) -> Result<()> {
        let record = BaseRecord::with_opaque_to(&self.topic, number as usize)
            .partition(partition)
            .key(&made.key)
            .timestamp(made.timestamp_ms)
            .headers(headers(made))
            .payload(&made.payload[..]);
        self.answers().unanswered.fetch_add(1, Ordering::Relaxed);
        match self.producer.send(record) {
            Ok(()) => Ok(()),
            Err((error, _)) => bail!("send {number} was refused by the client: {error}"),
        }
    }

    fn answers(&self) -> &Answers {
        self.producer.context()
    }

    /// Takes answers until this moment, longer while too many are awaited.
    fn serve_until(&self, moment: Instant) -> Result<()> {
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            self.producer.poll(left.min(Duration::from_millis(20)));
            let answers = self.answers();
            let trouble = answers.trouble.lock();
            let trouble = trouble
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .take();
            if let Some(error) = trouble {
                return Err(error);
            }
            if answers.failed.load(Ordering::Relaxed) > 0 {
                bail!("Kafka did not take a record; a new life begins a new epoch");
            }
            let is_full = answers.unanswered.load(Ordering::Relaxed) >= MOST_UNANSWERED;
            if left.is_zero() && !is_full {
                return Ok(());
            }
        }
    }

    /// Waits for all answers.
    fn finish(&self) -> Result<()> {
        let start = Instant::now();
        while self.answers().unanswered.load(Ordering::Relaxed) > 0 {
            if start.elapsed() > PATIENCE {
                bail!("the last records were not answered within {PATIENCE:?}");
            }
            self.serve_until(Instant::now() + Duration::from_millis(20))?;
        }
        Ok(())
    }
}
