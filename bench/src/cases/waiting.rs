//! Processors that take their time: what is lost beside the time that the calls themselves take.

use super::{Case, Outcome, Plan, ratio, run};
use crate::baselines::calls::Called;
use crate::lab::Lab;
use crate::report::Figure;
use crate::simulate::{lognormal, ordered_window};
use anyhow::Result;
use std::time::Duration;

pub const FIXED_20MS: Case = Case {
    name: "window-20ms",
    what: "frames/s: 1 partition, 100 KB frames, 20 ms processor, window 32, exactly-once",
    baseline: "32 calls in flight to the same processor without Kafka",
    aim: ">= 0.97",
    run: fixed,
};

pub const TAIL_32: Case = tail("tail-32", |lab, plan| long_tail(lab, plan, 32));
pub const TAIL_64: Case = tail("tail-64", |lab, plan| long_tail(lab, plan, 64));
pub const TAIL_128: Case = tail("tail-128", |lab, plan| long_tail(lab, plan, 128));

const fn tail(name: &'static str, run: fn(&Lab, &Plan) -> Result<Outcome>) -> Case {
    Case {
        name,
        what: "frames/s: 4 partitions, 100 KB frames, processor with p50 20 ms and p99 200 ms, window as named, exactly-once",
        baseline: "the smaller of what head-of-line blocking allows (simulated) and the plain copy",
        aim: ">= 0.95",
        run,
    }
}

const BYTES: usize = 100_000;
const CALLS_LIMIT: Duration = Duration::from_secs(120);

fn fixed(lab: &Lab, plan: &Plan) -> Result<Outcome> {
    let frames = plan.of(12_000);
    let input = run::filled(lab, 1, frames, BYTES)?;
    let processor = lab.processor(&["chaos", "--needs-pixels", "--delay", "fixed:20ms"])?;
    let (frames_text, bytes_text) = (frames.to_string(), BYTES.to_string());
    let bounds = ["--window", "32", "--in-flight", "32"];
    let (mut ours, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        ours.push(run::through_broker(lab, &input, frames, &processor.url, &bounds)?.fps);
        let mut args = vec!["--processor", &processor.url, "--in-flight", "32"];
        args.extend(["--frames", &frames_text, "--bytes", &bytes_text]);
        let called: Called = lab.baseline("calls", &args)?.result(CALLS_LIMIT)?;
        calls.push(called.calls as f64 / called.seconds);
    }
    let ratio = ratio(&ours, &calls);
    Ok(Outcome {
        ratio: Some(ratio),
        met: ratio.median >= 0.97,
        figures: vec![
            Figure::new("broker", "frames/s", &ours),
            Figure::new("without Kafka", "calls/s", &calls),
        ],
    })
}

fn long_tail(lab: &Lab, plan: &Plan, window: usize) -> Result<Outcome> {
    /// Enough that the simulation's own spread is below 1 %.
    const SIMULATED: usize = 1_000_000;
    let frames = plan.of(16_000);
    let input = run::filled(lab, 4, frames, BYTES)?;
    let allowed = ordered_window(4, window, SIMULATED, lognormal(0.02, 0.2));
    let bound = window.to_string();
    let (mut ours, mut copies) = (Vec::new(), Vec::new());
    for number in 0..plan.runs {
        // Another seed each time: the delays are a function of it and of the frame.
        let seed = number.to_string();
        let delay = [
            "chaos",
            "--needs-pixels",
            "--delay",
            "lognormal:p50=20ms,p99=200ms",
            "--seed",
            &seed,
        ];
        let processor = lab.processor(&delay)?;
        let bounds = ["--window", &bound];
        ours.push(run::through_broker(lab, &input, frames, &processor.url, &bounds)?.fps);
        copies.push(run::through_copy(lab, &input, frames)?.fps);
    }
    let possible: Vec<_> = copies.iter().map(|copy| copy.min(allowed)).collect();
    let ratio = ratio(&ours, &possible);
    Ok(Outcome {
        ratio: Some(ratio),
        met: ratio.median >= 0.95,
        figures: vec![
            Figure::new("broker", "frames/s", &ours),
            Figure::new("simulated", "frames/s", &[allowed]),
            Figure::new("copy", "frames/s", &copies),
        ],
    })
}
