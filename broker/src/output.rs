//! What takes a record's place in the output: almost always one record, with a dead letter two.

use pipeline::kafka::{Incoming, Outgoing, TopicPartition};
use pipeline::ordering::Weight;
use pipeline::trace::TraceContext;
use pipeline::{excerpt, v1, wire};
use processor_proto::envelope::{Kind, MAX_SOURCE_ID_BYTES};
use std::sync::Arc;

/// The records for one slot. Cheap to clone: they stay in memory until their commit is acknowledged.
#[derive(Debug, Clone)]
pub struct Output {
    /// What is in the slot.
    pub input: Origin,
    pub records: Arc<[Outgoing]>,
    /// For the metrics: ok, error, timeout, skipped, gap, end or undecodable.
    pub outcome: &'static str,
}

impl Weight for Output {
    fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.payload.len()).sum()
    }
}

/// Where output goes.
#[derive(Debug, Clone)]
pub struct Destination {
    pub topic: Arc<str>,
    pub partitions: i32,
    pub dead_letter: Option<Arc<str>>,
}

/// Why a record is also a dead letter.
const ERROR: &str = "framelane-error";
/// Of the reason, at most: it shares the record with a frame that may be as large as a record can be.
pub const ERROR_CHARACTERS: usize = 1_000;
/// Where a dead letter was read.
pub const ORIGIN: &str = "framelane-origin";

impl Destination {
    /// A message in the place of the record. The input's partition number is kept: sources that shared a partition go on
    /// sharing one, and a spread source stays spread.
    pub fn record(
        &self,
        input: &Origin,
        message: &Kind,
        trace: &TraceContext,
    ) -> Result<Outgoing, wire::TooLarge> {
        let mut record = wire::to_record(&self.topic, message, input.timestamp_ms, trace)?;
        record.partition = Some(input.lane.partition % self.partitions);
        Ok(record)
    }

    /// A copy for the dead-letter topic, if there is one.
    pub fn dead_letter(&self, input: &Origin, copy: Outgoing, error: &str) -> Option<Outgoing> {
        let topic = self.dead_letter.as_ref()?;
        let mut letter = Outgoing {
            topic: Arc::clone(topic),
            partition: None,
            ..copy
        };
        letter
            .headers
            .push((ERROR, excerpt(error, ERROR_CHARACTERS)));
        letter.headers.push((ORIGIN, input.to_string()));
        Some(letter)
    }

    /// End-of-stream and gap records go through as they are.
    pub fn pass_on(&self, input: &Origin, message: &Kind) -> Output {
        let record = self.record(input, message, &input.trace.child());
        let record = record.expect("ends and gaps are checked to be small");
        let outcome = message.word();
        Output {
            input: input.clone(),
            records: Arc::new([record]),
            outcome,
        }
    }

    /// The Gap in the place of a record that is no Envelope.
    pub fn undecodable(record: &Incoming, error: &str) -> v1::Gap {
        let id = wire::id_of(record);
        v1::Gap {
            count: u64::from(id.is_some()),
            first: Some(id.unwrap_or_else(|| unnamed(record))),
            reason: v1::gap::Reason::Undecodable.into(),
            detail: excerpt(error, ERROR_CHARACTERS),
            origin: Some(wire::reference_to(&record.lane, record.offset)),
        }
    }

    /// A record that is no Envelope: a Gap stands in its place, and the lane lives on.
    pub fn quarantine(&self, input: &Origin, record: &Incoming, error: &str) -> Output {
        let gap = self.pass_on(input, &Kind::Gap(Self::undecodable(record, error)));
        let letter = self.dead_letter(input, self.raw(record), error);
        Output {
            input: input.clone(),
            records: gap.records.iter().cloned().chain(letter).collect(),
            outcome: "undecodable",
        }
    }

    /// What a broken record holds, cut to what still fits into a record beside the headers of a dead letter.
    fn raw(&self, record: &Incoming) -> Outgoing {
        let bytes = record.payload.len().min(wire::MAX_ENVELOPE_BYTES);
        Outgoing {
            topic: Arc::clone(&self.topic),
            partition: None,
            key: record
                .key
                .clone()
                .filter(|key| key.len() <= MAX_SOURCE_ID_BYTES) // longer ones name no source
                .unwrap_or_default(),
            timestamp_ms: record.timestamp_ms,
            headers: Vec::new(),
            payload: record.payload.slice(..bytes),
        }
    }

    /// Records that retention removed before they were read.
    pub fn expired(&self, lane: &TopicPartition, from: i64, to: i64) -> Output {
        let (input, gap) = Self::removed(lane, from, to);
        self.pass_on(&input, &Kind::Gap(gap))
    }

    /// The Gap in the place of records that retention removed, and where they were.
    pub fn removed(lane: &TopicPartition, from: i64, to: i64) -> (Origin, v1::Gap) {
        let gap = v1::Gap {
            first: Some(v1::FrameId::default()),
            count: 0,
            reason: v1::gap::Reason::Expired.into(),
            detail: format!(
                "Kafka's retention removed offsets {from} to {} of {lane}",
                to - 1
            ),
            origin: Some(wire::reference_to(lane, from)),
        };
        let input = Origin {
            lane: lane.clone(),
            offset: from,
            timestamp_ms: wire::now_unix_ns() / 1_000_000,
            trace: TraceContext::root(),
        };
        (input, gap)
    }
}

/// As much of an id as a broken record still tells.
fn unnamed(record: &Incoming) -> v1::FrameId {
    let key = record
        .key
        .as_deref()
        .and_then(|key| std::str::from_utf8(key).ok());
    let source = key.filter(|key| pipeline::envelope::is_source_id(key));
    v1::FrameId::new(source.unwrap_or_default(), 0, 0)
}

/// Where a record came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    pub lane: TopicPartition,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub trace: TraceContext,
}

impl Origin {
    pub fn of(record: &Incoming) -> Self {
        Self {
            lane: record.lane.clone(),
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            trace: TraceContext::continue_from(record.header(TraceContext::HEADER)),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.lane, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::kafka::MAX_RECORD_BYTES;

    fn letters() -> Destination {
        Destination {
            topic: "out".into(),
            partitions: 1,
            dead_letter: Some("dead".into()),
        }
    }

    /// The largest record that Kafka takes, by a stranger.
    fn hostile(key: &[u8], payload: &[u8]) -> Incoming {
        Incoming {
            lane: TopicPartition::new("in", 0),
            offset: 7,
            timestamp_ms: 0,
            key: Some(key.to_vec().into()),
            headers: Vec::new(),
            payload: payload.to_vec().into(),
        }
    }

    #[test]
    fn whatever_a_broken_record_holds_its_gap_and_its_letter_fit_into_records() {
        let large = vec![1; MAX_RECORD_BYTES - 100];
        let error = "\u{10ffff}".repeat(2 << 20);
        for record in [hostile(b"cam0", &large), hostile(&large, b"")] {
            let output = letters().quarantine(&Origin::of(&record), &record, &error);
            let [gap, letter] = &output.records[..] else {
                panic!("{} records", output.records.len())
            };
            assert!(gap.payload.len() < wire::MAX_ENVELOPE_BYTES);
            let read = pipeline::envelope::decode(gap.payload.clone()).unwrap();
            assert_eq!(read.word(), "gap");
            let headers: usize = letter.headers.iter().map(|(k, v)| k.len() + v.len()).sum();
            // A batch and its record take less than 200 bytes of their own.
            let bytes = letter.key.len() + letter.payload.len() + headers + 200;
            assert!(bytes <= MAX_RECORD_BYTES, "{bytes}");
        }
    }
}
