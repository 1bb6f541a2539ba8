//! Invariants 8, 9 and 10: what the shipped consumer wrote, against the final read.

use super::Check;
use super::view::View;
use crate::history::{Message, Record};
use processor_proto::v1::FrameId;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The lines of each partition, in their order.
type Lanes<'a> = BTreeMap<i64, Vec<Line<'a>>>;

struct Line<'a> {
    offset: i64,
    value: Value,
    bytes: &'a [u8],
}

/// The lines of a file; the error names one that cannot be read.
fn lanes(file: &[u8]) -> Result<Lanes<'_>, String> {
    if !file.is_empty() && !file.ends_with(b"\n") {
        return Err("the last line is torn".to_owned());
    }
    let mut lanes = Lanes::new();
    for bytes in file
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let text = || String::from_utf8_lossy(bytes).into_owned();
        let value: Value =
            serde_json::from_slice(bytes).map_err(|why| format!("{why}: {}", text()))?;
        let (Some(partition), Some(offset)) =
            (value["partition"].as_i64(), value["offset"].as_i64())
        else {
            return Err(format!("a line without a place: {}", text()));
        };
        lanes.entry(partition).or_default().push(Line {
            offset,
            value,
            bytes,
        });
    }
    Ok(lanes)
}

pub fn the_live_consumer_saw_what_is_there(view: &View<'_>) -> Check {
    let mut check = Check::new(8, "a live consumer saw what the final read sees");
    let lanes = match lanes(&view.history.live) {
        Ok(lanes) => lanes,
        Err(why) => {
            check.violated(why);
            return check;
        }
    };
    let mut lines: BTreeMap<(i64, i64), &Value> = BTreeMap::new();
    for (partition, lane) in &lanes {
        lines.extend(
            lane.iter()
                .map(|line| ((*partition, line.offset), &line.value)),
        );
    }
    for record in view.history.output() {
        let place = (i64::from(record.partition), record.offset);
        let line = lines.remove(&place);
        check.that(line.is_some(), || {
            format!("{}: the consumer has no line of it", record.place())
        });
        if let Some(line) = line {
            let wrong = disagreement(line, record);
            check.that(wrong.is_none(), || {
                format!("{}: {}", record.place(), wrong.unwrap_or_default())
            });
        }
    }
    for ((partition, offset), _) in lines {
        check.that(false, || {
            format!("the consumer has a line of [{partition}]@{offset}, which is not there")
        });
    }
    check
}

/// Where a line and its record differ.
fn disagreement(line: &Value, record: &Record) -> Option<String> {
    let id = |kind: &str, id: &FrameId| {
        vec![
            ("kind", json!(kind)),
            ("source", json!(id.source_id)),
            ("epoch", json!(id.epoch)),
            ("sequence", json!(id.sequence)),
        ]
    };
    let nobody = FrameId::default();
    let expected = match &record.message {
        Message::Frame(frame) => {
            let mut all = id("frame", frame.id.as_ref().unwrap_or(&nobody));
            all.push(("content", json!(frame.content_word())));
            all.push(("width", json!(frame.width)));
            all.push(("height", json!(frame.height)));
            all
        }
        Message::End(end) => id("end", end.last.as_ref().unwrap_or(&nobody)),
        Message::Gap(gap) => id("gap", gap.first.as_ref().unwrap_or(&nobody)),
        Message::Undecodable => vec![("kind", json!("undecodable"))],
    };
    let results = match &record.message {
        Message::Frame(frame) => &frame.results[..],
        _ => &[],
    };
    let shown = line["results"].as_array().map_or(&[][..], Vec::as_slice);
    let wrong = expected.iter().find(|(name, value)| line[*name] != *value);
    if let Some((name, value)) = wrong {
        return Some(format!(
            "the consumer's line has {name} {} instead of {value}",
            line[*name]
        ));
    }
    let same = shown.len() == results.len()
        && shown.iter().zip(results).all(|(shown, result)| {
            shown["processor"] == result.processor.as_str()
                && shown["status"] == result.status().word()
                && shown["attempts"] == result.attempts
                && shown["error"] == result.error.as_str()
                && shown["detections"].as_array().map(Vec::len) == Some(result.detections.len())
        });
    (!same).then(|| format!("the consumer's line has the results {shown:?}"))
}

pub fn replays_are_identical(view: &View<'_>) -> Check {
    let mut check = Check::new(9, "replays are identical, byte for byte");
    let mut all = Vec::new();
    for replay in &view.history.replays {
        match lanes(replay) {
            Ok(lanes) => all.push(lanes),
            Err(why) => check.violated(why),
        }
    }
    let (Some(first), true) = (all.first(), all.len() > 1) else {
        check.violated(format!("{} replays, two are needed", all.len()));
        return check;
    };
    let lines: usize = first.values().map(Vec::len).sum();
    let records = view.history.output().len();
    check.that(lines == records, || {
        format!("a replay has {lines} lines, the final read {records} records")
    });
    for other in &all[1..] {
        let partitions = first.keys().chain(other.keys());
        for partition in partitions.collect::<std::collections::BTreeSet<_>>() {
            let none = Vec::new();
            let (one, two) = (
                first.get(partition).unwrap_or(&none),
                other.get(partition).unwrap_or(&none),
            );
            for at in 0..one.len().max(two.len()) {
                let (a, b) = (one.get(at), two.get(at));
                check.that(a.map(|line| line.bytes) == b.map(|line| line.bytes), || {
                    format!("line {at} of partition {partition} differs")
                });
            }
        }
    }
    check
}

pub fn a_killed_consumer_has_no_gap_or_duplicate(view: &View<'_>) -> Check {
    let mut check = Check::new(10, "a consumer that was killed has no gap and no duplicate");
    if view.history.consumer_kills == 0 {
        return check;
    }
    let lanes = match lanes(&view.history.live) {
        Ok(lanes) => lanes,
        Err(why) => {
            check.violated(why);
            return check;
        }
    };
    let mut offsets: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for record in view.history.output() {
        offsets
            .entry(i64::from(record.partition))
            .or_default()
            .push(record.offset);
    }
    for (partition, expected) in offsets {
        let lines = lanes.get(&partition).map_or(&[][..], Vec::as_slice);
        for at in 0..expected.len().max(lines.len()) {
            let (line, expected) = (lines.get(at).map(|line| line.offset), expected.get(at));
            check.that(line.as_ref() == expected, || {
                format!(
                    "line {at} of partition {partition}: offset {line:?} instead of {expected:?}"
                )
            });
        }
    }
    check
}
