//! The tables of a report.

use super::charts::shortened;
use super::collect::{AlertLine, Collected, GapLine, Processor, Source, Times};
use super::page::section;
use super::plot::{escape, grouped, number};
use crate::monitor::alert::rfc3339;

/// Lines of a table: the newest.
const MOST_ROWS: usize = 30;

/// All alerts, or the newest.
pub fn alerts(html: &mut String, collected: &Collected) {
    // Sources come in partitions, not by time.
    let mut alerts: Vec<&AlertLine> = collected.alerts.iter().collect();
    alerts.sort_by_key(|alert| alert.time_ns);
    let rows = newest(&alerts).map(|alert| {
        let held = alert.time_ns.saturating_sub(alert.since_ns) as f64 / 1e9;
        format!(
            "<tr><td>{}</td><td><code>{}</code></td><td class=\"n\">{} s</td></tr>",
            rfc3339(alert.time_ns),
            escape(&alert.frame),
            number(held)
        )
    });
    let told = match grouped(collected.totals.alerts) {
        all if alerts.len() > MOST_ROWS => format!("The newest {MOST_ROWS} of {all}."),
        all => format!("{all} in all, the newest first."),
    };
    table(
        html,
        "Alerts",
        &told,
        "<th>Time</th><th>Frame</th><th class=\"n\">Held for</th>",
        rows,
    );
}

/// Processors, sources and gaps.
pub fn tables(html: &mut String, collected: &Collected) {
    let processors = collected
        .processors
        .iter()
        .map(|(name, one)| processor_row(name, one));
    table(
        html,
        "Processors",
        "What each was asked, and how long it took.",
        "<th>Processor</th><th class=\"n\">Results</th><th class=\"n\">not OK</th><th class=\"n\">Detections</th>\
         <th class=\"n\">Waited p50</th><th class=\"n\">Call p50</th><th class=\"n\">Call p99</th>",
        processors,
    );
    let sources = collected
        .sources
        .iter()
        .map(|(name, one)| source_row(name, one));
    table(
        html,
        "All sources",
        "",
        "<th>Source</th><th class=\"n\">Frames</th><th class=\"n\">fps</th><th>Size</th><th class=\"n\">Runs</th>\
         <th class=\"n\">Missing</th><th class=\"n\">Alerts</th><th>Last</th>",
        sources,
    );
    let gaps = newest(&collected.gaps).map(gap_row);
    let reasons: Vec<String> = collected
        .gap_reasons
        .iter()
        .map(|(reason, count)| format!("{reason} {}", grouped(*count)))
        .collect();
    table(
        html,
        "Gaps",
        &format!(
            "Frames that are missing and said to be, by reason: {}. The newest first.",
            reasons.join(", ")
        ),
        "<th>Source</th><th class=\"n\">First</th><th class=\"n\">Frames</th><th>Reason</th><th>Detail</th>",
        gaps,
    );
}

fn processor_row(name: &str, one: &Processor) -> String {
    let ms = |times: &Times, quantile| match times.is_empty() {
        true => "-".to_owned(),
        false => format!("{} ms", number(times.quantile_ms(quantile))),
    };
    format!(
        "<tr><td>{} <span class=\"none\">{}</span></td><td class=\"n\">{}</td><td class=\"n {}\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
        escape(name),
        escape(&one.version),
        grouped(one.ok + one.not_ok),
        if one.not_ok > 0 { "bad" } else { "none" },
        grouped(one.not_ok),
        grouped(one.detections),
        ms(&one.queued, 0.5),
        ms(&one.call, 0.5),
        ms(&one.call, 0.99)
    )
}

fn source_row(name: &str, one: &Source) -> String {
    let last = one
        .span_ns
        .map_or_else(String::new, |(_, last)| rfc3339(last));
    format!(
        "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}x{}</td><td class=\"n\">{}</td>\
         <td class=\"n {}\">{}</td><td class=\"n\">{}</td><td>{last} <span class=\"none\">{}</span></td></tr>",
        escape(name),
        grouped(one.frames),
        number(one.fps()),
        one.size.0,
        one.size.1,
        one.epochs,
        if one.missing > 0 { "bad" } else { "none" },
        grouped(one.missing),
        grouped(one.alerts),
        if one.has_ended { "ended" } else { "" }
    )
}

fn gap_row(gap: &GapLine) -> String {
    format!(
        "<tr><td>{}</td><td class=\"n\">{}/{}</td><td class=\"n\">{}</td><td>{}</td><td class=\"wrap\">{}</td></tr>",
        escape(&gap.source),
        gap.epoch,
        gap.first,
        grouped(gap.count),
        gap.reason,
        escape(&shortened(&gap.detail, 200))
    )
}

fn newest<T>(lines: &[T]) -> impl Iterator<Item = &T> {
    lines.iter().rev().take(MOST_ROWS)
}

/// Nothing if there are no rows.
fn table(
    html: &mut String,
    title: &str,
    told: &str,
    head: &str,
    rows: impl Iterator<Item = String>,
) {
    let rows: String = rows.collect();
    if !rows.is_empty() {
        let body = format!(
            "<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        );
        section(html, title, told, &body);
    }
}
