//! Where tracked objects went, of a bounded number of them: those that were seen longest.

use pipeline::v1::{Detection, FrameId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Objects that are told of.
pub const MOST_TRACKS: usize = 200;
/// Places of an object; when there are more, every second one is left out.
const MOST_PLACES: usize = 64;
/// What was not seen for this long is gone.
const GONE_NS: i64 = 10_000_000_000;

/// All objects.
#[derive(Debug, Default)]
pub struct Tracks {
    /// By source, epoch and number.
    known: BTreeMap<(Arc<str>, u64, u64), Track>,
    /// Objects in all.
    pub count: u64,
}

/// One object.
#[derive(Debug)]
pub struct Track {
    pub source: Arc<str>,
    pub epoch: u64,
    pub id: u64,
    pub label: String,
    /// First and last time, nanoseconds since the Unix epoch.
    pub span_ns: (i64, i64),
    pub frames: u64,
    /// The middle of the lower edge of its box, in pixels.
    pub places: Vec<(f32, f32)>,
    /// One place is kept of this many.
    stride: u64,
}

impl Tracks {
    /// An object was seen in a frame.
    pub fn see(&mut self, frame: &FrameId, time_ns: i64, detection: &Detection) {
        let (Some(b), true) = (detection.r#box, detection.track_id > 0) else {
            return;
        };
        let source: Arc<str> = frame.source_id.as_str().into();
        let key = (Arc::clone(&source), frame.epoch, detection.track_id);
        if !self.known.contains_key(&key) {
            self.count += 1;
            self.make_room(time_ns);
        }
        let track = self.known.entry(key).or_insert_with(|| Track {
            source,
            epoch: frame.epoch,
            id: detection.track_id,
            label: detection.label.clone(),
            span_ns: (time_ns, time_ns),
            frames: 0,
            places: Vec::new(),
            stride: 1,
        });
        track.see(time_ns, (b.x + b.width / 2.0, b.y + b.height));
    }

    /// The shortest go; those that may still be there only if it cannot be helped.
    fn make_room(&mut self, now_ns: i64) {
        if self.known.len() < 2 * MOST_TRACKS {
            return;
        }
        let mut frames: Vec<u64> = self.known.values().map(|track| track.frames).collect();
        frames.sort_unstable_by(|a, b| b.cmp(a));
        let least = frames[MOST_TRACKS];
        let may_be_there = |track: &Track| now_ns.saturating_sub(track.span_ns.1) < GONE_NS;
        self.known
            .retain(|_, track| track.frames > least || may_be_there(track));
        if self.known.len() >= 2 * MOST_TRACKS {
            self.known.retain(|_, track| track.frames > least);
        }
    }

    /// The longest ones, by source and time.
    pub fn longest(&self, most: usize) -> Vec<&Track> {
        let mut tracks: Vec<&Track> = self.known.values().collect();
        tracks.sort_by_key(|track| std::cmp::Reverse(track.frames));
        tracks.truncate(most);
        tracks.sort_by(|a, b| (&a.source, a.span_ns, a.id).cmp(&(&b.source, b.span_ns, b.id)));
        tracks
    }
}

impl Track {
    fn see(&mut self, time_ns: i64, place: (f32, f32)) {
        let (first, last) = self.span_ns;
        self.span_ns = (first.min(time_ns), last.max(time_ns));
        if self.frames.is_multiple_of(self.stride) && place.0.is_finite() && place.1.is_finite() {
            self.places.push(place);
            if self.places.len() > MOST_PLACES {
                let mut at = 0;
                self.places.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
                self.stride *= 2;
            }
        }
        self.frames += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::v1::Box;

    fn see(tracks: &mut Tracks, id: u64, sequence: u64) {
        let bounds = Box {
            x: sequence as f32,
            ..Box::default()
        };
        let detection = Detection {
            r#box: Some(bounds),
            track_id: id,
            ..Detection::default()
        };
        tracks.see(&FrameId::new("a", 1, sequence), sequence as i64, &detection);
    }

    #[test]
    fn a_long_track_keeps_places_of_all_its_way() {
        let mut tracks = Tracks::default();
        (0..10_000).for_each(|sequence| see(&mut tracks, 1, sequence));
        let [track] = tracks.longest(9)[..] else {
            panic!("one object");
        };
        assert!((MOST_PLACES / 2..=MOST_PLACES).contains(&track.places.len()));
        assert_eq!(track.places[0].0, 0.0);
        assert!(track.places.last().unwrap().0 > 9_000.0);
        assert_eq!((track.frames, track.span_ns), (10_000, (0, 9_999)));
    }

    #[test]
    fn of_too_many_the_longest_stay() {
        let mut tracks = Tracks::default();
        for id in 1..=5_000 {
            let frames = if id % 100 == 0 { 20 } else { 1 + id % 5 };
            (0..frames).for_each(|sequence| see(&mut tracks, id, sequence));
        }
        assert_eq!(tracks.count, 5_000);
        let longest = tracks.longest(50);
        assert_eq!(longest.len(), 50);
        assert!(longest.iter().all(|track| track.frames == 20));
    }
}
