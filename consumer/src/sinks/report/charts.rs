//! The plots of a report.

use super::collect::{Bin, Collected, OTHER, Source, Times};
use super::plot::{Area, COLOURS, WIDTH, escape, grouped, nice_step, number, path, svg};
use super::tracks::Track;
use crate::monitor::alert::rfc3339;
use pipeline::overlay;
use std::fmt::Write;
use std::sync::Arc;

/// Labels with a line of their own; the rest share one.
const MOST_LINES: usize = COLOURS - 1;
const HEIGHT: f64 = 250.0;
const ROW: f64 = 26.0;
const MOST_ROWS: usize = 24;
pub const MOST_TRACK_ROWS: usize = 60;

/// The most frequent labels, by how often they were seen; the last may stand for all others.
pub fn labels(collected: &Collected) -> Vec<(Arc<str>, u64)> {
    let mut labels: Vec<(Arc<str>, u64)> = collected
        .labels
        .iter()
        .map(|(label, count)| (Arc::clone(label), *count))
        .collect();
    labels.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    if labels.len() > MOST_LINES {
        let rest = labels.drain(MOST_LINES..).map(|(_, count)| count).sum();
        labels.push((OTHER.into(), rest));
    }
    labels
}

fn area(collected: &Collected, height: f64, most: f64) -> Area {
    let (first, last) = collected.span_ns.unwrap_or_default();
    Area {
        left: 64.0,
        top: 20.0,
        right: WIDTH - 14.0,
        bottom: height - 28.0,
        time_ns: (first, last.max(first + 1)),
        most,
    }
}

/// How many objects of each label there are in a frame, over time.
pub fn counts(collected: &Collected) -> String {
    let labels = labels(collected);
    let named: Vec<&str> = labels.iter().map(|(label, _)| &**label).collect();
    let mean = |bin: &Bin, label: &str| {
        let is_it = |other: &str| match label {
            OTHER => !named.contains(&other) || other == OTHER,
            _ => other == label,
        };
        let of_it = bin.labels.iter().filter(|(other, _)| is_it(other));
        of_it.map(|(_, count)| *count).sum::<u64>() as f64 / bin.frames.max(1) as f64
    };
    let all = collected.timeline.bins();
    let most = all
        .flat_map(|(_, bin)| named.iter().map(move |label| (bin, label)))
        .map(|(bin, label)| mean(bin, label))
        .fold(0.5, f64::max);
    let area = area(collected, HEIGHT, top_of(most));
    let mut body = String::new();
    area.value_axis(&mut body, "");
    area.time_axis(&mut body);
    for (at, (label, _)) in labels.iter().enumerate() {
        for run in runs(collected, |bin| (bin.frames > 0).then(|| mean(bin, label))) {
            draw(&mut body, &area, &run, at);
        }
    }
    alert_marks(&mut body, collected, &area);
    hover(&mut body, collected, &area, |bin| {
        let mut text = format!("{} frames", bin.frames);
        for label in &named {
            let mean = mean(bin, label);
            if mean > 0.0 {
                let _ = write!(text, "\n{label}: {} in a frame", number(mean));
            }
        }
        text
    });
    svg(HEIGHT, "objects in a frame over time", &body)
}

/// How long frames took, over time.
pub fn latency(collected: &Collected) -> String {
    let quantile = |times: &Times, q| (!times.is_empty()).then(|| times.quantile_ms(q));
    let most = collected
        .timeline
        .bins()
        .filter_map(|(_, bin)| quantile(&bin.latency, 0.99))
        .fold(1.0, f64::max);
    // There is room for four figures beside the axis.
    let (unit_ms, unit) = if most < 5_000.0 {
        (1.0, " ms")
    } else {
        (1e3, " s")
    };
    let area = area(collected, HEIGHT, top_of(most / unit_ms));
    let mut body = String::new();
    area.value_axis(&mut body, unit);
    area.time_axis(&mut body);
    for (colour, q) in [(4, 0.99), (0, 0.5)] {
        let value = |bin: &Bin| quantile(&bin.latency, q).map(|ms| ms / unit_ms);
        for run in runs(collected, value) {
            draw(&mut body, &area, &run, colour);
        }
    }
    hover(&mut body, collected, &area, |bin| {
        let ms = |q| number(bin.latency.quantile_ms(q));
        format!(
            "p50 {} ms\np99 {} ms\n{} frames",
            ms(0.5),
            ms(0.99),
            bin.frames
        )
    });
    svg(HEIGHT, "latency over time", &body)
}

/// When each source was there, and what is missing.
pub fn availability(collected: &mut Collected) -> String {
    let sources = collected.sources.values();
    let widths = sources.map(|source| source.timeline.width_ns());
    let width_ns = widths.max().unwrap_or(1);
    for source in collected.sources.values_mut() {
        source.timeline.widen_to(width_ns);
    }
    let rows = collected.sources.len().min(MOST_ROWS);
    let height = 28.0 + 12.0 + ROW * rows as f64;
    let mut area = area(collected, height, 1.0);
    area.left = 150.0;
    area.top = 6.0;
    let mut body = String::new();
    area.time_axis(&mut body);
    for (row, (name, source)) in collected.sources.iter().take(MOST_ROWS).enumerate() {
        let top = area.top + ROW * row as f64;
        source_row(&mut body, &area, top, name, source);
    }
    svg(height, "frames and gaps of each source", &body)
}

fn source_row(body: &mut String, area: &Area, top: f64, name: &str, source: &Source) {
    let _ = write!(
        body,
        "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <rect class=\"row\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"4\"/>",
        area.left - 10.0,
        top + 16.0,
        escape(&shortened(name, 20)),
        area.left,
        area.right - area.left,
        ROW - 6.0
    );
    let width_ns = source.timeline.width_ns();
    for (begin_ns, bin) in source.timeline.bins() {
        let (from, to) = (area.x(begin_ns), area.x(begin_ns.saturating_add(width_ns)));
        let missing = bin.missing as f64 / (bin.missing.saturating_add(bin.frames)).max(1) as f64;
        let height = ROW - 6.0;
        // A single lost frame is to be seen.
        let red = if bin.missing > 0 {
            (missing * height).max(5.0)
        } else {
            0.0
        };
        let title = format!(
            "{name} {}: {} frames, {} missing, {} alerts",
            rfc3339(begin_ns),
            bin.frames,
            bin.missing,
            bin.alerts
        );
        let width = (to - from).max(1.0) + 0.3; // no hair between neighbours
        let x = from.min(area.right - width);
        let _ = write!(
            body,
            "<g><title>{}</title><rect class=\"frames\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
            escape(&title),
            height - red
        );
        if red > 0.0 {
            let _ = write!(
                body,
                "<rect class=\"missing\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{red:.1}\"/>",
                top + height - red,
                width.max(2.0)
            );
        }
        if bin.alerts > 0 {
            let _ = write!(
                body,
                "<circle class=\"alert\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>",
                x + width / 2.0,
                top + 5.0
            );
        }
        body.push_str("</g>");
    }
}

/// When each object was there.
pub fn track_rows(collected: &Collected, tracks: &[&Track]) -> String {
    const BAR: f64 = 11.0;
    /// As wide as a number of five digits.
    const NUMBER: f64 = 32.0;
    let height = 28.0 + 12.0 + BAR * tracks.len() as f64;
    let mut area = area(collected, height, 1.0);
    area.top = 6.0;
    let mut body = String::new();
    area.time_axis(&mut body);
    for (row, track) in tracks.iter().enumerate() {
        let (from, to) = (area.x(track.span_ns.0), area.x(track.span_ns.1));
        let seconds = track.span_ns.1.abs_diff(track.span_ns.0) as f64 / 1e9;
        let title = format!(
            "{} {} of {}/{}: {} frames in {} s",
            track.label,
            track.id,
            track.source,
            track.epoch,
            track.frames,
            number(seconds)
        );
        let y = area.top + BAR * row as f64;
        let end = to.max(from + 3.0);
        // The number stands behind its bar, or before one that ends at the edge.
        let (x, anchor) = match end > area.right - NUMBER {
            true => (from - 3.0, "end"),
            false => (end + 3.0, "start"),
        };
        let _ = write!(
            body,
            "<g><title>{}</title>\
             <rect style=\"fill:{}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"3\"/>\
             <text class=\"number\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text></g>",
            escape(&title),
            colour_of(track),
            end - from,
            BAR - 2.5,
            y + BAR - 3.0,
            track.id
        );
    }
    svg(height, "when each object was there", &body)
}

/// Where a source's objects went, over what it looks at: a data URL.
pub fn map(size: (u32, u32), scene: Option<&str>, tracks: &[&Track]) -> String {
    let (width, height) = (size.0.max(1), size.1.max(1));
    let mut body = String::new();
    if let Some(scene) = scene {
        let _ = write!(
            body,
            "<image href=\"{scene}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\"/>"
        );
    }
    let _ = write!(
        body,
        "<rect class=\"veil\" width=\"{width}\" height=\"{height}\"/>"
    );
    let unit = f64::from(width) / 480.0;
    for track in tracks {
        let places: Vec<(f64, f64)> = track
            .places
            .iter()
            .map(|(x, y)| (f64::from(*x), f64::from(*y)))
            .collect();
        let Some(&(x, y)) = places.last() else {
            continue;
        };
        let colour = colour_of(track);
        let line = path(&places);
        let (to_the_side, anchor) = match x > f64::from(width) - unit * 40.0 {
            true => (-unit * 5.0, "end"),
            false => (unit * 5.0, "start"),
        };
        let title = format!("{} {}: {} frames", track.label, track.id, track.frames);
        let _ = write!(
            body,
            "<g><title>{}</title><path class=\"under\" style=\"stroke-width:{:.1}\" d=\"{line}\"/>\
             <path class=\"path\" style=\"stroke:{colour};stroke-width:{:.1}\" d=\"{line}\"/>\
             <circle style=\"fill:{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\"/>\
             <text class=\"place\" style=\"font-size:{:.1}px;stroke-width:{:.1}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text></g>",
            escape(&title),
            unit * 4.5,
            unit * 2.2,
            unit * 3.6,
            unit * 11.0,
            unit * 2.5,
            x + to_the_side,
            y + unit * 4.0,
            track.id
        );
    }
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"where objects went\">{body}</svg>"
    )
}

/// As in the pictures.
fn colour_of(track: &Track) -> String {
    let [red, green, blue] = overlay::colour_of_number(track.id);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// The lines of a value through neighbouring bins; what has none makes a break.
fn runs(collected: &Collected, value: impl Fn(&Bin) -> Option<f64>) -> Vec<Vec<(i64, f64)>> {
    let width_ns = collected.timeline.width_ns();
    let mut runs: Vec<Vec<(i64, f64)>> = Vec::new();
    let mut next = None;
    for (begin_ns, bin) in collected.timeline.bins() {
        let Some(value) = value(bin) else {
            continue;
        };
        let point = (begin_ns.saturating_add(width_ns / 2), value);
        match runs.last_mut().filter(|_| next == Some(begin_ns)) {
            Some(run) => run.push(point),
            None => runs.push(vec![point]),
        }
        next = begin_ns.checked_add(width_ns);
    }
    runs
}

/// A line with a tint below.
fn draw(body: &mut String, area: &Area, run: &[(i64, f64)], colour: usize) {
    let mut points: Vec<(f64, f64)> = run.iter().map(|(t, v)| (area.x(*t), area.y(*v))).collect();
    if let [(x, y)] = points[..] {
        points.push((x + 2.0, y)); // alone it would not be seen
    }
    let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else {
        return;
    };
    let line = path(&points);
    let bottom = area.bottom;
    let _ = write!(
        body,
        "<path class=\"area f{colour}\" d=\"{line}L{last:.1} {bottom:.1}L{first:.1} {bottom:.1}Z\"/>\
         <path class=\"line s{colour}\" d=\"{line}\"/>"
    );
}

fn alert_marks(body: &mut String, collected: &Collected, area: &Area) {
    let width_ns = collected.timeline.width_ns();
    for (begin_ns, bin) in collected.timeline.bins().filter(|(_, bin)| bin.alerts > 0) {
        let x = area.x(begin_ns.saturating_add(width_ns / 2));
        let title = format!("{} alerts at {}", grouped(bin.alerts), rfc3339(begin_ns));
        let _ = write!(
            body,
            "<path class=\"alert\" d=\"M{:.1} 4h10l-5 9z\"><title>{title}</title></path>",
            x - 5.0
        );
    }
}

/// Columns that say what is in them.
fn hover(body: &mut String, collected: &Collected, area: &Area, say: impl Fn(&Bin) -> String) {
    let width_ns = collected.timeline.width_ns();
    for (begin_ns, bin) in collected.timeline.bins() {
        let (from, to) = (area.x(begin_ns), area.x(begin_ns.saturating_add(width_ns)));
        let _ = write!(
            body,
            "<rect class=\"hover\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}\n{}</title></rect>",
            area.top,
            (to - from).max(0.5),
            area.bottom - area.top,
            rfc3339(begin_ns),
            escape(&say(bin))
        );
    }
}

/// A little above the most, at a step of the axis.
fn top_of(most: f64) -> f64 {
    let step = nice_step(most / 4.0);
    (most / step).ceil().max(1.0) * step
}

/// So many characters at most.
pub fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() {
        count if count <= most => text.to_owned(),
        _ => text.chars().take(most - 1).chain(['\u{2026}']).collect(),
    }
}
