//! The cases. Each says what it measures and against what; the figures come of runs that alternate with the baseline's.

mod browser;
mod chain;
mod edge;
mod failure;
mod live;
mod memory;
mod replay;
mod resize;
mod run;
mod throughput;
mod waiting;

use crate::lab::Lab;
use crate::measure::Spread;
use crate::report::{CaseReport, Figure};
use anyhow::{Context, Result};

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Runs of each side.
    pub runs: usize,
    /// Or so little that the figures mean nothing.
    pub amount: Amount,
}

/// See [`Plan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    Full,
    /// An eighth: shows that everything works.
    Quick,
}

impl Plan {
    fn of(&self, full: u64) -> u64 {
        match self.amount {
            Amount::Full => full,
            Amount::Quick => full / 8,
        }
    }
}

/// One row of the table.
pub struct Case {
    /// For `--case`.
    pub name: &'static str,
    what: &'static str,
    baseline: &'static str,
    aim: &'static str,
    run: fn(&Lab, &Plan) -> Result<Outcome>,
}

/// What a case found.
struct Outcome {
    ratio: Option<Spread>,
    met: bool,
    figures: Vec<Figure>,
}

/// All cases, in the order in which they run.
pub const CASES: &[Case] = &[
    throughput::FRAMES_100K,
    throughput::FRAMES_10K,
    throughput::FRAMES_10K_BATCHED,
    waiting::FIXED_20MS,
    waiting::TAIL_32,
    waiting::TAIL_64,
    waiting::TAIL_128,
    chain::CHAIN,
    live::AT_LEAST_ONCE,
    live::EXACTLY_ONCE,
    live::CPU,
    memory::MEMORY,
    failure::RESTART,
    failure::TAKEOVER,
    replay::REPLAY,
    resize::HALF,
    resize::QUARTER,
    resize::FFMPEG,
    edge::VIEWERS,
    edge::BAD_VIEWERS,
    browser::BROWSER,
];

/// Runs the chosen cases one after the other, and gives each to `keep` as soon as it is measured. One that fails does not keep
/// the others from running; the errors come back.
///
/// # Errors
/// Nothing could be measured at all, or what was measured could not be kept.
pub fn run(
    lab: &Lab,
    plan: &Plan,
    chosen: &[&Case],
    mut keep: impl FnMut(CaseReport) -> Result<()>,
) -> Result<Vec<anyhow::Error>> {
    run::warm_up(lab).context("warming up")?;
    let mut errors = Vec::new();
    for case in chosen {
        eprintln!("== {}: {} / {}", case.name, case.what, case.baseline);
        match (case.run)(lab, plan) {
            Ok(outcome) => {
                let report = case.report(plan, outcome);
                eprint!("{}", report.lines());
                keep(report)?;
            }
            Err(error) => {
                eprintln!("{}: {error:#}", case.name);
                errors.push(error.context(case.name));
            }
        }
    }
    Ok(errors)
}

impl Case {
    fn report(&self, plan: &Plan, outcome: Outcome) -> CaseReport {
        CaseReport {
            case: self.name.to_owned(),
            what: self.what.to_owned(),
            baseline: self.baseline.to_owned(),
            ratio: outcome.ratio,
            aim: self.aim.to_owned(),
            met: outcome.met,
            figures: outcome.figures,
            runs: plan.runs,
            at: jiff::Timestamp::now()
                .strftime("%Y-%m-%d %H:%M")
                .to_string(),
            quick: plan.amount == Amount::Quick,
            machine: None,
        }
    }
}

/// Run by run, one side over the other.
fn ratio(ours: &[f64], baseline: &[f64]) -> Spread {
    let ratios: Vec<_> = ours.iter().zip(baseline).map(|(a, b)| a / b).collect();
    Spread::of(&ratios)
}
