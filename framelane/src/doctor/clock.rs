//! This machine's clock and the node's: a record that the node stamps, between two looks at ours.

use super::finding::Findings;
use bytes::Bytes;
use pipeline::kafka::{
    Admin, KafkaConfig, KafkaFault, Outgoing, StretchReader, TopicPartition, TopicSpec, Writer,
};
use std::time::Duration;

/// Holds nothing but these records.
const TOPIC: &str = "framelane.doctor";
/// Latencies and schedules are wrong by as much as the clocks differ.
const TOLERANCE_MS: i64 = 500;

pub fn check(kafka: &KafkaConfig, findings: &mut Findings) -> Result<(), KafkaFault> {
    let admin = Admin::connect(kafka)?;
    admin.ensure_topic(&TopicSpec {
        retention: Some(Duration::from_secs(3600)),
        settings: vec![("message.timestamp.type", "LogAppendTime")],
        ..TopicSpec::frames(TOPIC, 1)
    })?;
    let writer = Writer::new(kafka)?;
    // The first record pays for the connection; the second one is measured.
    probe(&writer)?;
    let before = jiff::Timestamp::now().as_millisecond();
    let offset = probe(&writer)?;
    let after = jiff::Timestamp::now().as_millisecond();
    let mut reader = StretchReader::open(kafka, TopicPartition::new(TOPIC, 0))?;
    let mut stamped = None;
    reader.read(offset..offset + 1, |record| {
        stamped = Some(record.timestamp_ms)
    })?;
    let Some(stamped) = stamped else {
        return Err(KafkaFault::Failed(format!(
            "{TOPIC} does not have the record that it has just taken"
        )));
    };
    let apart = apart_ms(before, stamped, after);
    if apart.abs() > TOLERANCE_MS {
        let way = if apart > 0 { "ahead of" } else { "behind" };
        findings.wrong_with(
            "clock",
            "the node's clock",
            format!("it is at least {} ms {way} this machine's: latencies and schedules are wrong by that", apart.abs()),
            "let both keep their time with NTP (chrony, systemd-timesyncd)".to_owned(),
        );
    }
    Ok(())
}

fn probe(writer: &Writer) -> Result<i64, KafkaFault> {
    let record = Outgoing {
        topic: TOPIC.into(),
        partition: Some(0),
        key: Bytes::from_static(b"clock"),
        timestamp_ms: jiff::Timestamp::now().as_millisecond(),
        headers: Vec::new(),
        payload: Bytes::from_static(b"clock"),
    };
    Ok(writer.send(&record)?.wait()?.offset)
}

/// How far the node is ahead at least, by what was between two looks at our clock; negative: behind.
fn apart_ms(before: i64, stamped: i64, after: i64) -> i64 {
    (stamped - after).max(0) + (stamped - before).min(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_two_looks_says_nothing() {
        assert_eq!(apart_ms(100, 105, 110), 0);
        assert_eq!(apart_ms(100, 710, 110), 600);
        assert_eq!(apart_ms(1000, 300, 1010), -700);
    }
}
