//! Where reading begins.

use super::access::Access;
use super::error::is_passing;
use super::{KafkaFault, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A place in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The oldest record that Kafka still has.
    Earliest,
    /// After the newest record.
    Latest,
    /// The record with this offset, or the next one there is.
    Offset(i64),
    /// The first record captured at or after this time, milliseconds since the Unix epoch.
    Time(i64),
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let forms =
            "expected earliest, latest, offset:N or time:RFC3339 (e.g. time:2026-11-21T10:00:00Z)";
        match text.split_once(':') {
            None if text == "earliest" => Ok(Self::Earliest),
            None if text == "latest" => Ok(Self::Latest),
            Some(("offset", n)) => match n.parse() {
                Ok(n) if n >= 0 => Ok(Self::Offset(n)),
                _ => Err(format!("{n:?} is not an offset; {forms}")),
            },
            Some(("time", time)) => time
                .parse::<jiff::Timestamp>()
                .map(|time| Self::Time(time.as_millisecond()))
                .map_err(|cause| format!("{cause}; {forms}")),
            _ => Err(forms.to_owned()),
        }
    }
}

/// Decides the first offset of each partition that is assigned.
#[derive(Debug, Clone)]
pub struct StartPolicy {
    /// Where to begin if neither the group nor `resume` knows the partition.
    pub otherwise: Position,
    /// Progress known from elsewhere (a sink's own record); it wins where it is further than the group's.
    pub resume: HashMap<TopicPartition, i64>,
}

impl StartPolicy {
    /// A policy without progress of its own.
    pub fn new(otherwise: Position) -> Self {
        Self {
            otherwise,
            resume: HashMap::new(),
        }
    }

    /// Sets an explicit offset for every partition of the list. Returns what was committed with those offsets.
    pub(super) fn resolve<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        partitions: &mut TopicPartitionList,
        group: &Group,
    ) -> Result<HashMap<TopicPartition, String>, KafkaFault> {
        let mut notes = HashMap::new();
        let answers = match group {
            Group::Member(id) => {
                patiently(|| consumer.committed_offsets(partitions.clone(), REQUEST_TIMEOUT))
                    .map_err(KafkaFault::request_with(
                        &needs(id, partitions),
                        "reading the group's committed offsets",
                    ))?
            }
            Group::None => TopicPartitionList::new(),
        };
        let lanes: Vec<_> = partitions
            .elements()
            .iter()
            .map(|e| TopicPartition::new(e.topic(), e.partition()))
            .collect();
        for lane in lanes {
            let committed = match group {
                Group::Member(_) => committed_of(&answers, &lane)?,
                Group::None => None,
            };
            let known = committed.max(self.resume.get(&lane).copied());
            let offset = match known {
                Some(offset) => offset,
                None => resolve_position(consumer, &lane, self.otherwise)?,
            };
            partitions
                .set_partition_offset(&lane.topic, lane.partition, Offset::Offset(offset))
                .map_err(KafkaFault::request(format!("starting {lane}")))?;
            let answer = answers.find_partition(&lane.topic, lane.partition);
            if let Some(answer) = answer.filter(|_| committed == Some(offset)) {
                notes.insert(lane, answer.metadata().to_owned());
            }
        }
        Ok(notes)
    }
}

/// What Kafka answered for one partition; None if nothing was ever committed there. An error is no such answer.
pub(super) fn committed_of(
    answers: &TopicPartitionList,
    lane: &TopicPartition,
) -> Result<Option<i64>, KafkaFault> {
    let doing = || format!("reading the committed offset of {lane}");
    let Some(answer) = answers.find_partition(&lane.topic, lane.partition) else {
        return Err(KafkaFault::Failed(format!(
            "{} failed: Kafka left it out",
            doing()
        )));
    };
    answer.error().map_err(KafkaFault::request_with(
        &[Access::to_topic("Describe", &lane.topic)],
        doing(),
    ))?;
    Ok(match answer.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    })
}

/// What must be allowed to learn what a group has committed.
fn needs(group: &str, partitions: &TopicPartitionList) -> Vec<Access> {
    let topics = partitions.elements();
    let topics = topics
        .iter()
        .map(|element| Access::to_topic("Read", element.topic()));
    topics.chain([Access::to_group(group)]).collect()
}

/// Whether there are committed offsets to go on from.
#[derive(Debug, Clone)]
pub(super) enum Group {
    /// Those of this group.
    Member(String),
    None,
}

impl Group {
    /// The group's name; empty without one.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Member(id) => id,
            Self::None => "",
        }
    }
}

/// Long enough for a node that is just starting; a person is told after that.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Repeats a request while its error is one that passes, e.g. because a new topic's leader is not known everywhere yet.
pub(super) fn patiently<T>(mut request: impl FnMut() -> KafkaResult<T>) -> KafkaResult<T> {
    const PAUSE: Duration = Duration::from_millis(50);
    let start = Instant::now();
    loop {
        match request() {
            Err(cause)
                if cause.rdkafka_error_code().is_some_and(is_passing)
                    && start.elapsed() < REQUEST_TIMEOUT =>
            {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

pub(super) fn resolve_position<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    lane: &TopicPartition,
    position: Position,
) -> Result<i64, KafkaFault> {
    let watermarks = || {
        patiently(|| consumer.fetch_watermarks(&lane.topic, lane.partition, REQUEST_TIMEOUT))
            .map_err(KafkaFault::request_with(
                &[Access::to_topic("Describe", &lane.topic)],
                format!("reading the ends of {lane}"),
            ))
    };
    match position {
        Position::Offset(offset) => Ok(offset),
        Position::Earliest => Ok(watermarks()?.0),
        Position::Latest => Ok(watermarks()?.1),
        Position::Time(ms) => {
            let mut query = TopicPartitionList::new();
            query
                .add_partition_offset(&lane.topic, lane.partition, Offset::Offset(ms))
                .and_then(|()| {
                    patiently(|| consumer.offsets_for_times(query.clone(), REQUEST_TIMEOUT))
                })
                .map_err(KafkaFault::request(format!("looking up a time in {lane}")))?
                .elements()
                .first()
                .and_then(|element| match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None, // nothing that late: begin after the newest
                })
                .map_or_else(|| Ok(watermarks()?.1), Ok)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_people_write_them() {
        assert_eq!("earliest".parse(), Ok(Position::Earliest));
        assert_eq!("offset:7".parse(), Ok(Position::Offset(7)));
        assert_eq!(
            "time:1970-01-01T00:00:01.5Z".parse(),
            Ok(Position::Time(1500))
        );
        for bad in ["", "offset:-1", "offset:x", "time:yesterday", "newest"] {
            let error = bad.parse::<Position>().expect_err(bad);
            assert!(error.contains("earliest"), "{error}");
        }
    }
}
