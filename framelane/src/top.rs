//! `framelane top`: what runs, once or again and again on the same screen.

use crate::args::{Access, TopArgs};
use crate::session::{self, print};
use crate::state::{self, ago};
use crate::table::Table;
use console::Term;
use registry::View;
use tokio_util::sync::CancellationToken;

pub async fn run(access: Access, args: TopArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let registry = session::open(access).await?;
    if args.once {
        return print(&picture(&registry.view()));
    }
    let screen = Screen::open()?;
    let mut tick = tokio::time::interval(args.every);
    loop {
        tokio::select! {
            _ = tick.tick() => screen.show(&picture(&registry.view()))?,
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// The terminal's other screen; what was there before comes back in the end.
struct Screen {
    term: Term,
}

impl Screen {
    fn open() -> anyhow::Result<Self> {
        let term = Term::stdout();
        if !term.is_term() {
            return Err(session::wrong("standard output is no terminal: use --once"));
        }
        term.write_str("\x1b[?1049h\x1b[?25l")?;
        Ok(Self { term })
    }

    /// As much as fits.
    fn show(&self, text: &str) -> anyhow::Result<()> {
        let (rows, columns) = self.term.size();
        let cut = |line: &str| line.chars().take(columns.into()).collect::<String>();
        let lines: Vec<String> = text
            .lines()
            .take(usize::from(rows).saturating_sub(1))
            .map(cut)
            .collect();
        // Each line is cleared behind its text, then all below: nothing flickers.
        let picture = format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"));
        self.term.write_str(&picture)?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing could be done about a terminal that has gone.
        let _ = self.term.write_str("\x1b[?25h\x1b[?1049l");
    }
}

fn picture(view: &View) -> String {
    let live = view.live().count();
    let lost = view.instances().count() - live;
    let mut text = format!(
        "framelane  {}  {} objects, {live} instances live, {lost} lost",
        jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC"),
        view.objects().len()
    );
    if let Some(since) = view.away_since() {
        text.push_str(&format!("  KAFKA HAS NOT ANSWERED FOR {}", ago(since)));
    }
    text.push_str("\n\n");
    let parts = [
        sources(view),
        lanes(view),
        processors(view),
        instances(view),
    ];
    let shown: Vec<String> = parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(Table::to_string)
        .collect();
    text.push_str(&shown.join("\n"));
    text
}

fn sources(view: &View) -> Table {
    let mut table = Table::new([
        "SOURCE", "HOST", "OPEN", "STATE", "SIZE", "FPS", "FRAMES", "LAST", "WATCHERS", "WHY",
    ]);
    for source in view.sources() {
        let health = state::of_source(view, source);
        let running = health.running.map(|(_, running)| running);
        let size = running
            .and_then(|one| one.size)
            .map(|(w, h)| format!("{w}x{h}"));
        let last = running
            .and_then(|one| one.last)
            .map(|last| format!("{}:{}", last.epoch, last.sequence));
        table.row([
            source.name.to_string(),
            source.spec.host.to_string(),
            state::opening(&source.spec).to_owned(),
            health.state,
            size.unwrap_or_default(),
            running.map_or_else(String::new, |one| format!("{:.1}", one.fps)),
            running.map_or_else(String::new, |one| one.frames.to_string()),
            last.unwrap_or_default(),
            view.watchers(&source.name).to_string(),
            health.text,
        ]);
    }
    table
}

fn lanes(view: &View) -> Table {
    let mut table = Table::new([
        "LANE",
        "STAGE",
        "BY",
        "FPS",
        "WINDOW",
        "IN FLIGHT",
        "LAG",
        "P50 MS",
        "P99 MS",
    ]);
    for seen in view.live() {
        for lane in &seen.instance.lanes {
            table.row([
                format!("{}[{}]", lane.topic, lane.partition),
                lane.stage.clone(),
                seen.instance.title(),
                format!("{:.1}", lane.fps),
                lane.window_used.to_string(),
                lane.in_flight.to_string(),
                lane.lag.to_string(),
                format!("{:.0}", lane.latency_p50_ms),
                format!("{:.0}", lane.latency_p99_ms),
            ]);
        }
    }
    table
}

fn processors(view: &View) -> Table {
    let mut table = Table::new(["PROCESSOR", "STATE", "IN FLIGHT", "CALLED BY"]);
    for seen in view.live() {
        for called in &seen.instance.processors {
            let (address, state) = (called.address.clone(), called.state.clone());
            table.row([
                address,
                state,
                called.in_flight.to_string(),
                seen.instance.title(),
            ]);
        }
    }
    table
}

fn instances(view: &View) -> Table {
    let mut table = Table::new(["INSTANCE", "STATE", "HEARD", "UP FOR", "PID", "RELEASE"]);
    for seen in view.instances() {
        let instance = &seen.instance;
        table.row([
            instance.title(),
            if seen.is_live() {
                "live".to_owned()
            } else {
                "LOST".to_owned()
            },
            format!("{} ago", ago(seen.last_seen)),
            ago(instance.started_at),
            instance.pid.to_string(),
            instance.release.clone(),
        ]);
    }
    table
}
