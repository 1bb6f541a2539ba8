//! Whether the run was one at all: a fault that was planned and did not happen proves nothing.

use super::Check;
use crate::frames::{Item, Picture};
use crate::history::History;
use crate::ledger::PublishLine;

pub fn planned_faults_happened(history: &History) -> Check {
    let mut check = Check::new(0, "every fault that was planned happened");
    check.that(history.faults.len() == history.plan.faults.len(), || {
        let (done, planned) = (history.faults.len(), history.plan.faults.len());
        format!("{done} of {planned} faults were tried")
    });
    for fault in &history.faults {
        check.that(fault.fired, || {
            format!("row {}: {} did not happen", fault.row, fault.what)
        });
    }
    for row in history.plan.rows() {
        let by_conductor = history.faults.iter().any(|fault| fault.row == row);
        check.that(by_conductor || happened(history, row), || {
            format!("row {row}: no call and no record made it happen")
        });
    }
    check
}

fn happened(history: &History, row: u32) -> bool {
    let sent = |is_it: fn(&Item) -> bool| {
        history.publish.iter().any(|line| match line {
            PublishLine::Intent { item, .. } => is_it(item),
            _ => false,
        })
    };
    match row {
        // Calls that overlap end in any order.
        15 => history.seen.iter().any(|line| line.in_flight > 1),
        18 => sent(|item| matches!(item, Item::Garbage { .. })),
        19 => sent(|item| match item {
            Item::Frame { picture, .. } => *picture != Picture::Sound,
            _ => false,
        }),
        _ => history
            .seen
            .iter()
            .any(|line| line.answer.row() == Some(row)),
    }
}
