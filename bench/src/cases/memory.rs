//! What a broker with a backlog holds, against what it was told to hold.

use super::{Case, Outcome, Plan, run};
use crate::lab::Lab;
use crate::measure::Spread;
use crate::report::Figure;
use anyhow::Result;

pub const MEMORY: Case = Case {
    name: "memory",
    what: "peak memory: backlog of 20,000 frames of 100 KB, 20 ms processor, windows so large that --memory-mib binds",
    baseline: "budget x 1.5 + 64 MB, the worst of the budgets",
    aim: "<= 1",
    run: memory,
};

/// `--memory-mib`, and calls in flight: with few of them the budget holds frames that wait, with many frames that are
/// being sent.
const SETTINGS: [(u32, &str); 3] = [(128, "32"), (512, "32"), (512, "1000")];

fn memory(lab: &Lab, plan: &Plan) -> Result<Outcome> {
    let frames = plan.of(20_000);
    let input = run::filled(lab, 4, frames, 100_000)?;
    let processor = lab.processor(&["chaos", "--needs-pixels", "--delay", "fixed:20ms"])?;
    let (mut worst, mut figures) = (vec![0.0_f64; plan.runs], Vec::new());
    for (budget_mib, in_flight) in SETTINGS {
        let mib = budget_mib.to_string();
        let mut bounds = vec!["--memory-mib", &mib, "--window-mib", &mib];
        bounds.extend(["--window", "100000", "--in-flight", in_flight]);
        let allowed = f64::from(budget_mib) * 1.048_576 * 1.5 + 64.0;
        let mut peaks = Vec::new();
        for worst in &mut worst {
            let url = &processor.url;
            let (_, broker) = run::through_broker_and_on(lab, &input, frames, url, &bounds)?;
            let peak_mb = broker.usage()?.peak_bytes as f64 / 1e6;
            broker.stop()?;
            *worst = worst.max(peak_mb / allowed);
            peaks.push(peak_mb);
        }
        let name = format!("{budget_mib} MiB, {in_flight} calls: peak (allowed {allowed:.0})");
        figures.push(Figure::new(&name, "MB", &peaks));
    }
    let ratio = Spread::of(&worst);
    Ok(Outcome {
        ratio: Some(ratio),
        met: ratio.median <= 1.0,
        figures,
    })
}
