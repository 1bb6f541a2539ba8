//! Where reading begins.

use super::access::Access;
use super::error::is_passing;
use super::shared::lock;
use super::{KafkaFault, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::Mutex;
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
    /// Progress known from elsewhere (a sink's own record); it wins where it is further than the group's. It holds for a
    /// partition's first assignment in the life of a feed: the topic may be made anew later, and the group's progress says so.
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

    /// Sets an explicit offset for every partition of the list. Returns what was committed with those offsets. `begun`:
    /// partitions that were assigned before; these are added to them.
    pub(super) fn resolve<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        partitions: &mut TopicPartitionList,
        group: &Group,
        begun: &Mutex<HashSet<TopicPartition>>,
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
        let mut known = Vec::new();
        for lane in &lanes {
            let committed = match group {
                Group::Member(_) => committed_of(&answers, lane)?,
                Group::None => None,
            };
            let is_new = committed.is_none() && matches!(group, Group::Member(_));
            let resume = self.resume.get(lane).copied();
            let resume = match resume.filter(|_| !lock(begun).contains(lane)) {
                Some(resume) if is_new => {
                    let end = resolve_position(consumer, lane, Position::Latest)?;
                    still_there(lane, resume, end)
                }
                resume => resume,
            };
            // Until the group has progress, that from elsewhere is all there is.
            if !is_new {
                known.push(lane.clone());
            }
            let offset = match committed.max(resume) {
                Some(offset) => offset,
                None => resolve_position(consumer, lane, self.otherwise)?,
            };
            partitions
                .set_partition_offset(&lane.topic, lane.partition, Offset::Offset(offset))
                .map_err(KafkaFault::request(format!("starting {lane}")))?;
            let answer = answers.find_partition(&lane.topic, lane.partition);
            if let Some(answer) = answer.filter(|_| committed == Some(offset)) {
                notes.insert(lane.clone(), answer.metadata().to_owned());
            }
        }
        lock(begun).extend(known);
        Ok(notes)
    }
}

/// Where the sinks go on in a partition that the group knows nothing of; None if they have it from another topic.
fn still_there(lane: &TopicPartition, resume: i64, end: i64) -> Option<i64> {
    if resume > end {
        tracing::warn!(
            %lane, resume, end,
            "the sinks' progress lies behind the partition's end, and the group has none: the topic was made anew. The \
             progress does not count"
        );
        return None;
    }
    if resume > 0 {
        tracing::warn!(
            %lane, resume,
            "the group has no progress in this partition, the sinks have: going on after what they have. If the topic was made \
             anew since, give the consumer another output: its *.framelane-progress.json is of the old topic"
        );
    }
    Some(resume)
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
    fn progress_behind_the_end_is_of_another_topic() {
        let lane = TopicPartition::new("t", 0);
        assert_eq!(still_there(&lane, 60, 100), Some(60));
        assert_eq!(still_there(&lane, 60, 60), Some(60));
        assert_eq!(still_there(&lane, 60, 59), None);
        assert_eq!(still_there(&lane, 0, 0), Some(0));
    }

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
