//! Everything that is known of a run once it is over: what the checker judges.

use crate::ledger::{FaultLine, PublishLine, SeenLine};
use crate::plan::Plan;
use bytes::Bytes;
use processor_proto::envelope::{self, Kind};
use processor_proto::v1::{EndOfStream, Frame, Gap};
use serde::{Deserialize, Serialize};

/// A record as the final read found it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub timestamp_ms: i64,
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
    pub message: Message,
}

/// What a payload says.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Frame(Box<Frame>),
    End(EndOfStream),
    Gap(Gap),
    /// No Envelope.
    Undecodable,
}

impl Message {
    /// Of a record's value.
    pub fn of(payload: &Bytes) -> Self {
        match envelope::decode(payload.clone()) {
            Ok(Kind::Frame(frame)) => Self::Frame(Box::new(frame)),
            Ok(Kind::End(end)) => Self::End(end),
            Ok(Kind::Gap(gap)) => Self::Gap(gap),
            Err(_) => Self::Undecodable,
        }
    }
}

/// A record in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    topic: String,
    partition: i32,
    offset: i64,
    key: String,
    timestamp_ms: i64,
    headers: Vec<(String, String)>,
    /// Two digits a byte.
    payload: String,
}

impl From<Record> for Saved {
    fn from(record: Record) -> Self {
        use std::fmt::Write;
        let mut payload = String::with_capacity(2 * record.payload.len());
        for byte in &record.payload {
            write!(payload, "{byte:02x}").expect("a String takes everything");
        }
        Self {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            key: record.key,
            timestamp_ms: record.timestamp_ms,
            headers: record.headers,
            payload,
        }
    }
}

impl From<Saved> for Record {
    /// Digits that are none end the payload: it is then not what it was, which the checker says.
    fn from(saved: Saved) -> Self {
        let pairs = saved.payload.as_bytes().chunks(2).map_while(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        let payload: Bytes = pairs.collect::<Vec<u8>>().into();
        Self {
            topic: saved.topic,
            partition: saved.partition,
            offset: saved.offset,
            key: saved.key,
            timestamp_ms: saved.timestamp_ms,
            headers: saved.headers,
            message: Message::of(&payload),
            payload,
        }
    }
}

impl Record {
    /// The header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let of_name = self.headers.iter().find(|(key, _)| key == name);
        of_name.map(|(_, value)| value.as_str())
    }

    /// For messages: `topic[0]@12`.
    pub fn place(&self) -> String {
        format!("{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}

/// One stage's topics as they were found, in the order of partition and offset.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageHistory {
    pub output: Vec<Record>,
    pub dead_letters: Vec<Record>,
}

/// How far a group has come in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Committed {
    pub group: String,
    pub topic: String,
    pub partition: i32,
    /// None: nothing was ever committed.
    pub offset: Option<i64>,
}

/// A look at a process of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    pub process: String,
    pub rss_kib: u64,
    pub descriptors: u64,
}

/// How a process of the pipeline ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessEnd {
    pub process: String,
    /// As the system says it.
    pub status: String,
    pub is_expected: bool,
}

/// What was printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub process: String,
    pub lines: Vec<String>,
}

/// A run that is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    pub plan: Plan,
    /// Nanoseconds since the Unix epoch: the studio's beginning.
    pub begin_unix_ns: i64,
    pub publish: Vec<PublishLine>,
    pub seen: Vec<SeenLine>,
    pub faults: Vec<FaultLine>,
    /// The input topic, in the order of partition and offset.
    pub input: Vec<Record>,
    /// In the order of the stages.
    pub stages: Vec<StageHistory>,
    pub committed: Vec<Committed>,
    /// What the consumer that ran (and was killed) all the time has in its file.
    pub live: Vec<u8>,
    pub replays: Vec<Vec<u8>>,
    pub consumer_kills: u64,
    /// From the publisher's end to a lag of 0, milliseconds; None: a group stood still for a minute before that.
    pub drained_ms: Option<u64>,
    /// The longest time without any output while nothing was broken and something was to do, milliseconds.
    pub longest_stall_ms: u64,
    pub samples: Vec<Sample>,
    pub ends: Vec<ProcessEnd>,
    pub logs: Vec<Log>,
}

impl History {
    /// What came out of the pipeline.
    pub fn output(&self) -> &[Record] {
        self.stages.last().map_or(&[], |stage| &stage.output)
    }
}
