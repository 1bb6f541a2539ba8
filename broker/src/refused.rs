//! Records that Kafka refuses for what they are. Written again as they are they would be refused again, and with them all
//! that shares their transaction: so each gives way, step by step, to one that Kafka takes.
//!
//! Kafka refuses what was sent together and does not always say whose fault it was. A present time does no harm to
//! anyone, so it is tried first; nothing is replaced before it was refused alone.

use crate::output::{ORIGIN, Origin, Output};
use pipeline::kafka::{Outgoing, Pace, TopicPartition};
use pipeline::{envelope, v1, wire};
use processor_proto::envelope::Kind;
use std::collections::HashMap;

const NS_PER_MS: i64 = 1_000_000;

/// A record by what is in its slot, and its place there.
type Place = (TopicPartition, i64, usize);

/// What takes the place of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Amendment {
    /// The same with this time.
    Dated(i64),
    /// A small one, with this time, for this reason.
    Replaced(i64, String),
}

/// The amendments of the batch that is being written. They outlive a try that fails for other reasons: the core then asks
/// for the same records again.
#[derive(Debug, Default)]
pub struct Amendments(HashMap<Place, Amendment>);

impl Amendments {
    /// The batch as it is to be written; an error names a record in whose place nothing can be written any more.
    pub fn apply(&self, outputs: &[Output]) -> Result<Vec<Output>, String> {
        let mut amended = outputs.to_vec();
        if self.0.is_empty() {
            return Ok(amended);
        }
        for output in &mut amended {
            let records = output.records.iter().enumerate();
            let records: Result<_, _> = records
                .map(|(n, record)| match self.0.get(&place(output, n)) {
                    None => Ok(record.clone()),
                    Some(amendment) => amendment.apply(record, &output.input),
                })
                .collect();
            output.records = records?;
        }
        Ok(amended)
    }

    /// Decides what takes the place of records that were refused, and how the batch is sent next. They are named by their
    /// places in the batch, which was sent at this pace.
    pub fn note(
        &mut self,
        outputs: &[Output],
        refused: &[usize],
        pace: Pace,
        why: &str,
    ) -> Result<Pace, String> {
        let all: Vec<(Place, &Outgoing, &Origin)> = outputs
            .iter()
            .flat_map(|output| {
                let records = output.records.iter().enumerate();
                records.map(|(n, record)| (place(output, n), record, &output.input))
            })
            .collect();
        let refused: Vec<_> = refused.iter().filter_map(|at| all.get(*at)).collect();
        let now_ms = wire::now_unix_ns() / NS_PER_MS;
        if self.date(&refused, now_ms, why) {
            return Ok(pace);
        }
        match refused[..] {
            [(place, record, input)] => {
                self.replace(place, record, input, now_ms, why)?;
                Ok(pace)
            }
            _ if pace == Pace::Together => Ok(Pace::OneByOne),
            _ => Err(why.to_owned()), // one by one, Kafka refuses one
        }
    }

    /// All is written.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Gives the present time to those of the records whose own is farthest from it. False if all have it.
    fn date(&mut self, refused: &[&(Place, &Outgoing, &Origin)], now_ms: i64, why: &str) -> bool {
        let undated = || {
            refused
                .iter()
                .filter(|(place, ..)| !self.0.contains_key(place))
        };
        let distance = |record: &Outgoing| record.timestamp_ms.abs_diff(now_ms);
        let Some(farthest) = undated().map(|(_, record, _)| distance(record)).max() else {
            return false;
        };
        let dated: Vec<_> = undated()
            .filter(|(_, record, _)| distance(record) >= farthest / 2)
            .map(|(place, ..)| place.clone())
            .collect();
        let first = refused.first().map(|(_, _, input)| input.to_string());
        let records = dated.len();
        tracing::warn!(
            first,
            records,
            why,
            "Kafka refuses records; trying them with the present time"
        );
        count("dated", records);
        let entries = dated.into_iter();
        self.0
            .extend(entries.map(|place| (place, Amendment::Dated(now_ms))));
        true
    }

    fn replace(
        &mut self,
        place: &Place,
        record: &Outgoing,
        input: &Origin,
        now_ms: i64,
        why: &str,
    ) -> Result<(), String> {
        if let Some(Amendment::Replaced(..)) = self.0.get(place) {
            return Err(hopeless(record, input, why));
        }
        let id = id_in(record).map(|id| id.to_string());
        tracing::error!(%input, topic = %record.topic, id, why, "Kafka refuses the record in this one's place; one without its content stands for it");
        count("replaced", 1);
        let amendment = Amendment::Replaced(now_ms, why.to_owned());
        self.0.insert(place.clone(), amendment);
        Ok(())
    }
}

fn place(output: &Output, n: usize) -> Place {
    (output.input.lane.clone(), output.input.offset, n)
}

fn count(outcome: &'static str, records: usize) {
    metrics::counter!("framelane_broker_refused_records_total", "outcome" => outcome)
        .increment(records as u64);
}

impl Amendment {
    fn apply(&self, record: &Outgoing, input: &Origin) -> Result<Outgoing, String> {
        match self {
            Self::Dated(timestamp_ms) => Ok(Outgoing {
                timestamp_ms: *timestamp_ms,
                ..record.clone()
            }),
            Self::Replaced(timestamp_ms, why) => stand_in(record, input, *timestamp_ms, why),
        }
    }
}

/// A dead letter without what it held, or a Gap for a frame.
fn stand_in(
    record: &Outgoing,
    input: &Origin,
    timestamp_ms: i64,
    why: &str,
) -> Result<Outgoing, String> {
    if record.headers.iter().any(|(name, _)| *name == ORIGIN) {
        return Ok(Outgoing {
            payload: record.payload.slice(..0),
            timestamp_ms,
            ..record.clone()
        });
    }
    let id = id_in(record).ok_or_else(|| hopeless(record, input, why))?;
    let gap = Kind::Gap(v1::Gap {
        first: Some(id),
        count: 1,
        reason: v1::gap::Reason::ProcessingFailed.into(),
        detail: format!("Kafka refuses the record of the frame: {why}"),
        origin: Some(wire::reference_to(&input.lane, input.offset)),
    });
    let made = wire::to_record(&record.topic, &gap, timestamp_ms, &input.trace.child());
    Ok(Outgoing {
        partition: record.partition,
        ..made.map_err(|fault| fault.to_string())?
    })
}

/// The id of the frame in a record; None for all else, which is as small as it can be.
fn id_in(record: &Outgoing) -> Option<v1::FrameId> {
    match envelope::decode(record.payload.clone()) {
        Ok(Kind::Frame(frame)) => frame.id,
        _ => None,
    }
}

fn hopeless(record: &Outgoing, input: &Origin, why: &str) -> String {
    format!(
        "{why}: nothing in the place of {input} can be written to {} any more. Compare the topic's settings with the \
         cluster's defaults (message.timestamp.*, max.message.bytes, cleanup.policy)",
        record.topic
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::kafka::TopicPartition;
    use pipeline::trace::TraceContext;
    use std::sync::Arc;

    fn input() -> Origin {
        Origin {
            lane: TopicPartition::new("in", 3),
            offset: 7,
            timestamp_ms: 0,
            trace: TraceContext::root(),
        }
    }

    fn record(message: impl Into<Kind>) -> Outgoing {
        let topic = Arc::from("out");
        let made = wire::to_record(&topic, &message.into(), 5, &input().trace).unwrap();
        Outgoing {
            partition: Some(3),
            ..made
        }
    }

    fn frame() -> Outgoing {
        record(v1::Frame {
            id: Some(v1::FrameId::new("cam0", 1, 9)),
            content: Some(v1::frame::Content::Missing(v1::Missing::default())),
            ..v1::Frame::default()
        })
    }

    fn outputs(all: Vec<Vec<Outgoing>>) -> Vec<Output> {
        let output = |(n, records): (usize, Vec<_>)| Output {
            input: Origin {
                offset: input().offset + n as i64,
                ..input()
            },
            records: records.into(),
            outcome: "ok",
        };
        all.into_iter().enumerate().map(output).collect()
    }

    fn refuse(
        amendments: &mut Amendments,
        batch: &[Output],
        refused: &[usize],
        pace: Pace,
    ) -> Result<(Vec<Output>, Pace), String> {
        let pace = amendments.note(batch, refused, pace, "no")?;
        Ok((amendments.apply(batch)?, pace))
    }

    #[test]
    fn a_refused_frame_is_dated_anew_then_gives_way_to_a_gap_and_the_others_stay() {
        let batch = outputs(vec![vec![frame()], vec![frame()]]);
        let mut amendments = Amendments::default();
        let (dated, _) = refuse(&mut amendments, &batch, &[1], Pace::Together).unwrap();
        assert!(dated[1].records[0].timestamp_ms > 5);
        assert_eq!(dated[1].records[0].payload, frame().payload);
        let (replaced, _) = refuse(&mut amendments, &batch, &[1], Pace::Together).unwrap();
        let gap = &replaced[1].records[0];
        let Ok(Kind::Gap(message)) = envelope::decode(gap.payload.clone()) else {
            panic!("{gap:?}")
        };
        assert_eq!(message.first, Some(v1::FrameId::new("cam0", 1, 9)));
        assert_eq!((message.count, gap.partition), (1, Some(3)));
        assert_eq!(message.origin.map(|origin| origin.offset), Some(8));
        assert_eq!(replaced[0].records[0].timestamp_ms, 5);
        let hopeless = refuse(&mut amendments, &batch, &[1], Pace::Together).unwrap_err();
        assert!(hopeless.contains("in[3]@8"), "{hopeless}");
    }

    #[test]
    fn what_shares_a_refusal_is_replaced_only_when_refused_alone() {
        let batch = outputs(vec![vec![frame()], vec![frame()]]);
        let mut amendments = Amendments::default();
        refuse(&mut amendments, &batch, &[0, 1], Pace::Together).unwrap();
        let (same, pace) = refuse(&mut amendments, &batch, &[0, 1], Pace::Together).unwrap();
        assert_eq!(pace, Pace::OneByOne);
        assert!(
            same.iter()
                .all(|output| output.records[0].payload == frame().payload)
        );
        let (replaced, _) = refuse(&mut amendments, &batch, &[0], pace).unwrap();
        assert_ne!(replaced[0].records[0].payload, frame().payload);
        assert_eq!(replaced[1].records[0].payload, frame().payload);
    }

    #[test]
    fn only_the_times_that_are_far_off_are_changed() {
        let now_ms = wire::now_unix_ns() / NS_PER_MS;
        let at = |timestamp_ms| Outgoing {
            timestamp_ms,
            ..frame()
        };
        let batch = outputs(vec![vec![at(now_ms - 9)], vec![at(now_ms + 7_200_000)]]);
        let (dated, _) =
            refuse(&mut Amendments::default(), &batch, &[0, 1], Pace::Together).unwrap();
        assert_eq!(dated[0].records[0].timestamp_ms, now_ms - 9);
        assert!(dated[1].records[0].timestamp_ms < now_ms + 60_000);
    }

    #[test]
    fn a_refused_dead_letter_keeps_its_headers() {
        let mut letter = frame();
        letter.headers.push((ORIGIN, "in[3]@7".to_owned()));
        let batch = outputs(vec![vec![frame(), letter.clone()]]);
        let mut amendments = Amendments::default();
        refuse(&mut amendments, &batch, &[1], Pace::Together).unwrap();
        let (replaced, _) = refuse(&mut amendments, &batch, &[1], Pace::Together).unwrap();
        assert!(replaced[0].records[1].payload.is_empty());
        assert_eq!(replaced[0].records[1].headers, letter.headers);
        assert_eq!(replaced[0].records[0].payload, frame().payload);
    }

    #[test]
    fn an_end_cannot_give_way() {
        let end = v1::EndOfStream {
            last: Some(v1::FrameId::new("cam0", 1, 9)),
            ..v1::EndOfStream::default()
        };
        let batch = outputs(vec![vec![record(end)]]);
        let mut amendments = Amendments::default();
        refuse(&mut amendments, &batch, &[0], Pace::Together).unwrap();
        assert!(refuse(&mut amendments, &batch, &[0], Pace::Together).is_err());
    }
}
