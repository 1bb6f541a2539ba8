//! The tracks are good: far fewer ids are mixed up than by matching boxes alone.

#[path = "../evaluation/mod.rs"]
mod evaluation;

use evaluation::scene::{Difficulty, Scene};
use evaluation::{compare, score::Scorer};
use tracker::Bounds;

const CROWDED: Difficulty = Difficulty {
    people: 8,
    missed: 0.10,
    false_alarms: 0.30,
    jitter: 0.04,
};

#[test]
fn in_crossings_occlusions_misses_and_false_alarms_ids_stay_with_their_persons() {
    for seed in 1..=5 {
        let report = compare(&Scene::make(seed, 1_000, CROWDED));
        let (ours, plain) = (report.tracker, report.plain);
        assert!(ours.idf1 > plain.idf1 + 0.1, "{seed}: {ours:?} {plain:?}");
        assert!(ours.mota > plain.mota, "{seed}: {ours:?} {plain:?}");
        assert!(
            2 * ours.id_switches < plain.id_switches,
            "{seed}: {ours:?} {plain:?}"
        );
    }
}

fn at(x: f64) -> Bounds {
    Bounds {
        x,
        y: 0.0,
        width: 10.0,
        height: 10.0,
    }
}

#[test]
fn scores_are_those_of_a_sequence_worked_out_by_hand() {
    let mut scorer = Scorer::default();
    // Two persons, four frames. The second one's id changes in frame 2; frame 3 misses the first and invents one.
    for (first, second) in [(11, 12), (11, 12), (11, 13)] {
        scorer.frame(
            &[(1, at(0.0)), (2, at(50.0))],
            &[(first, at(1.0)), (second, at(50.0))],
        );
    }
    scorer.frame(
        &[(1, at(0.0)), (2, at(50.0))],
        &[(13, at(50.0)), (14, at(200.0))],
    );
    let score = scorer.score();
    assert_eq!(
        (score.missed, score.false_alarms, score.id_switches),
        (1, 1, 1)
    );
    assert_eq!((score.boxes, score.mota), (8, 1.0 - 3.0 / 8.0));
    // The best pairing: 1 with 11 (3 boxes), 2 with 12 or 13 (2 boxes); 8 boxes true, 8 told.
    assert_eq!(score.idf1, 2.0 * 5.0 / 16.0);
}
