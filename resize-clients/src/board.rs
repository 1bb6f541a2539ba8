//! What people see meanwhile, on stderr: a bar for each instance, or plain lines where there is no terminal.

use crate::instance::Outcome;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use processor_proto::say;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two plain lines of an instance.
const LINE_EVERY: Duration = Duration::from_secs(2);
const WAITING: &str = "{prefix:>14} {msg}";
/// The bar takes what the rest leaves of the line.
const RUNNING: &str = "{prefix:>14} [{wide_bar}] {pos:>6}/{len} {msg}";
/// Above and below the bars.
const SPARE_LINES: u16 = 2;

/// One row an instance.
#[derive(Debug)]
pub struct Board {
    bars: MultiProgress,
    /// How many there are of each kind, where a terminal has no line for each: then only those that run have one.
    counts: Option<ProgressBar>,
    /// False: plain lines.
    has_terminal: bool,
    rows: Mutex<Vec<Row>>,
}

#[derive(Debug)]
struct Row {
    name: String,
    bar: ProgressBar,
    started: Option<Instant>,
    frames: u64,
    /// By the container; 0 if it does not say.
    expected: u64,
    has_ended: bool,
}

impl Board {
    /// Row i waits until `start_of(i)` after now; i is from 1.
    pub fn new(instances: u32, expected: u64, start_of: impl Fn(u32) -> Duration) -> Self {
        let target = ProgressDrawTarget::stderr();
        let has_terminal = !target.is_hidden();
        let bars = MultiProgress::with_draw_target(target);
        let lines = console::Term::stderr().size().0.saturating_sub(SPARE_LINES);
        let has_lines = instances <= lines.into();
        let counts = (has_terminal && !has_lines)
            .then(|| bars.add(ProgressBar::new_spinner().with_style(style("{msg}"))));
        let row = |number: u32| {
            let hidden = ProgressDrawTarget::hidden();
            let bar = ProgressBar::with_draw_target(Some(expected), hidden);
            let bar = bar.with_style(style(WAITING));
            let bar = match counts {
                None => bars.add(bar),
                Some(_) => bar,
            };
            let name = format!("vid-instance{number}");
            bar.set_prefix(name.clone());
            bar.set_message(format!("starts at {:.1} s", start_of(number).as_secs_f64()));
            Row {
                name,
                bar,
                started: None,
                frames: 0,
                expected,
                has_ended: false,
            }
        };
        let rows = (1..=instances).map(row).collect();
        Self {
            rows: Mutex::new(rows),
            bars,
            counts,
            has_terminal,
        }
    }

    /// A line for people, above the bars.
    pub fn say(&self, line: &str) {
        if self.has_terminal {
            // A terminal that is gone needs no lines.
            let _ = self.bars.println(line);
        } else {
            say(line);
        }
    }

    pub fn has_started(&self, number: u32) {
        self.change(number, |row| {
            if self.counts.is_some() {
                row.bar = self.bars.add(row.bar.clone());
            }
            row.started = Some(Instant::now());
            row.bar.set_style(style(RUNNING));
            row.bar.set_message("");
        });
    }

    /// So many are on disk.
    pub fn has_frames(&self, number: u32, frames: u64) {
        self.change(number, |row| {
            row.frames = frames;
            row.bar.set_position(frames);
            row.bar.set_message(format!("{:.1} fps", row.fps()));
        });
    }

    /// Its last line.
    pub fn has_ended(&self, outcome: &Outcome) {
        let seconds = outcome.took.as_secs_f64();
        self.change(outcome.number, |row| {
            row.has_ended = true;
            row.bar.set_style(style(RUNNING));
            if outcome.error.is_none() {
                row.bar.set_length(outcome.frames);
            }
            let fps = row.fps();
            row.bar.abandon_with_message(match outcome.error {
                None => format!("{fps:.1} fps, complete in {seconds:.1} s"),
                Some(_) => format!("{fps:.1} fps, failed after {seconds:.1} s"),
            });
            if self.counts.is_some() {
                self.bars.remove(&row.bar);
            }
        });
        let name = format!("vid-instance{}", outcome.number);
        self.say(&match &outcome.error {
            None => format!(
                "{name} is complete: {} frames in {seconds:.2} s ({:.1} fps)",
                outcome.frames,
                outcome.frames as f64 / seconds
            ),
            Some(error) => format!("{name} failed after {seconds:.2} s: {error:#}"),
        });
    }

    /// Keeps waiting and stalled rows honest, and writes the plain lines, until it is dropped.
    pub async fn follow(&self) -> Infallible {
        let mut rhythm = tokio::time::interval(LINE_EVERY);
        rhythm.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        rhythm.tick().await;
        loop {
            rhythm.tick().await;
            for row in self.rows().iter().filter(|row| !row.has_ended) {
                let Some(started) = row.started else { continue };
                let of = match row.expected {
                    0 => String::new(),
                    expected => format!("/{expected}"),
                };
                let (frames, fps) = (row.frames, row.fps());
                if self.has_terminal {
                    row.bar.set_message(format!("{fps:.1} fps"));
                } else {
                    let seconds = started.elapsed().as_secs_f64();
                    say(format_args!(
                        "{}: {frames}{of} frames, {fps:.1} fps, {seconds:.1} s",
                        row.name
                    ));
                }
            }
        }
    }

    fn change(&self, number: u32, change: impl FnOnce(&mut Row)) {
        let mut rows = self.rows();
        if let Some(row) = rows.get_mut(number as usize - 1) {
            change(row);
        }
        if let Some(counts) = &self.counts {
            let count = |is: fn(&&Row) -> bool| rows.iter().filter(is).count();
            counts.set_message(format!(
                "{} instances: {} waiting, {} running, {} ended",
                rows.len(),
                count(|row| !row.has_ended && row.started.is_none()),
                count(|row| !row.has_ended && row.started.is_some()),
                count(|row| row.has_ended),
            ));
        }
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    /// The average since the start.
    fn fps(&self) -> f64 {
        let seconds = self
            .started
            .map_or(0.0, |started| started.elapsed().as_secs_f64());
        if seconds > 0.0 {
            self.frames as f64 / seconds
        } else {
            0.0
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are right")
        .progress_chars("=> ")
}
