//! Four cameras that wait for nobody: how late frames are, and what they cost.

use super::run::{start_broker, start_copy};
use super::{Case, Outcome, Plan, ratio};
use crate::lab::{Lab, Process, Topic, wait_for};
use crate::load::{Load, Offer};
use crate::measure::Output;
use crate::report::Figure;
use anyhow::Result;
use std::time::{Duration, Instant};

pub const AT_LEAST_ONCE: Case = Case {
    name: "latency-alo",
    what: "p99 latency: 4 x 30 fps, 100 KB frames, open loop, processor without delay, at-least-once",
    baseline: "the plain copy without transactions",
    aim: "p50 <= 10 ms, p99 <= 25 ms",
    run: |lab, plan| latency(lab, plan, "at-least-once", (10.0, 25.0)),
};

pub const EXACTLY_ONCE: Case = Case {
    name: "latency-eos",
    what: "the same, exactly-once",
    baseline: "the plain copy without transactions",
    aim: "p50 <= 20 ms, p99 <= 45 ms",
    run: |lab, plan| latency(lab, plan, "exactly-once", (20.0, 45.0)),
};

pub const CPU: Case = Case {
    name: "cpu",
    what: "CPU seconds for 1,000 frames: the same, exactly-once",
    baseline: "tonic + rdkafka, 32 ordered futures, auto-commit",
    aim: "<= 1.2",
    run: cpu,
};

/// What every live case is offered.
pub const LOAD: Load = Load {
    fps: 30,
    bytes: 100_000,
};
/// Frames a second of all cameras.
const FPS: u64 = 120;
/// Frames that are not measured: connections, first allocations.
const WARM_UP: u64 = 5 * FPS;
const LIMIT: Duration = Duration::from_secs(120);

struct Live {
    p50_ms: f64,
    p99_ms: f64,
    cpu_per_1000: f64,
}

fn latency(lab: &Lab, plan: &Plan, delivery: &str, aim_ms: (f64, f64)) -> Result<Outcome> {
    let processor = lab.look()?;
    let (mut ours, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        ours.push(live(lab, plan, |topics, group| {
            start_broker(
                lab,
                topics,
                &processor.url,
                group,
                &["--delivery", delivery],
            )
        })?);
        copies.push(live(lab, plan, |topics, group| {
            start_copy(lab, topics, group, None)
        })?);
    }
    let of = |runs: &[Live], value: fn(&Live) -> f64| runs.iter().map(value).collect::<Vec<_>>();
    let (p50, p99) = (of(&ours, |live| live.p50_ms), of(&ours, |live| live.p99_ms));
    let copy_p99 = of(&copies, |live| live.p99_ms);
    let figures = vec![
        Figure::new("broker p50", "ms", &p50),
        Figure::new("broker p99", "ms", &p99),
        Figure::new("copy p50", "ms", &of(&copies, |live| live.p50_ms)),
        Figure::new("copy p99", "ms", &copy_p99),
    ];
    Ok(Outcome {
        ratio: Some(ratio(&p99, &copy_p99)),
        met: figures[0].spread.median <= aim_ms.0 && figures[1].spread.median <= aim_ms.1,
        figures,
    })
}

fn cpu(lab: &Lab, plan: &Plan) -> Result<Outcome> {
    let processor = lab.look()?;
    let (mut ours, mut naive) = (Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        let broker = live(lab, plan, |topics, group| {
            start_broker(lab, topics, &processor.url, group, &[])
        })?;
        ours.push(broker.cpu_per_1000);
        let loops = live(lab, plan, |(input, output), group| {
            let mut args = vec!["--bootstrap-servers", lab.servers(), "--group", group];
            args.extend(["--input", &*input.name, "--output", &*output.name]);
            args.extend(["--processor", &processor.url]);
            lab.baseline("naive", &args)
        })?;
        naive.push(loops.cpu_per_1000);
    }
    let ratio = ratio(&ours, &naive);
    Ok(Outcome {
        ratio: Some(ratio),
        met: ratio.median <= 1.2,
        figures: vec![
            Figure::new("broker", "s/1,000 frames", &ours),
            Figure::new("naive loop", "s/1,000 frames", &naive),
        ],
    })
}

/// Starts the program, then the cameras, and measures behind the warm-up.
fn live(
    lab: &Lab,
    plan: &Plan,
    start: impl FnOnce((&Topic, &Topic), &str) -> Result<Process>,
) -> Result<Live> {
    let frames = plan.of(30 * FPS);
    let (input, output) = (lab.topic("in", 4)?, lab.topic("out", 4)?);
    let mut program = start((&input, &output), &lab.name("group"))?;
    let viewer = Output::watch(lab.servers(), &output)?;
    let cameras = Offer::start(lab.servers(), &input, LOAD)?;
    viewer.wait_for(WARM_UP, LIMIT)?;
    // A program that starts late has a backlog: it is measured once it has caught up.
    wait_for("output of every partition in time", LIMIT, || {
        program.must_run()?;
        Ok(viewer.is_live().then_some(()))
    })?;
    let (since, count, before) = (Instant::now(), viewer.count(), program.usage()?.cpu_seconds);
    viewer.wait_for(count + frames, LIMIT)?;
    let cpu = program.usage()?.cpu_seconds - before;
    let counted = viewer.count() - count;
    let sent = cameras.stop()?;
    viewer.wait_for(sent, LIMIT)?;
    let seen = viewer.stop()?;
    seen.must_be_complete(sent)?;
    let latencies = seen.latencies_us(since)?;
    let live = Live {
        p50_ms: latencies.value_at_quantile(0.5) as f64 / 1e3,
        p99_ms: latencies.value_at_quantile(0.99) as f64 / 1e3,
        cpu_per_1000: cpu * 1000.0 / counted as f64,
    };
    eprintln!(
        "   p50 {:.1} ms, p99 {:.1} ms, CPU {:.2} s/1,000 frames",
        live.p50_ms, live.p99_ms, live.cpu_per_1000
    );
    Ok(live)
}
