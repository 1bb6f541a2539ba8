//! The web edge: how many viewers, how late, and what a bad one costs the others.

use super::{Amount, Case, Outcome, Plan, ratio};
use crate::baselines::aiohttp;
use crate::lab::{Lab, Process, Topic, wait_for};
use crate::load::{Load, Offer};
use crate::measure::Spread;
use crate::report::Figure;
use crate::viewers::Seen;
use crate::viewers::sockets::Carried;
use anyhow::{Context, Result};
use std::time::Duration;

pub const VIEWERS: Case = Case {
    name: "edge-viewers",
    what: "WebSocket viewers of one camera (100 KB x 30 fps) whose frames are at most 200 ms old at p99, 95 % of them given",
    baseline: "one aiohttp process, a queue for each viewer",
    aim: ">= 5",
    run: viewers,
};

pub const BAD_VIEWERS: Case = Case {
    name: "edge-bad-viewers",
    what: "p99 frame age of 100 viewers, with one more that takes nothing and one that takes 50 KB/s",
    baseline: "the same 100 without them",
    aim: "<= 1.05, and less than 10 MB more memory",
    run: bad_viewers,
};

const CAMERA: Load = Load {
    fps: 30,
    bytes: 100_000,
};
/// The source whose frames the load publishes into partition 0.
const SOURCE: &str = "bench-0";
const MOST_AGE_MS: f64 = 200.0;
const LEAST_SHARE: f64 = 0.95;
/// Steps of the search.
const STEPS: [usize; 17] = [
    25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 600, 800, 1_000, 1_250, 1_500, 1_750, 2_000,
];
const START_LIMIT: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(120);

/// A server of frames.
pub(super) struct Edge {
    pub(super) address: String,
    path: String,
    process: Process,
}

fn viewers(lab: &Lab, plan: &Plan) -> Result<Outcome> {
    let python = aiohttp::python(lab)?;
    let (mut ours, mut theirs, mut shares, mut carried) = (vec![], vec![], vec![], vec![]);
    for _ in 0..plan.runs {
        carried.push(viewers_of_bare_sockets(lab, plan)?);
        let topic = lab.topic("camera", 1)?;
        let camera = Offer::start(lab.servers(), &topic, CAMERA)?;
        let (most, seen) = most_viewers(lab, plan, &gateway(lab, &topic)?)?;
        ours.push(most);
        shares.push(seen.map_or(0.0, |seen| 100.0 * seen.share()));
        theirs.push(most_viewers(lab, plan, &plain(lab, &python, &topic)?)?.0);
        camera.stop()?;
    }
    let ratio = ratio(&ours, &theirs);
    Ok(Outcome {
        ratio: Some(ratio),
        met: ratio.median >= 5.0,
        figures: vec![
            Figure::new("gateway", "viewers", &ours),
            Figure::new("aiohttp", "viewers", &theirs),
            Figure::new("frames given at that number", "%", &shares),
            Figure::new(
                "bare sockets, written to without a pause",
                "viewers",
                &carried,
            ),
        ],
    })
}

/// So many of the camera's viewers the sockets of this machine could carry if there were nothing but them.
fn viewers_of_bare_sockets(lab: &Lab, plan: &Plan) -> Result<f64> {
    let (bytes, seconds) = (CAMERA.bytes.to_string(), plan.of(8).to_string());
    let line = [
        "--connections",
        "1000",
        "--bytes",
        &bytes,
        "--seconds",
        &seconds,
    ];
    let carried: Carried = lab.baseline("sockets", &line)?.result(LIMIT)?;
    Ok((carried.pictures / carried.seconds / f64::from(CAMERA.fps)).round())
}

/// The last step that was good enough, and what its viewers saw.
fn most_viewers(lab: &Lab, plan: &Plan, edge: &Edge) -> Result<(f64, Option<Seen>)> {
    let steps = match plan.amount {
        Amount::Full => &STEPS[..],
        Amount::Quick => &STEPS[..3],
    };
    let mut best = None;
    for count in steps {
        let seen = watch(lab, plan, edge, *count, &[])?;
        eprintln!(
            "   {count} viewers: p50 {:.1} ms, p99 {:.1} ms, {:.1} % of the frames",
            seen.p50_ms,
            seen.p99_ms,
            100.0 * seen.share()
        );
        if seen.p99_ms > MOST_AGE_MS || seen.share() < LEAST_SHARE {
            break;
        }
        best = Some(seen);
    }
    Ok((best.map_or(0.0, |seen| seen.viewers as f64), best))
}

fn bad_viewers(lab: &Lab, plan: &Plan) -> Result<Outcome> {
    const VIEWERS: usize = 100;
    let (mut with, mut without, mut more_mb) = (vec![], vec![], vec![]);
    for _ in 0..plan.runs {
        let topic = lab.topic("camera", 1)?;
        let camera = Offer::start(lab.servers(), &topic, CAMERA)?;
        let mut peaks = Vec::new();
        for (ages, bad) in [
            (&mut without, &[][..]),
            (&mut with, &["--stalled", "1", "--slow", "1"][..]),
        ] {
            // A server of its own each time: what is compared is the most memory it ever had.
            let edge = gateway(lab, &topic)?;
            ages.push(watch(lab, plan, &edge, VIEWERS, bad)?.p99_ms);
            peaks.push(edge.process.usage()?.peak_bytes as f64 / 1e6);
        }
        more_mb.push(peaks[1] - peaks[0]);
        camera.stop()?;
    }
    let ratio = ratio(&with, &without);
    Ok(Outcome {
        ratio: Some(ratio),
        met: ratio.median <= 1.05 && Spread::of(&more_mb).median < 10.0,
        figures: vec![
            Figure::new("p99 with them", "ms", &with),
            Figure::new("p99 without", "ms", &without),
            Figure::new("more memory", "MB", &more_mb),
        ],
    })
}

fn watch(lab: &Lab, plan: &Plan, edge: &Edge, viewers: usize, more: &[&str]) -> Result<Seen> {
    let (viewers, seconds) = (viewers.to_string(), plan.of(16).to_string());
    let line = [
        "--address",
        &edge.address,
        "--path",
        &edge.path,
        "--way",
        "websocket",
    ];
    let amount = ["--viewers", &viewers, "--seconds", &seconds];
    let viewers = lab.baseline("viewers", &[&line[..], &amount, more].concat())?;
    viewers.result(LIMIT)
}

fn gateway(lab: &Lab, topic: &Topic) -> Result<Edge> {
    let mut edge = gateway_with(lab, &["--max-viewers", "10000"])?;
    edge.path = format!("/ws/{}/{SOURCE}", topic.name);
    Ok(edge)
}

/// A gateway with more options, and no path yet.
pub(super) fn gateway_with(lab: &Lab, more: &[&str]) -> Result<Edge> {
    let file = lab.folder().join(lab.name("port"));
    let port_file = file
        .to_str()
        .context("a temporary folder with an odd name")?;
    let line = ["--listen", "127.0.0.1:0", "--port-file", port_file];
    let process = lab.product("gateway", &[&line, more].concat())?;
    listening(process, &file, String::new())
}

fn plain(lab: &Lab, python: &str, topic: &Topic) -> Result<Edge> {
    let file = lab.folder().join(lab.name("port"));
    let port_file = file
        .to_str()
        .context("a temporary folder with an odd name")?;
    let line = [
        aiohttp::SERVER,
        "--bootstrap-servers",
        lab.servers(),
        "--topic",
        &topic.name,
        "--port-file",
        port_file,
    ];
    let process = lab.foreign(python, &line)?;
    listening(process, &file, "/ws".to_owned())
}

fn listening(mut process: Process, port_file: &std::path::Path, path: String) -> Result<Edge> {
    let address = wait_for("a server's port", START_LIMIT, || {
        process.must_run()?;
        Ok(std::fs::read_to_string(port_file).ok())
    })?;
    Ok(Edge {
        address: address.trim().to_owned(),
        path,
        process,
    })
}
