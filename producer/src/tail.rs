//! The last record of a source in its topic, found from the end backwards.

use pipeline::envelope::Kind;
use pipeline::kafka::{
    Admin, Feed, FeedEvent, Incoming, KafkaConfig, KafkaFault, LaneBounds, Position, StartPolicy,
    TopicPartition,
};
use pipeline::v1::end_of_stream::Reason;
use pipeline::wire;
use std::ops::Range;

/// The furthest that Kafka holds of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// The newest epoch of which there is a record.
    pub epoch: u64,
    /// Frames of it that Kafka holds (or whose absence it explains): sequences 0 up to, but excluding, this one.
    pub frames: u64,
    /// Why the epoch is over; None if it is not.
    pub ended: Option<Reason>,
}

impl Last {
    /// None if the record is not of this source, or no message at all.
    fn of(record: &Incoming, source_id: &str) -> Option<Self> {
        if record.header(wire::SOURCE)? != source_id {
            return None;
        }
        let message = wire::from_record(record).ok()?;
        let id = message.id()?;
        let (frames, ended) = match &message {
            Kind::Frame(_) => (id.sequence.saturating_add(1), None),
            Kind::Gap(gap) => (id.sequence.saturating_add(gap.count), None),
            Kind::End(end) => {
                let frames = if end.empty {
                    0
                } else {
                    id.sequence.saturating_add(1)
                };
                (frames, Some(end.reason()))
            }
        };
        Some(Self {
            epoch: id.epoch,
            frames,
            ended,
        })
    }

    /// Records of an older epoch may lie behind those of a newer one.
    fn is_behind(&self, other: &Self) -> bool {
        let place = |last: &Self| (last.epoch, last.frames, last.ended.is_some());
        place(self) < place(other)
    }
}

/// Prefetched frames are large; reading the tail is a matter of a moment.
const TAIL_BOUNDS: LaneBounds = LaneBounds {
    lane_records: 100,
    lane_bytes: 16 << 20,
    total_bytes: 16 << 20,
};

/// The furthest record of a source in these partitions, after waiting until every transaction begun is decided. Blocks.
pub fn last_of(
    kafka: &KafkaConfig,
    admin: &Admin,
    lanes: &[TopicPartition],
    source_id: &str,
) -> Result<Option<Last>, KafkaFault> {
    let mut furthest: Option<Last> = None;
    for lane in lanes {
        let end = admin.settled_end(lane)?;
        let (start, _) = admin.ends(lane)?;
        for window in backwards(start..end) {
            let last = last_in(kafka, lane, &window, source_id)?;
            if let Some(last) = last {
                if furthest.is_none_or(|furthest| furthest.is_behind(&last)) {
                    furthest = Some(last);
                }
                break; // what lies before this window is older
            }
        }
    }
    Ok(furthest)
}

/// Windows from the end to the start, each larger than the one before: near ends are found fast, far ones in few steps.
fn backwards(offsets: Range<i64>) -> impl Iterator<Item = Range<i64>> {
    const FIRST: i64 = 32;
    const GROWTH: i64 = 8;
    let mut end = offsets.end;
    let mut size = FIRST;
    std::iter::from_fn(move || {
        if end <= offsets.start {
            return None;
        }
        let start = end.saturating_sub(size).max(offsets.start);
        let window = start..end;
        end = start;
        size = size.saturating_mul(GROWTH);
        Some(window)
    })
}

fn last_in(
    kafka: &KafkaConfig,
    lane: &TopicPartition,
    window: &Range<i64>,
    source_id: &str,
) -> Result<Option<Last>, KafkaFault> {
    let start = StartPolicy {
        otherwise: Position::Earliest,
        resume: [(lane.clone(), window.start)].into(),
    };
    let mut feed = Feed::assign(kafka, std::slice::from_ref(lane), start, TAIL_BOUNDS)?;
    let found = read_window(&mut feed, window, source_id);
    feed.close_blocking();
    found
}

fn read_window(
    feed: &mut Feed,
    window: &Range<i64>,
    source_id: &str,
) -> Result<Option<Last>, KafkaFault> {
    let control = feed.control();
    let mut furthest: Option<Last> = None;
    while let Some(event) = feed.next_blocking() {
        match event {
            FeedEvent::Record { lane, record } => {
                if record.offset >= window.end {
                    break;
                }
                control.release(lane, 1, record.memory_bytes());
                let last = Last::of(&record, source_id);
                if furthest
                    .is_none_or(|furthest| last.is_some_and(|last| furthest.is_behind(&last)))
                {
                    furthest = last;
                }
            }
            FeedEvent::Expired { lane, .. } => control.release(lane, 1, 0),
            FeedEvent::ReachedEnd { .. } => break,
            FeedEvent::Failed(fault) => return Err(fault),
            FeedEvent::Assigned(_) | FeedEvent::Revoked { .. } => {}
        }
    }
    Ok(furthest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::trace::TraceContext;
    use pipeline::v1::{EndOfStream, FrameId, Gap};

    #[test]
    fn windows_cover_everything_once_from_the_end_on() {
        for (start, end) in [(0, 0), (5, 6), (100, 132), (7, 10_000)] {
            let windows: Vec<_> = backwards(start..end).collect();
            let mut expected_end = end;
            for window in &windows {
                assert_eq!(window.end, expected_end);
                assert!(window.start < window.end);
                expected_end = window.start;
            }
            assert_eq!(expected_end, start.min(end));
            assert!(windows.len() <= 5, "{windows:?}");
        }
    }

    fn incoming(message: impl Into<Kind>) -> Incoming {
        let out = wire::to_record(&"t".into(), &message.into(), 0, &TraceContext::root()).unwrap();
        let headers = out.headers.into_iter();
        Incoming {
            lane: TopicPartition::new("t", 0),
            offset: 0,
            timestamp_ms: 0,
            key: Some(out.key),
            headers: headers
                .map(|(key, value)| (key.to_owned(), value.into()))
                .collect(),
            payload: out.payload,
        }
    }

    #[test]
    fn gaps_and_ends_count_as_far_as_they_reach() {
        let gap = Gap {
            first: Some(FrameId::new("cam0", 2, 10)),
            count: 5,
            ..Gap::default()
        };
        let last = Last::of(&incoming(gap), "cam0").unwrap();
        assert_eq!((last.epoch, last.frames, last.ended), (2, 15, None));
        let end = EndOfStream {
            last: Some(FrameId::new("cam0", 2, 14)),
            reason: Reason::Finished.into(),
            ..EndOfStream::default()
        };
        let ended = Last::of(&incoming(end.clone()), "cam0").unwrap();
        assert_eq!((ended.frames, ended.ended), (15, Some(Reason::Finished)));
        assert!(last.is_behind(&ended) && !ended.is_behind(&last));
        assert_eq!(Last::of(&incoming(end), "cam1"), None);
    }

    #[test]
    fn a_newer_epoch_is_further_than_any_sequence_of_an_older_one() {
        let of = |epoch, frames| Last {
            epoch,
            frames,
            ended: None,
        };
        assert!(of(1, 900).is_behind(&of(2, 1)));
    }
}
