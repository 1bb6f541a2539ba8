//! A whole record: key, headers and value, each from someone else.
//!
//! Input: pieces that end with `FF` (which is in no UTF-8 text): key, then header names and values by turns; behind the
//! last `FF` the value.

use bytes::Bytes;
use pipeline::envelope::{Kind, is_source_id};
use pipeline::kafka::{Incoming, TopicPartition};
use pipeline::trace::TraceContext;
use pipeline::wire;

const END_OF_PIECE: u8 = 0xff;

/// Headers name a valid frame or none, a trace is continued or begun, and a message goes out with the headers it says.
pub fn run(data: &[u8]) {
    let record = record_of(data);
    if let Some(id) = wire::id_of(&record) {
        assert!(is_source_id(&id.source_id), "{id}");
    }
    check_trace(record.header(TraceContext::HEADER));
    if let Ok(kind) = wire::from_record(&record) {
        check_written(&kind);
    }
}

fn record_of(data: &[u8]) -> Incoming {
    let mut pieces: Vec<Bytes> = data
        .split(|&byte| byte == END_OF_PIECE)
        .map(Bytes::copy_from_slice)
        .collect();
    let payload = pieces.pop().unwrap_or_default();
    let mut pieces = pieces.into_iter();
    let key = pieces.next();
    let mut headers = Vec::new();
    while let (Some(name), Some(value)) = (pieces.next(), pieces.next()) {
        headers.push((String::from_utf8_lossy(&name).into_owned(), value));
    }
    Incoming {
        lane: TopicPartition::new("topic", 0),
        offset: 0,
        timestamp_ms: 0,
        key,
        headers,
        payload,
    }
}

fn check_trace(header: Option<&str>) {
    let Some(text) = header else { return };
    let continued = TraceContext::continue_from(header).to_string();
    if let Ok(parent) = text.parse::<TraceContext>() {
        let same: TraceContext = parent.to_string().parse().expect("as it is written");
        assert_eq!(same, parent);
        let trace_id = |text: &str| text.get(3..35).map(str::to_lowercase);
        assert_eq!(trace_id(&continued), trace_id(text), "another trace");
    }
}

fn check_written(kind: &Kind) {
    let topic = "out".into();
    let Ok(record) = wire::to_record(&topic, kind, 0, &TraceContext::root()) else {
        return; // too large
    };
    let sent = Incoming {
        lane: TopicPartition::new("out", 0),
        offset: 0,
        timestamp_ms: 0,
        key: Some(record.key),
        headers: record
            .headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Bytes::from(value)))
            .collect(),
        payload: record.payload,
    };
    let read = wire::from_record(&sent).expect("what was written can be read");
    // Only gaps for records of which nothing is known have no source.
    let id = read.id().filter(|id| is_source_id(&id.source_id)).cloned();
    assert_eq!(wire::id_of(&sent), id, "the headers name another frame");
}
