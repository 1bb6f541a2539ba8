//! How long the output stands still when a broker is killed (kill -9) under load.

use super::live::LOAD;
use super::run::{COPY_TRANSACTION, start_broker, start_copy};
use super::{Case, Outcome, Plan};
use crate::lab::{Lab, Process, Topic, wait_for};
use crate::load::Offer;
use crate::measure::Output;
use crate::report::Figure;
use anyhow::Result;
use std::time::{Duration, Instant};

pub const RESTART: Case = Case {
    name: "restart",
    what: "longest gap in the output after kill -9 of the only broker, restarted at once; 4 x 30 fps",
    baseline: "none (the plain copy with a static member id, for comparison)",
    aim: "<= 1.5 s",
    run: restart,
};

pub const TAKEOVER: Case = Case {
    name: "takeover",
    what: "the same after kill -9 of one of two brokers, which is not restarted",
    baseline: "none (the session timeout, 6 s)",
    aim: "<= session timeout + 2 s",
    run: takeover,
};

/// Frames a second of all cameras.
const FPS: u64 = 120;
const LIMIT: Duration = Duration::from_secs(60);
const SESSION_TIMEOUT_S: f64 = 6.0;

/// Cameras, two topics and a viewer.
struct Stage {
    input: Topic,
    output: Topic,
    viewer: Output,
    cameras: Offer,
}

impl Stage {
    fn set(lab: &Lab) -> Result<Self> {
        let (input, output) = (lab.topic("in", 4)?, lab.topic("out", 4)?);
        Ok(Self {
            viewer: Output::watch(lab.servers(), &output)?,
            cameras: Offer::start(lab.servers(), &input, LOAD)?,
            input,
            output,
        })
    }

    fn topics(&self) -> (&Topic, &Topic) {
        (&self.input, &self.output)
    }

    /// Waits until every partition's frames come out as they are made, for so many seconds' worth of frames.
    fn wait_until_calm(&self, seconds: u64) -> Result<()> {
        self.viewer.wait_for(self.viewer.count() + FPS, LIMIT)?;
        wait_for("output of every partition in time", LIMIT, || {
            Ok(self.viewer.is_live().then_some(()))
        })?;
        self.viewer
            .wait_for(self.viewer.count() + seconds * FPS, LIMIT)
    }

    /// Stops everything; the longest gap of each time between two moments, in seconds.
    fn gaps(self, times: &[(Instant, Instant)]) -> Result<Vec<f64>> {
        let sent = self.cameras.stop()?;
        self.viewer.wait_for(sent, LIMIT)?;
        let seen = self.viewer.stop()?;
        seen.must_be_complete(sent)?;
        let gap = |(from, to): &(Instant, Instant)| Ok(seen.longest_gap(*from, *to)?.as_secs_f64());
        times.iter().map(gap).collect()
    }
}

fn restart(lab: &Lab, plan: &Plan) -> Result<Outcome> {
    let processor = lab.look()?;
    let ours = killed(lab, plan, |topics, group| {
        start_broker(lab, topics, &processor.url, group, &[])
    })?;
    let copy = killed(lab, plan, |topics, group| {
        start_copy(lab, topics, group, Some(COPY_TRANSACTION))
    })?;
    let figures = vec![
        Figure::new("broker", "s", &ours),
        Figure::new("copy", "s", &copy),
    ];
    Ok(Outcome {
        ratio: None,
        met: figures[0].spread.median <= 1.5,
        figures,
    })
}

/// The gaps of a program that is killed and started again at once, again and again.
fn killed(
    lab: &Lab,
    plan: &Plan,
    start: impl Fn((&Topic, &Topic), &str) -> Result<Process>,
) -> Result<Vec<f64>> {
    let stage = Stage::set(lab)?;
    let group = lab.name("group");
    let mut program = start(stage.topics(), &group)?;
    let mut times = Vec::new();
    for _ in 0..plan.runs {
        stage.wait_until_calm(3)?;
        let from = Instant::now();
        program.kill_hard()?;
        program = start(stage.topics(), &group)?;
        stage.wait_until_calm(1)?;
        times.push((from, Instant::now()));
    }
    stage.gaps(&times)
}

fn takeover(lab: &Lab, plan: &Plan) -> Result<Outcome> {
    let processor = lab.look()?;
    let mut gaps = Vec::new();
    for _ in 0..plan.runs {
        let stage = Stage::set(lab)?;
        let group = lab.name("group");
        let start = |instance| {
            let more = ["--instance", instance];
            start_broker(lab, stage.topics(), &processor.url, &group, &more)
        };
        let stays = start("bench-0")?;
        stage.wait_until_calm(1)?;
        let mut dies = start("bench-1")?;
        // It has its share once the other has given it away.
        dies.wait_for_log("reading", LIMIT)?;
        stage.wait_until_calm(2)?;
        let from = Instant::now();
        dies.kill_hard()?;
        stage.wait_until_calm(1)?;
        let time = (from, Instant::now());
        gaps.extend(stage.gaps(&[time])?);
        stays.stop()?;
    }
    let figures = vec![Figure::new("gap", "s", &gaps)];
    Ok(Outcome {
        ratio: None,
        met: figures[0].spread.median <= SESSION_TIMEOUT_S + 2.0,
        figures,
    })
}
