//! The usual scores of multiple object tracking.
//!
//! MOTA and id switches as in CLEAR MOT (Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance",
//! EURASIP JIVP 2008): a pair of the frame before stays while it overlaps by half, the rest are matched anew; a switch is
//! a person whose id is not the one known last. IDF1 as in Ristani et al., arXiv 1609.01775: the share of boxes that are
//! right under the one best pairing of persons and ids over the whole sequence.

use std::collections::{BTreeMap, BTreeSet};
use tracker::{Bounds, best_pairs};

/// Boxes that overlap by this much mean the same person.
const SAME: f64 = 0.5;

/// Counts over a sequence.
#[derive(Debug, Default)]
pub struct Scorer {
    /// By person: the id in the frame before.
    paired: BTreeMap<u64, u64>,
    /// By person: the id known last.
    known: BTreeMap<u64, u64>,
    /// Frames in which a person and an id overlap.
    together: BTreeMap<(u64, u64), u64>,
    true_boxes: u64,
    told_boxes: u64,
    missed: u64,
    false_alarms: u64,
    switches: u64,
}

/// How good a sequence's tracks are.
#[derive(Debug, Clone, Copy)]
pub struct Score {
    /// 1 is perfect; 1 - (missed + false alarms + switches) / boxes.
    pub mota: f64,
    /// 1 is perfect.
    pub idf1: f64,
    /// How often a person got another id.
    pub id_switches: u64,
    /// Boxes without an id, of `boxes`.
    pub missed: u64,
    /// Ids without a person.
    pub false_alarms: u64,
    /// True ones.
    pub boxes: u64,
}

impl Scorer {
    /// Takes a frame in: who was there, and what the tracker told.
    pub fn frame(&mut self, truth: &[(u64, Bounds)], told: &[(u64, Bounds)]) {
        self.true_boxes += truth.len() as u64;
        self.told_boxes += told.len() as u64;
        for (person, there) in truth {
            for (id, said) in told {
                if there.iou(said) >= SAME {
                    *self.together.entry((*person, *id)).or_default() += 1;
                }
            }
        }
        let overlap = |person: usize, id: usize| {
            let iou = truth[person].1.iou(&told[id].1);
            let stays = self.paired.get(&truth[person].0) == Some(&told[id].0);
            // A pair that stays outweighs every other choice.
            (iou >= SAME).then_some(if stays { 1.0 } else { iou / 1_000.0 })
        };
        let pairs = best_pairs(truth.len(), told.len(), overlap);
        self.missed += (truth.len() - pairs.len()) as u64;
        self.false_alarms += (told.len() - pairs.len()) as u64;
        self.paired = pairs
            .into_iter()
            .map(|(person, id)| (truth[person].0, told[id].0))
            .collect();
        for (&person, &id) in &self.paired {
            let before = self.known.insert(person, id);
            self.switches += u64::from(before.is_some_and(|before| before != id));
        }
    }

    /// The scores of everything so far.
    pub fn score(&self) -> Score {
        let persons: BTreeSet<u64> = self.together.keys().map(|(person, _)| *person).collect();
        let ids: BTreeSet<u64> = self.together.keys().map(|(_, id)| *id).collect();
        let (persons, ids): (Vec<_>, Vec<_>) =
            (persons.into_iter().collect(), ids.into_iter().collect());
        let frames = |person: usize, id: usize| {
            let pair = (persons[person], ids[id]);
            self.together.get(&pair).copied().unwrap_or(0)
        };
        let most = self.together.values().max().copied().unwrap_or(1) as f64;
        let weight = |person: usize, id: usize| Some(frames(person, id) as f64 / most);
        let pairs = best_pairs(persons.len(), ids.len(), weight);
        let right: u64 = pairs.iter().map(|&(person, id)| frames(person, id)).sum();
        let wrong = (self.missed + self.false_alarms + self.switches) as f64;
        Score {
            mota: 1.0 - wrong / self.true_boxes.max(1) as f64,
            idf1: 2.0 * right as f64 / (self.true_boxes + self.told_boxes).max(1) as f64,
            id_switches: self.switches,
            missed: self.missed,
            false_alarms: self.false_alarms,
            boxes: self.true_boxes,
        }
    }
}
