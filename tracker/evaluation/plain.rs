//! What one writes in an afternoon: each box belongs to the last box that it overlaps most.

use tracker::{Bounds, Detection, MAX_UNSEEN_FRAMES, best_pairs};

/// The matcher: no motion, no second look, ids at once, the same memory as the tracker's.
#[derive(Debug, Default)]
pub struct Plain {
    /// Id, last box, frames since.
    known: Vec<(u64, Bounds, u32)>,
    last_id: u64,
}

impl Plain {
    /// The ids of a frame's detections.
    pub fn observe(&mut self, seen: &[Detection<'_>]) -> Vec<Option<u64>> {
        let overlap = |known: usize, at: usize| {
            let iou = self.known[known].1.iou(&seen[at].bounds);
            (seen[at].confidence >= 0.5 && iou >= 0.3).then_some(iou)
        };
        let pairs = best_pairs(self.known.len(), seen.len(), overlap);
        let mut ids = vec![None; seen.len()];
        self.known.iter_mut().for_each(|known| known.2 += 1);
        for (known, at) in pairs {
            let known = &mut self.known[known];
            (known.1, known.2) = (seen[at].bounds, 0);
            ids[at] = Some(known.0);
        }
        for (at, seen) in seen.iter().enumerate() {
            if ids[at].is_none() && seen.confidence >= 0.5 {
                self.last_id += 1;
                self.known.push((self.last_id, seen.bounds, 0));
                ids[at] = Some(self.last_id);
            }
        }
        self.known
            .retain(|(_, _, unseen)| *unseen <= MAX_UNSEEN_FRAMES);
        ids
    }
}
