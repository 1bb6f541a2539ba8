//! A topic read once more, as fast as it goes.

use super::{Case, Outcome, Plan, ratio, run};
use crate::baselines::consume::Read;
use crate::lab::Lab;
use crate::report::Figure;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::time::{Duration, Instant};

pub const REPLAY: Case = Case {
    name: "replay",
    what: "frames/s: replay of 10,000 frames of 100 KB to null",
    baseline: "plain librdkafka consume",
    aim: ">= 0.8",
    run: replay,
};

const LIMIT: Duration = Duration::from_secs(120);

/// What the consumer's `stats:FILE` says.
#[derive(Debug, Deserialize)]
struct Summary {
    frames: u64,
    lost: u64,
    seconds: f64,
}

fn replay(lab: &Lab, plan: &Plan) -> Result<Outcome> {
    let frames = plan.of(10_000);
    let input = run::filled(lab, 4, frames, 100_000)?;
    let (count, until) = (frames.to_string(), format!("count:{frames}"));
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    let (mut ours_wall, mut plain_wall) = (Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        // The sink `null` says nothing, so `stats` stands beside it and says how long it took.
        let file = lab.folder().join(lab.name("stats.json"));
        let stats = format!("stats:{}", file.display());
        let mut args = vec!["--topic", &*input.name, "--until", &until];
        args.extend(["--sink", "null", "--sink", &stats]);
        let start = Instant::now();
        lab.product("consumer", &args)?.wait(LIMIT)?;
        ours_wall.push(start.elapsed().as_secs_f64());
        let summary: Summary = serde_json::from_slice(&std::fs::read(&file)?)?;
        anyhow::ensure!(
            (summary.frames, summary.lost) == (frames, 0),
            "the consumer lost frames: {summary:?}"
        );
        ours.push(summary.frames as f64 / summary.seconds);

        let mut args = vec![
            "--bootstrap-servers",
            lab.servers(),
            "--topic",
            &*input.name,
        ];
        args.extend(["--partitions", "4", "--records", &count]);
        let start = Instant::now();
        let mut consume = lab.baseline("consume", &args)?;
        consume.wait(LIMIT)?;
        plain_wall.push(start.elapsed().as_secs_f64());
        let read: Read = consume.result(LIMIT).context("the plain consumer")?;
        plain.push(read.records as f64 / read.seconds);
    }
    let ratio = ratio(&ours, &plain);
    Ok(Outcome {
        ratio: Some(ratio),
        met: ratio.median >= 0.8,
        figures: vec![
            Figure::new("consumer", "frames/s", &ours),
            Figure::new("plain", "frames/s", &plain),
            Figure::new("consumer, start to exit", "s", &ours_wall),
            Figure::new("plain, start to exit", "s", &plain_wall),
        ],
    })
}
