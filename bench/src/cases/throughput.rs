//! How much of what the machine can copy a broker keeps.

use super::{Case, Outcome, Plan, ratio, run};
use crate::lab::{Lab, ProcessorServer};
use crate::report::Figure;
use anyhow::Result;

pub const FRAMES_100K: Case = Case {
    name: "copy-100k",
    what: "frames/s: 100 KB frames, 4 partitions, processor without delay, exactly-once",
    baseline: "the plain copy in transactions",
    aim: ">= 0.85",
    run: |lab, plan| {
        let processor = lab.look()?;
        compare(lab, plan, &processor, (16_000, 100_000), 0.85)
    },
};

pub const FRAMES_10K: Case = Case {
    name: "copy-10k",
    what: "the same with 10 KB frames",
    baseline: "the plain copy in transactions",
    aim: ">= 0.60",
    run: |lab, plan| {
        let processor = lab.look()?;
        compare(lab, plan, &processor, (96_000, 10_000), 0.60)
    },
};

pub const FRAMES_10K_BATCHED: Case = Case {
    name: "copy-10k-batched",
    what: "the same, the processor asks for calls of up to 16 frames",
    baseline: "the plain copy in transactions",
    aim: ">= 0.60",
    run: |lab, plan| {
        let processor = lab.look_at_batches(16)?;
        compare(lab, plan, &processor, (96_000, 10_000), 0.60)
    },
};

/// So many frames of so many bytes through a broker and through the copy.
fn compare(
    lab: &Lab,
    plan: &Plan,
    processor: &ProcessorServer,
    (full, bytes): (u64, usize),
    aim: f64,
) -> Result<Outcome> {
    let frames = plan.of(full);
    let input = run::filled(lab, 4, frames, bytes)?;
    let (mut ours, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        ours.push(run::through_broker(
            lab,
            &input,
            frames,
            &processor.url,
            &[],
        )?);
        copies.push(run::through_copy(lab, &input, frames)?);
        let (ours, copy) = (ours[ours.len() - 1], copies[copies.len() - 1]);
        eprintln!("   broker {:.0} fps, copy {:.0} fps", ours.fps, copy.fps);
    }
    let fps =
        |rates: &[crate::measure::Rate]| -> Vec<f64> { rates.iter().map(|r| r.fps).collect() };
    let cpu = |rates: &[crate::measure::Rate]| -> Vec<f64> {
        rates.iter().map(|rate| rate.cpu_per_1000).collect()
    };
    let ratio = ratio(&fps(&ours), &fps(&copies));
    Ok(Outcome {
        ratio: Some(ratio),
        met: ratio.median >= aim,
        figures: vec![
            Figure::new("broker", "frames/s", &fps(&ours)),
            Figure::new("copy", "frames/s", &fps(&copies)),
            Figure::new("broker's CPU", "s/1,000 frames", &cpu(&ours)),
            Figure::new("copy's CPU", "s/1,000 frames", &cpu(&copies)),
        ],
    })
}
