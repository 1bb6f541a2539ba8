//! The demo's own count: compares the ids in the input topic with those in the output, without trusting any service.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Result, bail};

use super::record::Record;

/// `(source, epoch)`.
type Stream<'a> = (&'a str, u64);

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Audit {
    pub frames_in: u64,
    pub frames_out: u64,
    /// Frames of the output with a result, and every result is OK.
    pub processed: u64,
    /// Frames of the output in which something was detected.
    pub with_detections: u64,
    pub detections: u64,
    /// Sequence numbers that the input neither holds nor explains (by a gap record), and frames of the input that the
    /// output does not hold.
    pub lost: u64,
    /// Frames that are there more than once.
    pub duplicated: u64,
    /// Frames that come after a later one of their source.
    pub out_of_order: u64,
}

impl Audit {
    /// # Errors
    /// The output holds a frame that the input never had: then these are not the records of one run.
    pub fn compare(input: &[Record], output: &[Record]) -> Result<Self> {
        let entered = Topic::read(input);
        let left = Topic::read(output);
        if let Some((source, epoch, sequence)) = left.ids().find(|id| !entered.holds(*id)) {
            bail!("the output holds frame {source}/{epoch}/{sequence}, which the input never had");
        }
        let missing = entered.ids().filter(|id| !left.holds(*id)).count() as u64;
        let mut audit = Self {
            frames_in: entered.frames,
            frames_out: left.frames,
            lost: entered.unexplained() + missing,
            duplicated: entered.duplicated + left.duplicated,
            out_of_order: entered.out_of_order + left.out_of_order,
            ..Self::default()
        };
        audit.count_results(output);
        Ok(audit)
    }

    /// Nothing lost, doubled or out of order, and there was something to count.
    pub fn holds(&self) -> bool {
        self.frames_in > 0 && self.lost == 0 && self.duplicated == 0 && self.out_of_order == 0
    }

    fn count_results(&mut self, output: &[Record]) {
        for record in output {
            let Record::Frame(frame) = record else {
                continue;
            };
            let detections: usize = frame
                .results
                .iter()
                .map(|result| result.detections.len())
                .sum();
            let is_processed = !frame.results.is_empty()
                && frame.results.iter().all(|result| result.status == "ok");
            self.processed += u64::from(is_processed);
            self.with_detections += u64::from(detections > 0);
            self.detections += detections as u64;
        }
    }
}

/// What one topic holds.
#[derive(Default)]
struct Topic<'a> {
    frames: u64,
    duplicated: u64,
    out_of_order: u64,
    streams: BTreeMap<Stream<'a>, Sequences>,
}

#[derive(Default)]
struct Sequences {
    frames: BTreeSet<u64>,
    /// Numbers that gap records account for.
    explained: BTreeSet<u64>,
    /// How many numbers there must be, as far as the records say.
    expected: u64,
}

impl<'a> Topic<'a> {
    fn read(records: &'a [Record]) -> Self {
        let mut topic = Self::default();
        let mut latest: HashMap<&str, (u64, u64)> = HashMap::new();
        for record in records {
            match record {
                Record::Frame(frame) => {
                    let position = (frame.epoch, frame.sequence);
                    let latest = latest.entry(&frame.source).or_insert(position);
                    topic.frames += 1;
                    topic.out_of_order += u64::from(position < *latest);
                    *latest = position.max(*latest);
                    let stream = topic
                        .streams
                        .entry((&frame.source, frame.epoch))
                        .or_default();
                    topic.duplicated += u64::from(!stream.frames.insert(frame.sequence));
                    stream.expected = stream.expected.max(frame.sequence + 1);
                }
                Record::Gap(gap) => {
                    let stream = topic.streams.entry((&gap.source, gap.epoch)).or_default();
                    let after = gap.sequence.saturating_add(gap.count);
                    stream.explained.extend(gap.sequence..after);
                    stream.expected = stream.expected.max(after);
                }
                Record::End(end) if !end.empty => {
                    let stream = topic.streams.entry((&end.source, end.epoch)).or_default();
                    stream.expected = stream.expected.max(end.sequence + 1);
                }
                Record::End(_) | Record::Unknown => {}
            }
        }
        topic
    }

    fn ids(&self) -> impl Iterator<Item = (&'a str, u64, u64)> {
        self.streams.iter().flat_map(|((source, epoch), stream)| {
            stream
                .frames
                .iter()
                .map(move |sequence| (*source, *epoch, *sequence))
        })
    }

    fn holds(&self, (source, epoch, sequence): (&str, u64, u64)) -> bool {
        self.streams
            .get(&(source, epoch))
            .is_some_and(|stream| stream.frames.contains(&sequence))
    }

    /// Numbers for which there is neither a frame nor an explanation.
    fn unexplained(&self) -> u64 {
        self.streams
            .values()
            .map(|stream| stream.expected - stream.frames.union(&stream.explained).count() as u64)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(lines: &[String]) -> Vec<Record> {
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn frame(epoch: u64, sequence: u64) -> String {
        format!(
            r#"{{"kind":"frame","source":"s","epoch":{epoch},"sequence":{sequence},"results":[{{"status":"ok","detections":[{{"label":"person"}}]}}]}}"#
        )
    }

    fn gap(sequence: u64, count: u64) -> String {
        format!(
            r#"{{"kind":"gap","source":"s","epoch":1,"sequence":{sequence},"count":{count},"reason":"overload"}}"#
        )
    }

    fn end(sequence: u64) -> String {
        format!(
            r#"{{"kind":"end","source":"s","epoch":1,"sequence":{sequence},"empty":false,"reason":"finished"}}"#
        )
    }

    fn compare(input: &[String], output: &[String]) -> Audit {
        Audit::compare(&records(input), &records(output)).unwrap()
    }

    #[test]
    fn a_perfect_run_holds() {
        let topic = [frame(1, 0), gap(1, 2), frame(1, 3), end(3)];
        let audit = compare(&topic, &topic);
        assert!(audit.holds());
        assert_eq!(
            (audit.frames_in, audit.processed, audit.detections),
            (2, 2, 2)
        );
    }

    #[test]
    fn a_frame_that_never_entered_kafka_is_lost() {
        let topic = [frame(1, 0), frame(1, 2), end(3)];
        assert_eq!(compare(&topic, &topic).lost, 2);
    }

    #[test]
    fn a_frame_that_does_not_come_out_is_lost() {
        let audit = compare(&[frame(1, 0), frame(1, 1)], &[frame(1, 0)]);
        assert_eq!(
            (audit.lost, audit.duplicated, audit.out_of_order),
            (1, 0, 0)
        );
        assert!(!audit.holds());
    }

    #[test]
    fn duplicates_and_disorder_are_told_apart() {
        let input = [frame(1, 0), frame(1, 1), frame(1, 2)];
        let audit = compare(
            &input,
            &[frame(1, 0), frame(1, 0), frame(1, 2), frame(1, 1)],
        );
        assert_eq!(
            (audit.lost, audit.duplicated, audit.out_of_order),
            (0, 1, 1)
        );
    }

    #[test]
    fn a_new_epoch_starts_from_nought_in_order() {
        let topic = [frame(1, 0), frame(1, 1), frame(2, 0)];
        assert!(compare(&topic, &topic).holds());
    }

    #[test]
    fn a_frame_from_nowhere_is_an_error() {
        let error = Audit::compare(&records(&[frame(1, 0)]), &records(&[frame(1, 7)])).unwrap_err();
        assert!(error.to_string().contains("s/1/7"), "{error}");
    }

    #[test]
    fn an_empty_run_proves_nothing() {
        assert!(!compare(&[], &[]).holds());
    }
}
