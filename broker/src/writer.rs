//! The thread that writes: one batch at a time, all or nothing.

use crate::args::{Guarantee, StageConfig};
use crate::output::Output;
use crate::refused::Amendments;
use pipeline::kafka::{
    Bookmark, FeedControl, GroupStamp, KafkaConfig, KafkaFault, Pace, TopicPartition,
    TransactionFault, TransactionalWriter, Writer,
};
use pipeline::ordering::{LaneId, Recovery};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What the engine asks for. It waits for the report before it asks again.
#[derive(Debug)]
pub enum Command {
    Write {
        outputs: Vec<Output>,
        /// Where to go on, and with what.
        bookmarks: Vec<Bookmark>,
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
    /// Trying again is of no use: another instance has the same name, or Kafka does not allow it.
    GivenUp(String),
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
pub fn open(config: &StageConfig, instance: &str) -> Result<OpenWriter, KafkaFault> {
    let kafka = config.kafka.clone();
    match config.args.delivery {
        Guarantee::ExactlyOnce => {
            let id = format!("framelane.{}.{instance}", config.group);
            let writer = Box::new(TransactionalWriter::open(&kafka, &id)?);
            Ok(OpenWriter::ExactlyOnce { kafka, id, writer })
        }
        Guarantee::AtLeastOnce => {
            let writer = Writer::of_batches(&kafka)?;
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
        writer: Box<TransactionalWriter>,
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

    /// Writes the batch. Records that Kafka refuses give way to others, in their places.
    fn write(
        &mut self,
        feed: &FeedControl,
        outputs: &[Output],
        bookmarks: &[Bookmark],
        stamp: Option<&GroupStamp>,
        amendments: &mut Amendments,
    ) -> Result<(), TransactionFault> {
        let mut pace = Pace::Together;
        loop {
            let amended = amendments.apply(outputs);
            let amended =
                amended.map_err(|why| TransactionFault::Aborted(KafkaFault::Unfit(why)))?;
            self.set_pace(pace);
            let result = self.try_write(feed, &amended, bookmarks, stamp);
            self.set_pace(Pace::Together);
            let fault = match result {
                Err(TransactionFault::Aborted(fault @ KafkaFault::RefusedRecords { .. })) => fault,
                Ok(()) => {
                    amendments.clear();
                    return Ok(());
                }
                result => return result,
            };
            let KafkaFault::RefusedRecords { records, .. } = &fault else {
                return Err(TransactionFault::Aborted(fault));
            };
            pace = amendments
                .note(outputs, records, pace, &fault.to_string())
                .map_err(|why| TransactionFault::Aborted(KafkaFault::Unfit(why)))?;
            // The client has lost count of what it sent (OUT_OF_ORDER_SEQUENCE_NUMBER in the next transaction).
            self.replace().map_err(TransactionFault::Aborted)?;
        }
    }

    fn set_pace(&mut self, pace: Pace) {
        match self {
            Self::ExactlyOnce { writer, .. } => writer.set_pace(pace),
            Self::AtLeastOnce { writer, .. } => writer.set_pace(pace),
        }
    }

    fn try_write(
        &mut self,
        feed: &FeedControl,
        outputs: &[Output],
        bookmarks: &[Bookmark],
        stamp: Option<&GroupStamp>,
    ) -> Result<(), TransactionFault> {
        let records = outputs.iter().flat_map(|output| output.records.iter());
        match self {
            Self::ExactlyOnce { writer, .. } => {
                let stamp = stamp.ok_or_else(|| {
                    let why = "this broker is no longer a member of its group";
                    TransactionFault::Aborted(KafkaFault::Failed(why.to_owned()))
                })?;
                writer.commit_bookmarks(records, bookmarks, stamp)
            }
            Self::AtLeastOnce { writer, .. } => {
                writer.send_all(records).map_err(|fault| match fault {
                    // The others may be written: then they are written twice.
                    KafkaFault::RefusedRecords { .. } => TransactionFault::Aborted(fault),
                    fault => TransactionFault::Unknown(fault),
                })?;
                // Refused while partitions move: then their next owner writes these frames once more.
                if let Err(fault) = feed.commit_bookmarks(bookmarks, stamp) {
                    tracing::warn!(%fault, "written, but the offsets are not committed");
                }
                Ok(())
            }
        }
    }

    fn replace(&mut self) -> Result<(), KafkaFault> {
        match self {
            Self::ExactlyOnce { kafka, id, writer } => {
                **writer = TransactionalWriter::open(kafka, id)?;
            }
            Self::AtLeastOnce { kafka, writer } => *writer = Writer::of_batches(kafka)?,
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
    let mut amendments = Amendments::default();
    for command in commands {
        let report = match command {
            Command::Write {
                outputs,
                bookmarks,
                stamp,
            } => {
                let start = Instant::now();
                let stamp = stamp.as_ref();
                let result = writer.write(feed, &outputs, &bookmarks, stamp, &mut amendments);
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
        if let Err(TransactionFault::Aborted(fault) | TransactionFault::Unknown(fault)) = &result
            && fault.is_denied()
        {
            return Report::GivenUp(fault.to_string());
        }
        // Whatever could be written in a record's place was refused too.
        if let Err(TransactionFault::Aborted(fault @ KafkaFault::Unfit(_))) = &result {
            return Report::GivenUp(fault.to_string());
        }
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
                    return Report::GivenUp(format!(
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
    let (lanes, partitions): (Vec<_>, Vec<_>) = lanes.into_iter().unzip();
    let mut pause = FIRST_PAUSE;
    let mut committed = Vec::new();
    let mut step = Recovery::start();
    while !reports.is_closed() {
        let result = match step {
            Recovery::Replace => writer.replace(),
            Recovery::ReadCommitted => feed.committed(&partitions).map(|all| committed = all),
        };
        if let Err(fault) = &result {
            tracing::warn!(%fault, ?step, "recovery from an unknown outcome; trying again");
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        match step.after(result.map_err(drop)) {
            Some(next) => step = next,
            None => {
                tracing::info!("the writer is new; going on from the committed offsets");
                return Some(lanes.into_iter().zip(committed).collect());
            }
        }
    }
    None
}
