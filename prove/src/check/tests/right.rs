//! A run in which everything went right, made without Kafka: what the wrong ones are made of.

use crate::behaviour::{Answer, Behaviour};
use crate::dice::of_bytes;
use crate::expect;
use crate::frames::{COMMITTED, DOOMED, Item, Picture, Studio};
use crate::history::{Committed, History, Log, Message, ProcessEnd, Record, Sample, StageHistory};
use crate::ledger::{Ending, FaultLine, Outcome, PublishLine, SeenLine};
use crate::plan::{
    Content, Fault, Membership, Plan, PlannedFault, Seat, StagePlan, Trigger, Workload,
};
use bytes::Bytes;
use processor_proto::envelope::{self, Kind};
use processor_proto::v1::Status;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const BEGIN_UNIX_NS: i64 = 1_780_000_000_000_000_000;

/// Two stages, two partitions, every kind of item.
pub fn history() -> History {
    let plan = plan();
    let studio = Studio::new(plan.seed, &plan.workload, BEGIN_UNIX_NS);
    let (publish, input) = published(&studio);
    let mut stages = Vec::new();
    let mut seen = Vec::new();
    let mut before = input.clone();
    for (index, stage) in plan.stages.iter().enumerate() {
        let topic = format!("out{index}");
        let history = behind(stage, &topic, &before, &input);
        seen.extend(
            before
                .iter()
                .filter_map(|record| call(stage, index, record)),
        );
        before = history.output.clone();
        stages.push(history);
    }
    let lines = lines(&before);
    let committed = [("g0", &input), ("g1", &stages[0].output), ("live", &before)]
        .into_iter()
        .flat_map(|(group, records)| committed(group, records))
        .collect();
    History {
        faults: vec![FaultLine {
            row: 1,
            what: "kill -9 of broker-0.0".to_owned(),
            fired: true,
            start_ms: 100,
            end_ms: 200,
            recovered_ms: Some(300),
            longest_gap_ms: 400,
        }],
        plan,
        begin_unix_ns: BEGIN_UNIX_NS,
        publish,
        seen,
        input,
        stages,
        committed,
        live: lines.clone(),
        replays: vec![lines.clone(), lines],
        consumer_kills: 1,
        drained_ms: Some(500),
        longest_stall_ms: 90,
        samples: vec![Sample {
            process: "broker-0.0".to_owned(),
            rss_kib: 40 << 10,
            descriptors: 30,
        }],
        ends: vec![ProcessEnd {
            process: "broker-0.0".to_owned(),
            status: "exit status: 0".to_owned(),
            is_expected: true,
        }],
        logs: vec![Log {
            process: "broker-0.0".to_owned(),
            lines: vec!["stopped".to_owned()],
        }],
    }
}

fn plan() -> Plan {
    let stage = |processor: &str, content| StagePlan {
        processor: processor.to_owned(),
        brokers: 1,
        replicas: 1,
        content,
        membership: Membership::Static,
        in_flight: 4,
        window: 16,
        behaviour: Behaviour {
            poison_every: 10,
            ..Behaviour::good(3)
        },
    };
    let seat = Seat {
        stage: 0,
        broker: 0,
    };
    Plan {
        seed: 11,
        nodes: 1,
        workload: Workload {
            partitions: 2,
            sources: 2,
            steps_per_s: 100,
            steps: 100,
            deaths: vec![],
            largest_picture_bytes: 500,
            transaction_every: 10,
            garbage_every: Some(10),
            bomb_every: Some(10),
        },
        stages: vec![
            stage("first", Content::Reference),
            stage("second", Content::Inline),
        ],
        faults: vec![PlannedFault {
            row: 1,
            after: Trigger::Ms(100),
            fault: Fault::KillBroker { seat, down_ms: 1 },
        }],
    }
}

fn frame(source: &str, sequence: u64, picture: Picture) -> Item {
    Item::Frame {
        source: source.to_owned(),
        epoch: 1,
        sequence,
        picture,
    }
}

/// What was sent in which partition: item, transaction and answer. None: no answer, and it did not get there.
fn sends() -> Vec<(i32, Item, Option<u64>, Option<Outcome>)> {
    let ok = Some(Outcome::Ok);
    let mut sends: Vec<_> = (0..25)
        .map(|sequence| {
            let picture = match sequence {
                7 => Picture::Bomb,
                9 => Picture::Truncated,
                _ => Picture::Sound,
            };
            (0, frame("s0", sequence, picture), None, ok)
        })
        .collect();
    sends.push((0, Item::Garbage { number: 4 }, None, ok));
    sends
        .extend((0..3).map(|sequence| (1, frame(DOOMED, sequence, Picture::Sound), Some(1), None)));
    sends.extend(
        (0..3).map(|sequence| (0, frame(COMMITTED, sequence, Picture::Sound), Some(2), ok)),
    );
    sends.extend((0..5).map(|sequence| (1, frame("s1", sequence, Picture::Sound), None, ok)));
    let end = Item::End {
        source: "s0".to_owned(),
        epoch: 1,
        sequence: 24,
    };
    sends.push((0, end, None, ok));
    // Both were not answered; one had arrived.
    sends.push((
        1,
        frame("s1", 5, Picture::Sound),
        None,
        Some(Outcome::Unknown),
    ));
    sends.push((1, frame("s1", 6, Picture::Sound), None, None));
    sends
}

fn published(studio: &Studio) -> (Vec<PublishLine>, Vec<Record>) {
    let mut lines = Vec::new();
    let mut input = Vec::new();
    for (number, (partition, item, transaction, outcome)) in (0..).zip(sends()) {
        let made = studio.make(&item);
        lines.push(PublishLine::Intent {
            number,
            partition,
            payload: of_bytes(&made.payload),
            item,
            transaction,
        });
        if transaction.is_none()
            && let Some(outcome) = outcome
        {
            lines.push(PublishLine::Answer { number, outcome });
        }
        if outcome.is_some() {
            input.push(Record {
                topic: "in".to_owned(),
                partition,
                offset: 2 * number as i64, // with holes
                key: made.key,
                timestamp_ms: made.timestamp_ms,
                headers: made
                    .headers
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
                message: Message::of(&made.payload),
                payload: made.payload,
            });
        }
    }
    for (transaction, ending) in [(1, Ending::Abort), (2, Ending::Commit)] {
        lines.push(PublishLine::Ending {
            transaction,
            ending,
        });
        lines.push(PublishLine::Ended {
            transaction,
            outcome: Outcome::Ok,
        });
    }
    input.sort_by_key(|record| (record.partition, record.offset));
    (lines, input)
}

/// What a right broker writes.
fn behind(stage: &StagePlan, topic: &str, before: &[Record], input: &[Record]) -> StageHistory {
    let picture = |record: &Record| {
        let Message::Frame(frame) = &record.message else {
            return Bytes::new();
        };
        let origin = input.iter().find_map(|first| match &first.message {
            Message::Frame(first) if first.id == frame.id => first.inline().cloned(),
            _ => None,
        });
        origin.unwrap_or_default()
    };
    let mut history = StageHistory::default();
    for (offset, record) in (100..).zip(before) {
        let picture = picture(record);
        let message = expect::output(stage, record, &picture);
        let (message, failed) = written(stage, message, &picture);
        let output = record_of(topic, offset, record, &message);
        let is_new_gap = record.message == Message::Undecodable;
        if failed || is_new_gap {
            let mut letter = output.clone();
            letter.topic = format!("{topic}.dead");
            letter
                .headers
                .push(("framelane-origin".to_owned(), record.place()));
            history.dead_letters.push(letter);
        }
        history.output.push(output);
    }
    history
}

/// The expected message as it is written: with an attempt and with times. And whether it is a failure.
fn written(stage: &StagePlan, message: Message, picture: &Bytes) -> (Kind, bool) {
    match message {
        Message::Frame(mut frame) => {
            let id = frame.id.clone().unwrap();
            let earlier = frame.results.len() - 1;
            let failed = frame.results[earlier].status() != Status::Ok;
            if !failed {
                let attempt =
                    (1..).find(|attempt| stage.behaviour.answer(&id, *attempt) == Answer::Ok);
                let name = &stage.processor;
                frame.results[earlier] =
                    expect::result(name, &id, picture, earlier, attempt.unwrap());
            }
            frame.stamps.last_mut().unwrap().left_unix_ns = 7;
            (Kind::Frame(*frame), failed)
        }
        Message::End(end) => (Kind::End(end), false),
        Message::Gap(gap) => (Kind::Gap(gap), false),
        Message::Undecodable => unreachable!("a stage writes envelopes"),
    }
}

/// The record of a message in the place of another.
pub fn record_of(topic: &str, offset: i64, input: &Record, message: &Kind) -> Record {
    let id = message.id().unwrap().clone();
    let payload = envelope::encode(message);
    let trace = input
        .header("traceparent")
        .unwrap_or("00-0-0-01")
        .to_owned();
    let headers = [
        ("framelane-kind", message.word().to_owned()),
        ("framelane-source", id.source_id.clone()),
        ("framelane-epoch", id.epoch.to_string()),
        ("framelane-sequence", id.sequence.to_string()),
        ("traceparent", trace),
    ];
    Record {
        topic: topic.to_owned(),
        partition: input.partition,
        offset,
        key: id.source_id,
        timestamp_ms: input.timestamp_ms,
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        message: Message::of(&payload),
        payload,
    }
}

fn call(stage: &StagePlan, index: usize, record: &Record) -> Option<SeenLine> {
    let Message::Frame(frame) = &record.message else {
        return None;
    };
    let id = frame.id.as_ref()?;
    Some(SeenLine {
        processor: stage.processor.clone(),
        replica: format!("{index}/0"),
        source: id.source_id.clone(),
        epoch: id.epoch,
        sequence: id.sequence,
        attempt: 1,
        answer: Answer::Ok,
        in_flight: 2,
    })
}

fn committed(group: &str, records: &[Record]) -> Vec<Committed> {
    let mut ends = BTreeMap::new();
    for record in records {
        ends.insert(record.partition, record.offset + 1);
    }
    let committed = |(partition, offset)| Committed {
        group: group.to_owned(),
        topic: records[0].topic.clone(),
        partition,
        offset: Some(offset),
    };
    ends.into_iter().map(committed).collect()
}

/// The consumer's lines of these records.
fn lines(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        let mut line = json!({"partition": record.partition, "offset": record.offset});
        let (kind, id) = match &record.message {
            Message::Frame(frame) => ("frame", frame.id.clone()),
            Message::End(end) => ("end", end.last.clone()),
            Message::Gap(gap) => ("gap", gap.first.clone()),
            Message::Undecodable => unreachable!("a stage writes envelopes"),
        };
        let id = id.unwrap();
        line["kind"] = kind.into();
        line["source"] = id.source_id.into();
        line["epoch"] = id.epoch.into();
        line["sequence"] = id.sequence.into();
        if let Message::Frame(frame) = &record.message {
            line["content"] = frame.content_word().into();
            line["width"] = frame.width.into();
            line["height"] = frame.height.into();
            let results = frame.results.iter().map(|result| {
                json!({
                    "processor": result.processor,
                    "status": result.status().word(),
                    "attempts": result.attempts,
                    "error": result.error,
                    "detections": vec![Value::Null; result.detections.len()],
                })
            });
            line["results"] = results.collect();
        }
        bytes.extend(line.to_string().into_bytes());
        bytes.push(b'\n');
    }
    bytes
}
