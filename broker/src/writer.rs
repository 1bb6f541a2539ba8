//! The thread that writes: one batch at a time, all or nothing.

use crate::args::{Config, Guarantee};
use crate::output::Output;
use pipeline::kafka::{
    FeedControl, GroupStamp, KafkaConfig, KafkaFault, TopicPartition, TransactionFault,
    TransactionalWriter, Writer,
};
use pipeline::ordering::LaneId;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What the engine asks for. It waits for the report before it asks again.
#[derive(Debug)]
pub enum Command {
    Write {
        outputs: Vec<Output>,
        /// Offsets of the next records to read.
        offsets: Vec<(TopicPartition, i64)>,
        /// Who we were when the batch was made. None: no longer a member.
        stamp: Option<GroupStamp>,
    },
    /// The outcome of the last batch is unknown: replace the writer and find out.
    Recover {
        lanes: Vec<(LaneId, TopicPartition)>,
    },
}

/// What came of it.
#[derive(Debug)]
pub enum Report {
    Committed,
    Aborted,
    Unknown,
    Recovered(Vec<(LaneId, Option<i64>)>),
    /// Every new writer is driven out at once: another instance has the same name.
    Fenced(String),
}

/// Outcomes in a row that nobody knew, with a working Kafka in between: two instances fence each other.
const MOST_UNKNOWN_IN_A_ROW: u32 = 8;
/// First pause after an aborted batch or a failed try to open a writer; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A writer that could not be flushed in this time at the end leaves records unacknowledged; they are written again.
const FLUSH: Duration = Duration::from_secs(10);

/// The writer thread and the way to it. The thread ends when the commands' sender is dropped.
#[derive(Debug)]
pub struct WriterThread {
    pub commands: Sender<Command>,
    pub reports: mpsc::Receiver<Report>,
    pub thread: JoinHandle<()>,
}

/// Opens the writer. Fences an older instance of the same name. Blocks.
pub fn open(config: &Config, instance: &str) -> Result<OpenWriter, KafkaFault> {
    let kafka = config.kafka.clone();
    match config.args.delivery {
        Guarantee::ExactlyOnce => {
            let id = format!("framelane.{}.{instance}", config.group);
            let writer = TransactionalWriter::open(&kafka, &id)?;
            Ok(OpenWriter::ExactlyOnce { kafka, id, writer })
        }
        Guarantee::AtLeastOnce => {
            let writer = Writer::new(&kafka)?;
            Ok(OpenWriter::AtLeastOnce { kafka, writer })
        }
    }
}

/// A writer that is ready.
#[derive(Debug)]
pub enum OpenWriter {
    ExactlyOnce {
        kafka: KafkaConfig,
        id: String,
        writer: TransactionalWriter,
    },
    AtLeastOnce {
        kafka: KafkaConfig,
        writer: Writer,
    },
}

impl OpenWriter {
    /// Begins to serve commands on a thread of its own.
    pub fn spawn(self, feed: FeedControl) -> std::io::Result<WriterThread> {
        let (commands, inbox) = channel();
        let (outbox, reports) = mpsc::channel(1); // one batch at a time
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || serve(self, &feed, &inbox, &outbox))?;
        Ok(WriterThread {
            commands,
            reports,
            thread,
        })
    }

    fn write(
        &mut self,
        feed: &FeedControl,
        outputs: &[Output],
        offsets: &[(TopicPartition, i64)],
        stamp: Option<&GroupStamp>,
    ) -> Result<(), TransactionFault> {
        let records = outputs.iter().flat_map(|output| output.records.iter());
        match self {
            Self::ExactlyOnce { writer, .. } => {
                let stamp = stamp.ok_or_else(|| {
                    let why = "this broker is no longer a member of its group";
                    TransactionFault::Aborted(KafkaFault::Failed(why.to_owned()))
                })?;
                writer.commit(records, Some((offsets, stamp)))
            }
            Self::AtLeastOnce { writer, .. } => {
                writer
                    .send_all(records)
                    .map_err(TransactionFault::Unknown)?;
                // Refused while partitions move: then their next owner writes these frames once more.
                if let Err(fault) = feed.commit(offsets) {
                    tracing::warn!(%fault, "written, but the offsets are not committed");
                }
                Ok(())
            }
        }
    }

    fn replace(&mut self) -> Result<(), KafkaFault> {
        match self {
            Self::ExactlyOnce { kafka, id, writer } => {
                *writer = TransactionalWriter::open(kafka, id)?;
            }
            Self::AtLeastOnce { kafka, writer } => *writer = Writer::new(kafka)?,
        }
        Ok(())
    }
}

fn serve(
    mut writer: OpenWriter,
    feed: &FeedControl,
    commands: &Receiver<Command>,
    reports: &mpsc::Sender<Report>,
) {
    let mut history = History {
        pause: FIRST_PAUSE,
        unknown_in_a_row: 0,
    };
    for command in commands {
        let report = match command {
            Command::Write {
                outputs,
                offsets,
                stamp,
            } => {
                let start = Instant::now();
                let result = writer.write(feed, &outputs, &offsets, stamp.as_ref());
                metrics::histogram!("framelane_broker_commit_seconds")
                    .record(start.elapsed().as_secs_f64());
                history.report(result)
            }
            Command::Recover { lanes } => match recover(&mut writer, feed, lanes, reports) {
                Some(committed) => Report::Recovered(committed),
                None => return,
            },
        };
        if reports.blocking_send(report).is_err() {
            return;
        }
    }
    if let OpenWriter::AtLeastOnce { writer, .. } = &writer
        && let Err(fault) = writer.flush(FLUSH)
    {
        tracing::warn!(%fault, "the last records may be written again after a restart");
    }
}

/// How the last batches went.
struct History {
    pause: Duration,
    unknown_in_a_row: u32,
}

impl History {
    fn report(&mut self, result: Result<(), TransactionFault>) -> Report {
        let (outcome, report) = match result {
            Ok(()) => {
                self.pause = FIRST_PAUSE;
                self.unknown_in_a_row = 0;
                ("committed", Report::Committed)
            }
            Err(TransactionFault::Aborted(fault)) => {
                tracing::warn!(%fault, "a transaction was aborted; its frames are written again");
                // While partitions move, the same may happen again at once.
                std::thread::sleep(self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                ("aborted", Report::Aborted)
            }
            Err(TransactionFault::Unknown(fault)) => {
                self.unknown_in_a_row += 1;
                if self.unknown_in_a_row > MOST_UNKNOWN_IN_A_ROW {
                    return Report::Fenced(format!(
                        "{MOST_UNKNOWN_IN_A_ROW} commits in a row ended without an answer; if another broker runs under \
                         the same --group and --instance, give each its own: {fault}"
                    ));
                }
                tracing::warn!(%fault, "the outcome of a commit is unknown; asking Kafka");
                ("unknown", Report::Unknown)
            }
        };
        metrics::counter!("framelane_broker_commits_total", "outcome" => outcome).increment(1);
        report
    }
}

/// Replaces the writer, which decides what the old one left open, then reads what the group has. Tries until it works or
/// nobody listens any more.
fn recover(
    writer: &mut OpenWriter,
    feed: &FeedControl,
    lanes: Vec<(LaneId, TopicPartition)>,
    reports: &mpsc::Sender<Report>,
) -> Option<Vec<(LaneId, Option<i64>)>> {
    let partitions: Vec<_> = lanes.iter().map(|(_, tp)| tp.clone()).collect();
    let mut pause = FIRST_PAUSE;
    while !reports.is_closed() {
        match writer.replace().and_then(|()| feed.committed(&partitions)) {
            Ok(committed) => {
                tracing::info!("the writer is new; going on from the committed offsets");
                return Some(
                    lanes
                        .into_iter()
                        .map(|(lane, _)| lane)
                        .zip(committed)
                        .collect(),
                );
            }
            Err(fault) => tracing::warn!(%fault, "a new writer cannot be opened yet"),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    None
}
