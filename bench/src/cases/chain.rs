//! Three brokers in a row, pictures written once or at every stage.

use super::{Case, Outcome, Plan, ratio, run};
use crate::lab::{Lab, Topic};
use crate::measure::Output;
use crate::report::Figure;
use anyhow::{Context, Result};
use std::time::Duration;

pub const CHAIN: Case = Case {
    name: "chain",
    what: "frames/s: 3 stages, 100 KB frames, 4 partitions, exactly-once, content by reference",
    baseline: "content inline",
    aim: ">= 5",
    run: compare,
};

const LIMIT: Duration = Duration::from_secs(180);

fn compare(lab: &Lab, plan: &Plan) -> Result<Outcome> {
    // Results alone go through in a quarter of the time, and runs of 2 s say more of Kafka's Java, which still compiles.
    let (frames, more) = (plan.of(8_000), plan.of(32_000));
    let input = run::filled(lab, 4, frames, 100_000)?;
    let larger = run::filled(lab, 4, more, 100_000)?;
    // One looks at results only (so references stay references), the other at every picture.
    let (echo, look) = (lab.processor(&["echo"])?, lab.look()?);
    let (mut inline, mut reference, mut pictures) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        inline.push(through_three(lab, &input, frames, &echo.url, "inline")?);
        reference.push(through_three(lab, &larger, more, &echo.url, "reference")?);
        pictures.push(through_three(lab, &input, frames, &look.url, "reference")?);
    }
    let ratio = ratio(&reference, &inline);
    Ok(Outcome {
        ratio: Some(ratio),
        met: ratio.median >= 5.0,
        figures: vec![
            Figure::new("reference", "frames/s", &reference),
            Figure::new("inline", "frames/s", &inline),
            Figure::new(
                "reference, every stage fetches the pictures",
                "frames/s",
                &pictures,
            ),
        ],
    })
}

/// Frames a second at the end of the third stage, behind the first tenth. The viewer reads what the last stage writes:
/// with pictures inline that costs it some percent of a core.
fn through_three(
    lab: &Lab,
    input: &Topic,
    frames: u64,
    processor: &str,
    content: &str,
) -> Result<f64> {
    let topics = [
        lab.topic("stage1", 4)?,
        lab.topic("stage2", 4)?,
        lab.topic("stage3", 4)?,
    ];
    let viewer = Output::watch(lab.servers(), &topics[2])?;
    let mut brokers = Vec::new();
    for (from, to) in [
        (input, &topics[0]),
        (&topics[0], &topics[1]),
        (&topics[1], &topics[2]),
    ] {
        let group = lab.name("group");
        let more = ["--content", content];
        brokers.push(run::start_broker(
            lab,
            (from, to),
            processor,
            &group,
            &more,
        )?);
    }
    viewer.wait_for(frames, LIMIT)?;
    let seen = viewer.stop()?;
    for broker in brokers {
        broker.stop()?;
    }
    seen.must_be_complete(frames)
        .context("the last stage's output")?;
    let first = seen.arrivals.len() / 10;
    let start = seen.arrivals[first].at;
    let counted = (seen.arrivals.len() - first - 1) as f64;
    let end = seen.arrivals.last().map_or(start, |arrival| arrival.at);
    let fps = counted / (end - start).as_secs_f64();
    eprintln!("   {content}: {fps:.0} fps");
    Ok(fps)
}
