//! Prints how good the tracks are, on scenes of growing difficulty: `cargo run -p tracker --example quality [SEED]`.

#[path = "../evaluation/mod.rs"]
mod evaluation;

use evaluation::scene::{Difficulty, Scene};
use evaluation::{compare, score::Score};

const FRAMES: usize = 1_500;

fn main() {
    let seed = std::env::args()
        .nth(1)
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    println!("{FRAMES} frames a scene, seed {seed}; pillars hide people, people hide each other");
    println!("scene           matcher    MOTA   IDF1  id switches   missed  false alarms    boxes");
    for (name, people, missed, false_alarms, jitter) in [
        ("few, clear", 4, 0.02, 0.05, 0.02),
        ("some", 8, 0.10, 0.30, 0.04),
        ("many, unsure", 14, 0.20, 0.60, 0.06),
    ] {
        let difficulty = Difficulty {
            people,
            missed,
            false_alarms,
            jitter,
        };
        let report = compare(&Scene::make(seed, FRAMES, difficulty));
        print(name, "tracker", &report.tracker);
        print("", "plain IoU", &report.plain);
    }
}

fn print(scene: &str, matcher: &str, score: &Score) {
    let Score {
        mota,
        idf1,
        id_switches,
        missed,
        false_alarms,
        boxes,
    } = score;
    println!(
        "{scene:<15} {matcher:<9} {mota:>6.3} {idf1:>6.3} {id_switches:>12} {missed:>8} {false_alarms:>13} {boxes:>8}"
    );
}
