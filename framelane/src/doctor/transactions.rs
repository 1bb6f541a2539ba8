//! Transactions that nobody decides: readers wait behind them.

use super::finding::Findings;
use super::seconds;
use pipeline::kafka::{Inspector, KafkaFault, TopicPartition, TopicState};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where readers of committed records end, and where the partition ends.
pub type Ends = BTreeMap<TopicPartition, (i64, i64)>;

/// Partitions without a leader are left out: they are a finding of their own.
pub fn look(inspector: &Inspector, topics: &[TopicState]) -> Result<Ends, KafkaFault> {
    let mut ends = Ends::new();
    for topic in topics {
        for partition in topic.partitions.iter().filter(|one| one.leader >= 0) {
            let lane = TopicPartition::new(topic.name.as_str(), partition.id);
            let found = inspector.ends(&lane)?;
            ends.insert(lane, found);
        }
    }
    Ok(ends)
}

/// One that was open at the first look and is still open at the second.
pub fn compare(first: &Ends, second: &Ends, between: Duration, findings: &mut Findings) {
    for (lane, (committed, _)) in second {
        let Some((before, end_before)) = first.get(lane) else {
            continue;
        };
        if committed > before || committed >= end_before {
            continue;
        }
        let TopicPartition { topic, partition } = lane;
        findings.wrong_with(
            "transactions",
            lane.to_string(),
            format!(
                "a transaction at offset {committed} has been undecided for at least {}: readers of committed records wait \
                 there, with {} records behind it",
                seconds(between),
                end_before - committed
            ),
            format!(
                "its writer is dead or stuck; Kafka aborts it after its timeout (ours: 15 s). If it stays: \
                 kafka-transactions.sh --bootstrap-server HOST:PORT abort --topic {topic} --partition {partition} \
                 --start-offset {committed}"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_transaction_that_stays_open_is_wrong() {
        let lane = |n| TopicPartition::new("t", n);
        let first = Ends::from([
            (lane(0), (5, 9)),
            (lane(1), (5, 9)),
            (lane(2), (5, 5)),
            (lane(3), (5, 9)),
        ]);
        let second = Ends::from([
            (lane(0), (5, 12)),  // still the same one
            (lane(1), (11, 12)), // the next one
            (lane(2), (5, 8)),   // one that began between the looks
            (lane(3), (9, 9)),
        ]);
        let mut findings = Findings::default();
        compare(&first, &second, Duration::from_secs(3), &mut findings);
        let about: Vec<_> = findings
            .list()
            .iter()
            .map(|one| one.about.clone())
            .collect();
        assert_eq!(about, ["t[0]"]);
    }
}
