//! Where tracked objects came from: the last places of every track, to be drawn. Pure.

use pipeline::v1::{Frame, FrameId};
use std::collections::{BTreeMap, VecDeque};

/// Places that a trail keeps, one a frame: about a second of a camera.
const LONGEST: usize = 30;
/// A track that was not seen for this many frames has no trail any more.
const FORGET_FRAMES: u64 = 30;

/// The places of one object, in pixels, the newest last.
#[derive(Debug, Clone, PartialEq)]
pub struct Trail {
    /// The object.
    pub track_id: u64,
    /// Where it stood: the middle of the lower edge of its box.
    pub places: Vec<(f32, f32)>,
}

/// The trails of all sources.
#[derive(Debug, Default)]
pub struct Trails {
    sources: BTreeMap<String, SourceTrails>,
}

#[derive(Debug, Default)]
struct SourceTrails {
    epoch: u64,
    /// By track id: when it was last seen, and where it was.
    tracks: BTreeMap<u64, (u64, VecDeque<(f32, f32)>)>,
}

impl Trails {
    /// Takes the next frame of a source in. Returns the trails of the objects in it, by their ids.
    pub fn follow(&mut self, frame: &Frame) -> Vec<Trail> {
        let Some(FrameId {
            source_id,
            epoch,
            sequence,
        }) = &frame.id
        else {
            return Vec::new();
        };
        let tracked = || {
            let detections = frame.results.iter().flat_map(|result| &result.detections);
            detections.filter(|one| one.track_id > 0)
        };
        if tracked().next().is_none() && !self.sources.contains_key(source_id) {
            return Vec::new(); // most streams have no tracks: they cost nothing
        }
        let source = self.sources.entry(source_id.clone()).or_default();
        if source.epoch != *epoch {
            *source = SourceTrails {
                epoch: *epoch,
                ..SourceTrails::default()
            };
        }
        let is_recent = |seen: u64| sequence.saturating_sub(seen) <= FORGET_FRAMES;
        source.tracks.retain(|_, (seen, _)| is_recent(*seen));
        let mut trails = Vec::new();
        for detection in tracked() {
            let Some(b) = detection.r#box else {
                continue;
            };
            let (seen, places) = source.tracks.entry(detection.track_id).or_default();
            *seen = *sequence;
            places.push_back((b.x + b.width / 2.0, b.y + b.height));
            if places.len() > LONGEST {
                places.pop_front();
            }
            trails.push(Trail {
                track_id: detection.track_id,
                places: places.iter().copied().collect(),
            });
        }
        trails
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::v1::{Box, Detection, Result as StageResult};

    fn frame(epoch: u64, sequence: u64, track_id: u64) -> Frame {
        let bounds = Box {
            x: sequence as f32,
            y: 10.0,
            width: 20.0,
            height: 30.0,
        };
        Frame {
            id: Some(FrameId::new("cam0", epoch, sequence)),
            results: vec![StageResult {
                detections: vec![Detection {
                    r#box: Some(bounds),
                    track_id,
                    ..Detection::default()
                }],
                ..StageResult::default()
            }],
            ..Frame::default()
        }
    }

    #[test]
    fn a_trail_grows_to_its_bound_and_ends_with_its_epoch() {
        let mut trails = Trails::default();
        for sequence in 0..100 {
            let [trail] = &trails.follow(&frame(1, sequence, 7))[..] else {
                panic!("one object, one trail");
            };
            assert_eq!(trail.places.len(), LONGEST.min(sequence as usize + 1));
            assert_eq!(trail.places.last(), Some(&(sequence as f32 + 10.0, 40.0)));
        }
        assert_eq!(trails.follow(&frame(1, 200, 7))[0].places.len(), 1);
        assert_eq!(trails.follow(&frame(2, 201, 7))[0].places.len(), 1);
    }

    #[test]
    fn frames_without_tracks_cost_nothing() {
        let mut trails = Trails::default();
        assert_eq!(trails.follow(&frame(1, 0, 0)), []);
        assert!(trails.sources.is_empty());
    }
}
