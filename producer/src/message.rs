//! Encoded frames, gaps and ends to Kafka records.

use crate::config::SourceConfig;
use crate::encode::Encoded;
use crate::epoch::Claim;
use crate::handover::Ending;
use crate::overload::Run;
use pipeline::envelope::Kind;
use pipeline::excerpt;
use pipeline::kafka::Outgoing;
use pipeline::trace::TraceContext;
use pipeline::v1::frame::Content;
use pipeline::v1::{EndOfStream, Frame, FrameId, Gap, Stamp, TimeBase, end_of_stream, gap};
use pipeline::wire::{TooLarge, now_unix_ns, to_record};
use std::collections::BTreeMap;
use std::sync::Arc;

const NS_PER_MS: i64 = 1_000_000;
/// Of the reason for a failure: readers refuse an end that is as large as a frame.
const DETAIL_CHARACTERS: usize = 1_000;

/// Makes the records of one epoch of one source.
#[derive(Debug)]
pub struct Messages {
    topic: Arc<str>,
    source_id: String,
    epoch: u64,
    time_base: TimeBase,
    labels: BTreeMap<String, String>,
    /// What a gap says of its cause.
    overload: String,
    placing: Placing,
}

/// The partition of a record.
#[derive(Debug, Clone, Copy)]
enum Placing {
    /// Always this one.
    Fixed(i32),
    /// `--spread`: each of this many in turn.
    InTurn(u64),
}

impl Messages {
    /// `partitions` is how many the topic has.
    pub fn new(
        source: &SourceConfig,
        claim: &Claim,
        time_base: TimeBase,
        partitions: usize,
    ) -> Self {
        Self {
            topic: Arc::clone(&source.topic),
            source_id: source.source_id.clone(),
            epoch: claim.epoch,
            time_base,
            labels: source.labels.iter().cloned().collect(),
            overload: format!("dropped by --overload {}", source.overload),
            // Never left to the client: it would move the source when the topic gets more partitions.
            placing: match claim.partition {
                Some(partition) => Placing::Fixed(partition),
                None => Placing::InTurn(partitions.max(1) as u64),
            },
        }
    }

    /// The id of a frame of this epoch.
    pub fn id(&self, sequence: u64) -> FrameId {
        FrameId::new(&self.source_id, self.epoch, sequence)
    }

    /// The record of a frame that leaves now.
    pub fn frame(&self, encoded: Encoded) -> Result<Outgoing, TooLarge> {
        let units = encoded.pts.as_nanos() * u128::from(self.time_base.den)
            / (u128::from(self.time_base.num) * 1_000_000_000);
        let sequence = encoded.sequence;
        let frame = Frame {
            id: Some(self.id(sequence)),
            capture_time_unix_ns: encoded.captured_unix_ns,
            pts: i64::try_from(units).unwrap_or(i64::MAX),
            time_base: Some(self.time_base),
            codec: encoded.codec.into(),
            pixel_format: encoded.pixel_format.into(),
            width: encoded.width,
            height: encoded.height,
            keyframe: true,
            content: Some(Content::Inline(encoded.content)),
            stamps: vec![Stamp {
                stage: "producer".to_owned(),
                entered_unix_ns: encoded.captured_unix_ns,
                left_unix_ns: now_unix_ns(),
            }],
            labels: self.labels.clone(),
            ..Frame::default()
        };
        self.record(&frame.into(), sequence, encoded.captured_unix_ns)
    }

    /// The record that stands for frames an overload policy dropped.
    pub fn gap(&self, run: Run) -> Result<Outgoing, TooLarge> {
        let gap = Gap {
            first: Some(self.id(run.first)),
            count: run.count,
            reason: gap::Reason::Overload.into(),
            detail: self.overload.clone(),
            origin: None,
        };
        self.record(&gap.into(), run.first, run.captured_unix_ns)
    }

    /// The record that ends the epoch after its last frame (None: it had none).
    pub fn end(&self, last: Option<u64>, ending: &Ending) -> Result<Outgoing, TooLarge> {
        let (reason, detail) = match ending {
            Ending::Finished => (end_of_stream::Reason::Finished, String::new()),
            Ending::Stopped => (end_of_stream::Reason::Stopped, String::new()),
            Ending::Failed(why) => (
                end_of_stream::Reason::Failed,
                excerpt(why, DETAIL_CHARACTERS),
            ),
        };
        let sequence = last.unwrap_or(0);
        let end = EndOfStream {
            last: Some(self.id(sequence)),
            empty: last.is_none(),
            reason: reason.into(),
            detail,
        };
        self.record(&end.into(), sequence, now_unix_ns())
    }

    fn record(&self, message: &Kind, sequence: u64, unix_ns: i64) -> Result<Outgoing, TooLarge> {
        let trace = TraceContext::root();
        let mut record = to_record(&self.topic, message, unix_ns / NS_PER_MS, &trace)?;
        record.partition = Some(match self.placing {
            Placing::Fixed(partition) => partition,
            Placing::InTurn(partitions) => (sequence % partitions) as i32,
        });
        Ok(record)
    }
}
