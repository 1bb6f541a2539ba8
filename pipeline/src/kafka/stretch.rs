//! A stretch of one partition, read once: everything between two offsets, or only the newest record.

use super::access::{Access, denied};
use super::lookup::Quiet;
use super::start::{REQUEST_TIMEOUT, patiently};
use super::{Incoming, KafkaConfig, KafkaFault, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Kafka gives something, or says that there is nothing more, within this time; else the read has failed.
const SILENCE: Duration = Duration::from_secs(15);
/// Behind the newest record there usually is a transaction's marker and nothing else.
const FIRST_LOOK_BACK_OFFSETS: i64 = 8;

/// A reader of single stretches of one partition, without a group. Every call blocks.
pub struct StretchReader {
    consumer: BaseConsumer<Quiet>,
    lane: TopicPartition,
    records_read: usize,
}

impl std::fmt::Debug for StretchReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StretchReader")
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

impl StretchReader {
    /// A reader of this partition.
    pub fn open(config: &KafkaConfig, lane: TopicPartition) -> Result<Self, KafkaFault> {
        let mut client = config.consumer();
        client
            .set(
                "group.id",
                format!("framelane-stretch-{:016x}", rand::random::<u64>()),
            )
            // An empty answer is the end of a stretch: it is wanted at once.
            .set("fetch.wait.max.ms", "10");
        let consumer = client
            .create_with_context(Quiet)
            .map_err(KafkaFault::request(format!("creating a reader of {lane}")))?;
        Ok(Self {
            consumer,
            lane,
            records_read: 0,
        })
    }

    /// How many records all reads have given.
    pub fn records_read(&self) -> usize {
        self.records_read
    }

    /// The first offset that Kafka still has, and the offset behind what is decided: readers see nothing from there on.
    pub fn ends(&self) -> Result<(i64, i64), KafkaFault> {
        patiently(|| {
            self.consumer
                .fetch_watermarks(&self.lane.topic, self.lane.partition, REQUEST_TIMEOUT)
        })
        .map_err(KafkaFault::request_with(
            &[Access::to_topic("Describe", &self.lane.topic)],
            format!("reading the ends of {}", self.lane),
        ))
    }

    /// Gives every committed record of these offsets to `take`, in order; returns how many there were. What retention
    /// has removed is not there: compare with [`StretchReader::ends`].
    pub fn read(
        &mut self,
        offsets: Range<i64>,
        mut take: impl FnMut(Incoming),
    ) -> Result<usize, KafkaFault> {
        let (low, _) = self.ends()?;
        let from = offsets.start.max(low);
        if from >= offsets.end {
            return Ok(0);
        }
        self.go_to(from)?;
        let (mut records, mut last_word) = (0, Instant::now());
        while last_word.elapsed() < SILENCE {
            match self.consumer.poll(Duration::from_millis(100)) {
                None => continue,
                Some(Ok(message)) if message.offset() >= offsets.end => return Ok(records),
                Some(Ok(message)) => {
                    records += 1;
                    self.records_read += 1;
                    take(Incoming::copy_of(&message, self.lane.clone()));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(records),
                Some(Err(cause)) => {
                    let needs = [Access::to_topic("Read", &self.lane.topic)];
                    let fault = denied(cause.rdkafka_error_code(), &needs);
                    let lane = self.lane.clone();
                    return Err(fault.unwrap_or(KafkaFault::Read { lane, cause }));
                }
            }
            last_word = Instant::now();
        }
        Err(KafkaFault::Failed(format!(
            "{} gave nothing for {SILENCE:?}, {records} records behind offset {from}",
            self.lane
        )))
    }

    /// The newest committed record. Looks back from the end, so the work does not grow with what lies before it.
    pub fn newest(&mut self) -> Result<Option<Incoming>, KafkaFault> {
        let (low, end) = self.ends()?;
        let mut look_back = FIRST_LOOK_BACK_OFFSETS;
        loop {
            let from = end.saturating_sub(look_back).max(low);
            let mut newest = None;
            self.read(from..end, |record| newest = Some(record))?;
            if newest.is_some() || from == low {
                return Ok(newest);
            }
            look_back *= 8;
        }
    }

    fn go_to(&self, offset: i64) -> Result<(), KafkaFault> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(
            &self.lane.topic,
            self.lane.partition,
            Offset::Offset(offset),
        )
        .and_then(|()| self.consumer.assign(&list))
        .map_err(KafkaFault::request(format!(
            "going to offset {offset} of {}",
            self.lane
        )))
    }
}
