//! The resize service without Kafka: called by many clients, and as programs on a terminal against ffmpeg.

use super::{Case, Outcome, Plan, ratio};
use crate::baselines::calls::Called;
use crate::lab::Lab;
use crate::report::Figure;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

pub const HALF: Case = Case {
    name: "resize-half",
    what: "pictures/s: JPEGs of 768x576 from memory to half the size, 4 clients, over gRPC",
    baseline: "decode, resize and encode by OpenCV in one process, all cores",
    aim: ">= 2",
    run: |lab, plan| service(lab, plan, "0.5"),
};

pub const QUARTER: Case = Case {
    name: "resize-quarter",
    what: "the same to a quarter",
    baseline: "decode, resize and encode by OpenCV in one process, all cores",
    aim: ">= 2",
    run: |lab, plan| service(lab, plan, "0.25"),
};

pub const FFMPEG: Case = Case {
    name: "resize-ffmpeg",
    what: "frames/s: resize-clients 4 0 VIDEO --scale 0.5 --local, files written",
    baseline: "4 x ffmpeg -i VIDEO -vf scale=iw/2:ih/2 Frame%05d.jpg at once",
    aim: ">= 1",
    run: ffmpeg,
};

const VIDEO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/people.mp4");
const LIMIT: Duration = Duration::from_secs(180);
const INSTANCES: usize = 4;

fn service(lab: &Lab, plan: &Plan, scale: &str) -> Result<Outcome> {
    let frames = plan.of(8_000).to_string();
    let processor = lab.processor(&["resize", "--scale", scale])?;
    let work = ["--video", VIDEO, "--scale", scale, "--frames", &frames];
    let fps = |called: Called| called.calls as f64 / called.seconds;
    let calls = |clients: &str| -> Result<f64> {
        let more = ["--processor", &processor.url, "--clients", clients];
        let called = lab.baseline("resize-calls", &[&work[..], &more].concat())?;
        Ok(fps(called.result(LIMIT)?))
    };
    let (mut one, mut four, mut sixteen, mut loops) = (vec![], vec![], vec![], vec![]);
    for _ in 0..plan.runs {
        one.push(calls("1")?);
        four.push(calls("4")?);
        sixteen.push(calls("16")?);
        loops.push(fps(lab.baseline("resize-loop", &work)?.result(LIMIT)?));
    }
    let ratio = ratio(&four, &loops);
    Ok(Outcome {
        ratio: Some(ratio),
        met: ratio.median >= 2.0,
        figures: vec![
            Figure::new("4 clients", "frames/s", &four),
            Figure::new("1 client", "frames/s", &one),
            Figure::new("16 clients", "frames/s", &sixteen),
            Figure::new("OpenCV loop", "frames/s", &loops),
        ],
    })
}

fn ffmpeg(lab: &Lab, plan: &Plan) -> Result<Outcome> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        ours.push(by_clients(lab)?);
        theirs.push(by_ffmpeg(lab)?);
    }
    let ratio = ratio(&ours, &theirs);
    Ok(Outcome {
        ratio: Some(ratio),
        met: ratio.median >= 1.0,
        figures: vec![
            Figure::new("resize-clients", "frames/s", &ours),
            Figure::new("ffmpeg", "frames/s", &theirs),
        ],
    })
}

/// From the start of the first instance, as ffmpeg's time is from its start.
fn by_clients(lab: &Lab) -> Result<f64> {
    let folder = lab.folder().join(lab.name("clients"));
    fs::create_dir(&folder)?;
    let json = folder.join("table.json");
    let text = |path: &Path| path.to_str().map(str::to_owned).context("an odd name");
    let (out, table) = (text(&folder)?, text(&json)?);
    let instances = INSTANCES.to_string();
    let line = [&instances, "0", VIDEO, "--scale", "0.5", "--local"];
    let mut clients = lab.product(
        "resize-clients",
        &[&line[..], &["--out", &out, "--json", &table]].concat(),
    )?;
    clients.wait(LIMIT)?;
    let table: Value = serde_json::from_slice(&fs::read(&json)?)?;
    fs::remove_dir_all(&folder)?;
    table["total"]["fps"]
        .as_f64()
        .context("no fps in the table")
}

fn by_ffmpeg(lab: &Lab) -> Result<f64> {
    let folder = lab.folder().join(lab.name("ffmpeg"));
    let start = Instant::now();
    let mut running = Vec::new();
    for instance in 1..=INSTANCES {
        let out = folder.join(instance.to_string());
        fs::create_dir_all(&out)?;
        let files = out.join("Frame%05d.jpg");
        let files = files.to_str().context("an odd name")?;
        let filter = ["-vf", "scale=iw/2:ih/2"];
        let line = [&["-v", "error", "-i", VIDEO], &filter[..], &[files]].concat();
        running.push(lab.foreign("ffmpeg", &line)?);
    }
    for mut ffmpeg in running {
        ffmpeg.wait(LIMIT)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut frames = 0;
    for instance in 1..=INSTANCES {
        frames += fs::read_dir(folder.join(instance.to_string()))?.count();
    }
    fs::remove_dir_all(&folder)?;
    ensure!(frames > 0, "ffmpeg wrote nothing");
    Ok(frames as f64 / seconds)
}
