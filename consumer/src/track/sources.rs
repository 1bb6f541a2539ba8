//! The tracks of one partition's sources: a pure function of the records so far. What can be saved is all there is.

use crate::track::snapshot::{SourceState, TrackState};
use pipeline::envelope::{Kind, is_source_id};
use pipeline::v1::{Detection, Frame, FrameId, Result as StageResult, Status};
use prost_types::value::Kind as ValueKind;
use prost_types::{Struct, Value};
use tracker::{Bounds, Detection as Seen};

/// The name under which a frame tells that it was tracked.
pub const PROCESSOR: &str = "tracker";
/// The attribute that counts the objects seen in the frame; "hidden" counts those that are only believed to be there.
const VISIBLE: &str = "visible";
const NO_RESULTS: &str = "the frame has no results: a tracker follows what processors have found, in the topic that a broker writes";

impl TrackState {
    /// Takes the partition's next record in. A frame gets the ids of the objects in it, and a result that says so.
    pub fn observe(&mut self, message: &mut Kind) {
        match message {
            Kind::Frame(frame) => self.observe_frame(frame),
            Kind::Gap(gap) => {
                let Some(first) = named(gap.first.as_ref()) else {
                    return; // nobody knows whose frames are missing: the next sequence tells
                };
                let source = self.source(first);
                if source.is_open(first.epoch) {
                    source
                        .tracker
                        .coast_to(first.sequence.saturating_add(gap.count));
                }
            }
            Kind::End(end) => {
                let Some(last) = named(end.last.as_ref()) else {
                    return;
                };
                let source = self.source(last);
                if source.is_open(last.epoch) {
                    source.end();
                }
            }
        }
    }

    fn observe_frame(&mut self, frame: &mut Frame) {
        let Some(id) = frame.id.clone() else {
            return; // a decoded frame always has one
        };
        let source = self.source(&id);
        let result = if !source.is_open(id.epoch) || source.tracker.is_late(id.sequence) {
            told(
                Status::Skipped,
                "the frame comes after a later one of its source",
            )
        } else if frame
            .results
            .iter()
            .any(|result| result.status() == Status::Ok)
        {
            source.follow(&id, frame)
        } else {
            source.tracker.coast_to(id.sequence.saturating_add(1));
            match frame.results.is_empty() {
                true => told(Status::Skipped, NO_RESULTS),
                false => told(Status::Skipped, "no result of the frame is OK"),
            }
        };
        frame.results.push(result);
    }

    /// What is known of a source; an epoch that is new to it begins.
    fn source(&mut self, id: &FrameId) -> &mut SourceState {
        let source = self
            .sources
            .entry(id.source_id.clone())
            .or_insert_with(|| SourceState::begin(id.epoch));
        if id.epoch > source.epoch {
            *source = SourceState::begin(id.epoch);
        }
        source
    }
}

impl SourceState {
    fn begin(epoch: u64) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }

    fn is_open(&self, epoch: u64) -> bool {
        epoch == self.epoch && !self.has_ended
    }

    /// The tracks end; only the epoch is remembered, so that no id of it is given again.
    fn end(&mut self) {
        *self = Self {
            has_ended: true,
            ..Self::begin(self.epoch)
        };
    }

    /// Gives the frame's detections their ids.
    fn follow(&mut self, id: &FrameId, frame: &mut Frame) -> StageResult {
        let mut detections: Vec<&mut Detection> = frame
            .results
            .iter_mut()
            .filter(|result| result.status() == Status::Ok)
            .flat_map(|result| &mut result.detections)
            .collect();
        let seen: Vec<Seen<'_>> = detections.iter().map(|one| seen(one)).collect();
        let ids = self.tracker.observe(id.sequence, &seen);
        for (detection, id) in detections.iter_mut().zip(ids) {
            detection.track_id = id.unwrap_or(0);
        }
        let tracks = self.tracker.tracks().iter();
        let (visible, hidden): (Vec<_>, Vec<_>) = tracks
            .filter(|track| track.is_confirmed())
            .partition(|track| track.unseen == 0);
        let count = |name: &str, tracks: &[_]| (name.to_owned(), number(tracks.len()));
        StageResult {
            attributes: Some(Struct {
                fields: [count(VISIBLE, &visible), count("hidden", &hidden)].into(),
            }),
            ..told(Status::Ok, "")
        }
    }
}

/// A detection without a box is nowhere: the tracker leaves it alone.
fn seen(detection: &Detection) -> Seen<'_> {
    let b = detection.r#box.unwrap_or_default();
    Seen {
        label: &detection.label,
        confidence: detection.confidence,
        bounds: Bounds {
            x: b.x.into(),
            y: b.y.into(),
            width: b.width.into(),
            height: b.height.into(),
        },
    }
}

/// What the frame says of its tracking.
fn told(status: Status, error: &str) -> StageResult {
    StageResult {
        processor: PROCESSOR.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        status: status.into(),
        attempts: u32::from(status == Status::Ok),
        error: error.to_owned(),
        ..StageResult::default()
    }
}

fn number(count: usize) -> Value {
    Value {
        kind: Some(ValueKind::NumberValue(count as f64)),
    }
}

/// How many objects a tracker's result says are in the picture; None if it is no tracker's.
pub fn followed(result: &StageResult) -> Option<f64> {
    let fields = &result.attributes.as_ref()?.fields;
    match &fields.get(VISIBLE)?.kind {
        Some(ValueKind::NumberValue(count)) if result.processor == PROCESSOR => Some(*count),
        _ => None,
    }
}

fn named(id: Option<&FrameId>) -> Option<&FrameId> {
    id.filter(|id| id.epoch > 0 && is_source_id(&id.source_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::v1::{Box, EndOfStream, Gap};
    use prost::Message;

    /// A frame with two people who cross, as the processor `people` would tell it.
    fn frame(epoch: u64, sequence: u64, status: Status) -> Kind {
        let person = |x: f32, y: f32| Detection {
            r#box: Some(Box {
                x,
                y,
                width: 40.0,
                height: 80.0,
            }),
            label: "person".to_owned(),
            confidence: 0.9,
            ..Detection::default()
        };
        let at = sequence as f32 * 3.0;
        Kind::Frame(Frame {
            id: Some(FrameId::new("cam0", epoch, sequence)),
            results: vec![StageResult {
                processor: "people".to_owned(),
                status: status.into(),
                detections: vec![person(at, 50.0), person(300.0 - at, 70.0)],
                ..StageResult::default()
            }],
            ..Frame::default()
        })
    }

    fn end(epoch: u64, sequence: u64) -> Kind {
        Kind::End(EndOfStream {
            last: Some(FrameId::new("cam0", epoch, sequence)),
            ..EndOfStream::default()
        })
    }

    /// Shows the records; the ids of the last one's detections, and what its tracking says.
    fn ids(state: &mut TrackState, records: impl IntoIterator<Item = Kind>) -> (Vec<u64>, Status) {
        let mut last = None;
        for mut record in records {
            state.observe(&mut record);
            last = Some(record);
        }
        let Some(Kind::Frame(frame)) = last else {
            panic!("the last record is a frame");
        };
        let [people, told] = &frame.results[..] else {
            panic!("the result of the frame, and that of the tracker");
        };
        assert_eq!(told.processor, PROCESSOR);
        let ids = people.detections.iter().map(|one| one.track_id).collect();
        (ids, told.status())
    }

    fn frames(epoch: u64, sequences: std::ops::Range<u64>) -> impl Iterator<Item = Kind> {
        sequences.map(move |sequence| frame(epoch, sequence, Status::Ok))
    }

    #[test]
    fn ids_are_set_in_the_results_and_survive_gaps_and_errors() {
        let mut state = TrackState::default();
        assert_eq!(ids(&mut state, frames(1, 0..5)), (vec![1, 2], Status::Ok));
        let gap = Kind::Gap(Gap {
            first: Some(FrameId::new("cam0", 1, 5)),
            count: 4,
            ..Gap::default()
        });
        state.observe(&mut gap.clone());
        let failed = (9..12).map(|sequence| frame(1, sequence, Status::Timeout));
        assert_eq!(ids(&mut state, failed), (vec![0, 0], Status::Skipped));
        assert_eq!(ids(&mut state, frames(1, 12..13)), (vec![1, 2], Status::Ok));
    }

    #[test]
    fn a_new_epoch_and_an_end_end_all_tracks_and_no_id_is_given_twice() {
        let mut state = TrackState::default();
        ids(&mut state, frames(1, 0..5));
        assert_eq!(ids(&mut state, frames(2, 0..1)).0, [0, 0]);
        assert_eq!(ids(&mut state, frames(2, 1..3)).0, [1, 2]);
        let late = ids(&mut state, frames(1, 5..9));
        assert_eq!(late, (vec![0, 0], Status::Skipped), "an epoch that is over");
        let again = ids(&mut state, frames(2, 2..3));
        assert_eq!(again, (vec![0, 0], Status::Skipped), "a frame seen before");
        state.observe(&mut end(2, 2));
        let beyond = ids(&mut state, frames(2, 3..9));
        assert_eq!(beyond, (vec![0, 0], Status::Skipped), "behind the end");
        assert!(
            state.encoded_len() < 32,
            "an ended source keeps its name only"
        );
    }
}
