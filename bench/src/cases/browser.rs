//! From a camera's stamp to a picture drawn in a real browser.

use super::edge::gateway_with;
use super::{Case, Outcome, Plan};
use crate::lab::Lab;
use crate::report::Figure;
use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use serde::Deserialize;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

pub const BROWSER: Case = Case {
    name: "edge-browser",
    what: "from a camera's stamp to the picture drawn in headless Chromium: 1280x720 at 30 fps, WebSocket",
    baseline: "–",
    aim: "p99 <= 200 ms",
    run: browser,
};

const PAGE: &str = include_str!("../../viewers/browser.html");
const PROGRAMS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];
/// Of code that is not warm, and of connections.
const WARM_UP_FRAMES: u64 = 90;
const MOST_AGE_MS: f64 = 200.0;
const LIMIT: Duration = Duration::from_secs(120);

/// What the page posts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    AgesMs(Vec<f64>),
    Error(String),
}

fn browser(lab: &Lab, plan: &Plan) -> Result<Outcome> {
    let (mut p50, mut p99) = (vec![], vec![]);
    for _ in 0..plan.runs {
        let ages = one_run(lab, plan.of(900))?;
        p50.push(ages.value_at_quantile(0.5) as f64 / 1e3);
        p99.push(ages.value_at_quantile(0.99) as f64 / 1e3);
    }
    let figures = vec![
        Figure::new("p50", "ms", &p50),
        Figure::new("p99", "ms", &p99),
    ];
    Ok(Outcome {
        ratio: None,
        met: figures[1].spread.median <= MOST_AGE_MS,
        figures,
    })
}

fn one_run(lab: &Lab, frames: u64) -> Result<Histogram<u64>> {
    let topic = lab.topic("camera", 1)?;
    let camera = [
        "--pattern",
        "1280x720@30",
        "--topic",
        &*topic.name,
        "--source-id",
        "camera",
    ];
    let _camera = lab.product("producer", &camera)?;
    // The page comes from here, and is allowed to watch there.
    let server = TcpListener::bind("127.0.0.1:0")?;
    let own = server.local_addr()?;
    let gateway = gateway_with(lab, &["--allow-origin", &format!("http://{own}")])?;
    let profile = tempfile::tempdir_in(lab.folder())?;
    let url = format!(
        "http://{own}/?gateway={}&path=/ws/{}/camera&warm_up={WARM_UP_FRAMES}&frames={frames}",
        gateway.address, topic.name
    );
    let profile = format!("--user-data-dir={}", profile.path().display());
    let line = [
        "--headless=new",
        "--no-first-run",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        &profile,
        &url,
    ];
    let found = PROGRAMS
        .iter()
        .find_map(|program| lab.foreign(program, &line).ok());
    let mut browser = found.context("no browser: install chromium")?;
    let report = serve(&server, || browser.must_run())?;
    let mut ages = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    match report {
        Report::Error(why) => bail!("the page in the browser: {why}"),
        Report::AgesMs(all) => all
            .iter()
            .for_each(|ms| ages.saturating_record((ms * 1e3).max(1.0) as u64)),
    }
    ensure!(!ages.is_empty(), "the page saw no frame");
    Ok(ages)
}

/// Gives the page to whoever asks, until it posts its report.
fn serve(server: &TcpListener, mut alive: impl FnMut() -> Result<()>) -> Result<Report> {
    const LOOK_INTERVAL: Duration = Duration::from_millis(20);
    server.set_nonblocking(true)?;
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        match server.accept() {
            Ok((connection, _)) => {
                if let Some(report) = answer(&connection)? {
                    return Ok(report);
                }
            }
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
                alive()?;
                std::thread::sleep(LOOK_INTERVAL);
            }
            Err(cause) => return Err(cause.into()),
        }
    }
    bail!("no report from the browser after {} s", LIMIT.as_secs())
}

/// The report, if that is what is brought.
fn answer(connection: &TcpStream) -> Result<Option<Report>> {
    connection.set_nonblocking(false)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(connection);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(("content-length", value)) = line.to_ascii_lowercase().split_once(": ") {
            length = value.trim().parse()?;
        }
    }
    let is_page = first.starts_with("GET / ") || first.starts_with("GET /?");
    let (status, body) = match is_page || first.starts_with("POST ") {
        true => ("200 OK", if is_page { PAGE } else { "" }),
        false => ("404 Not Found", ""),
    };
    let mut posted = vec![0; length];
    reader.read_exact(&mut posted)?;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut connection = connection;
    connection.write_all(head.as_bytes())?;
    connection.write_all(body.as_bytes())?;
    match first.starts_with("POST ") {
        true => Ok(Some(serde_json::from_slice(&posted)?)),
        false => Ok(None),
    }
}
