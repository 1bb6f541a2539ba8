//! The page: one file that needs nothing else, on a light or a dark screen, or on paper.

use super::About;
use super::album::Album;
use super::charts;
use super::collect::Collected;
use super::plot::{COLOURS, escape, grouped, number};
use super::tables;
use crate::monitor::alert::rfc3339;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");
/// A page is known by it.
const BEGINNING: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
                         <meta name=\"generator\" content=\"Framelane report\">";

/// Whether a file that begins like this is such a page.
pub fn begins_so(file: &[u8]) -> bool {
    file.starts_with(BEGINNING.as_bytes())
}

/// All of it.
pub fn page(about: &About, collected: &mut Collected, album: &Album) -> String {
    let title = escape(&about.topics.join(", "));
    let mut html = format!(
        "{BEGINNING}<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title} - Framelane report</title><style>\n{STYLE}</style></head><body><main>"
    );
    collected.widen();
    header(&mut html, about, collected);
    tiles(&mut html, about, collected);
    if collected.totals.frames == 0 {
        section(&mut html, "Nothing to see", "No frame was read.", "");
    } else {
        plots(&mut html, about, collected);
        tracks(&mut html, collected, album);
        stills(&mut html, album);
        tables::alerts(&mut html, collected);
        tables::tables(&mut html, collected);
    }
    html.push_str("<footer>Times are UTC. Made by <b>framelane consumer --report</b></footer></main></body></html>\n");
    html
}

fn header(html: &mut String, about: &About, collected: &Collected) {
    let topics: Vec<String> = about.topics.iter().map(|topic| escape(topic)).collect();
    let _ = write!(html, "<header><h1>{}</h1><p>", topics.join(", "));
    match collected.span_ns {
        Some((first, last)) => {
            let seconds = last.abs_diff(first) as f64 / 1e9;
            let _ = write!(
                html,
                "{} to {} ({})",
                rfc3339(first),
                rfc3339(last),
                duration(seconds)
            );
        }
        None => html.push_str("no frames yet"),
    }
    if let Some(group) = &about.group {
        let _ = write!(
            html,
            ", read by group <code>{}</code> in this run",
            escape(group)
        );
    }
    html.push_str("</p>");
    if let Some(condition) = &about.condition {
        let _ = write!(
            html,
            "<div class=\"condition\"><code>{}</code></div>",
            escape(condition)
        );
    }
    html.push_str("</header>");
}

fn tiles(html: &mut String, about: &About, collected: &Collected) {
    let totals = &collected.totals;
    let lost = totals.lost.saturating_sub(totals.recovered);
    html.push_str("<div class=\"tiles\">");
    let mut tile = |class: &str, value: String, name: &str| {
        let _ = write!(
            html,
            "<div class=\"tile {class}\"><b>{value}</b><span>{name}</span></div>"
        );
    };
    let is_bad = |count: u64| if count > 0 { "bad" } else { "good" };
    let of = |count: u64, one: &str, many: &str| {
        if count == 1 {
            one.to_owned()
        } else {
            many.to_owned()
        }
    };
    let sources = collected.sources.len() as u64;
    tile(
        "",
        grouped(totals.frames),
        &format!(
            "frames of {}",
            of(sources, "1 source", &format!("{sources} sources"))
        ),
    );
    tile("", grouped(totals.detections), "detections");
    if collected.tracks.count > 0 {
        tile("", grouped(collected.tracks.count), "objects followed");
    }
    if about.condition.is_some() {
        let class = if totals.alerts > 0 { "warn" } else { "" };
        tile(
            class,
            grouped(totals.alerts),
            &of(totals.alerts, "alert", "alerts"),
        );
    }
    let time = |quantile| match collected.latency.quantile_ms(quantile) {
        ms if ms >= 1_000.0 => duration(ms / 1e3),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{} ms", number(ms)),
    };
    if !collected.latency.is_empty() {
        tile("", time(0.5), "latency p50");
        tile("", time(0.99), "latency p99");
    }
    tile(
        is_bad(totals.gap_frames),
        grouped(totals.gap_frames),
        "frames in gaps",
    );
    tile(is_bad(lost), grouped(lost), "frames lost");
    tile(
        is_bad(totals.results_not_ok),
        grouped(totals.results_not_ok),
        "results not OK",
    );
    let unordered = totals.duplicated + totals.out_of_order;
    if unordered > 0 {
        tile("bad", grouped(unordered), "doubled or out of order");
    }
    if totals.undecodable > 0 {
        tile(
            "bad",
            grouped(totals.undecodable),
            "records that are no frames",
        );
    }
    html.push_str("</div>");
}

fn plots(html: &mut String, about: &About, collected: &mut Collected) {
    if !collected.labels.is_empty() {
        let mut body = charts::counts(collected);
        let labels = charts::labels(collected);
        let entries = labels.iter().map(|(label, count)| {
            let label = match label.as_ref() {
                "" => "(no label)".to_owned(),
                label => escape(&charts::shortened(label, 40)),
            };
            (label, grouped(*count))
        });
        body.push_str(&legend(entries));
        let told = match about.condition {
            Some(_) => "How many of each label there are in a frame. Marks at the top are alerts.",
            None => "How many of each label there are in a frame.",
        };
        section(html, "Objects over time", told, &body);
    }
    let body = charts::availability(collected);
    section(
        html,
        "Sources",
        "Where a row is filled, there are frames; red is what is missing, dots are alerts.",
        &body,
    );
    if !collected.latency.is_empty() {
        let body = charts::latency(collected);
        let told = "From capture until the last stage was done with the frame: half of the frames (blue) and 99 of 100 \
                    (pink) took no longer.";
        section(html, "Latency", told, &body);
    }
}

fn tracks(html: &mut String, collected: &Collected, album: &Album) {
    let count = collected.tracks.count;
    if count == 0 {
        return;
    }
    let all = collected.tracks.longest(super::tracks::MOST_TRACKS);
    let rows = collected.tracks.longest(charts::MOST_TRACK_ROWS);
    let mut body = charts::track_rows(collected, &rows);
    body.push_str("<div class=\"maps\">");
    for (name, source) in &collected.sources {
        let own: Vec<_> = all
            .iter()
            .copied()
            .filter(|track| track.source == *name)
            .collect();
        let Some(scene) = album.scenes.get(&**name).filter(|_| !own.is_empty()) else {
            continue;
        };
        let map = charts::map(source.size, Some(&data_url(scene)), &own);
        let _ = write!(
            body,
            "<figure>{map}<figcaption><b>{}</b><span>{} objects</span></figcaption></figure>",
            escape(name),
            own.len()
        );
    }
    body.push_str("</div>");
    let told = match rows.len() as u64 {
        shown if shown < count => format!(
            "The {shown} of {} objects that were seen longest, and where they went.",
            grouped(count)
        ),
        shown => format!("{shown} objects: when they were there, and where they went."),
    };
    section(html, "Tracks", &told, &body);
}

fn stills(html: &mut String, album: &Album) {
    let stills = album.stills();
    if stills.is_empty() {
        return;
    }
    let mut body = "<div class=\"stills\">".to_owned();
    for still in stills {
        let (class, word) = if still.is_alert {
            ("raised", "<b>alert</b> ")
        } else {
            ("", "")
        };
        let frame = escape(&still.frame);
        let _ = write!(
            body,
            "<figure class=\"{class}\"><img loading=\"lazy\" alt=\"{frame}\" src=\"{}\"><figcaption><span>{word}{frame}</span>\
             <span>{}</span></figcaption></figure>",
            data_url(&still.jpeg),
            rfc3339(still.time_ns).get(11..23).unwrap_or_default()
        );
    }
    body.push_str("</div>");
    section(
        html,
        "Pictures",
        "From all over the time, with what was found in them.",
        &body,
    );
}

/// A part of the page.
pub fn section(html: &mut String, title: &str, told: &str, body: &str) {
    let _ = write!(
        html,
        "<section><h2>{title}</h2><p>{told}</p>{body}</section>"
    );
}

fn legend(entries: impl Iterator<Item = (String, String)>) -> String {
    let mut list = "<ul class=\"legend\">".to_owned();
    for (at, (name, count)) in entries.enumerate() {
        let colour = at % COLOURS;
        let _ = write!(
            list,
            "<li><svg viewBox=\"0 0 10 10\"><rect class=\"f{colour}\" width=\"10\" height=\"10\" rx=\"3\"/></svg>{name} \
             <small>{count}</small></li>"
        );
    }
    list.push_str("</ul>");
    list
}

fn data_url(jpeg: &[u8]) -> String {
    format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg))
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{} s", number(s)),
        s if s < 7_200.0 => format!("{} min", number(s / 60.0)),
        s => format!("{} h", number(s / 3_600.0)),
    }
}
