//! How good the tracks are: a synthetic scene whose truth is known, the usual scores, and a plain matcher to compare with.

pub mod plain;
pub mod scene;
pub mod score;

use scene::Scene;
use score::{Score, Scorer};
use tracker::{Bounds, Detection, Tracker};

/// The two that are compared.
pub struct Report {
    /// [`Tracker`].
    pub tracker: Score,
    /// [`plain::Plain`].
    pub plain: Score,
}

/// Shows a scene to both.
pub fn compare(scene: &Scene) -> Report {
    let (mut ours, mut plain) = (Scorer::default(), Scorer::default());
    let (mut tracker, mut matcher) = (Tracker::default(), plain::Plain::default());
    for (sequence, frame) in scene.frames.iter().enumerate() {
        let seen: Vec<Detection<'_>> = frame
            .seen
            .iter()
            .map(|seen| Detection {
                label: "person",
                confidence: seen.confidence,
                bounds: seen.bounds,
            })
            .collect();
        let ids = tracker.observe(sequence as u64, &seen);
        ours.frame(&frame.truth, &told(&seen, &ids));
        let ids = matcher.observe(&seen);
        plain.frame(&frame.truth, &told(&seen, &ids));
    }
    Report {
        tracker: ours.score(),
        plain: plain.score(),
    }
}

/// What a tracker says of a frame: the boxes that have an id.
fn told(seen: &[Detection<'_>], ids: &[Option<u64>]) -> Vec<(u64, Bounds)> {
    let pairs = seen.iter().zip(ids);
    pairs
        .filter_map(|(seen, id)| Some(((*id)?, seen.bounds)))
        .collect()
}
