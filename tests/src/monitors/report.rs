//! A report is one page that needs nothing else and is about everything that was read.

use super::scene::{ALERTS, FRAMES, SOMEBODY, frame_with, one_source};
use crate::harness::{name, publish_records, run, run_ok, shared, topic};

/// Makes the page of all there is in a topic.
fn report(input: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    let page = format!("html:{}", file.display());
    let args = ["--topic", input, "--until", "end", "--report", &page];
    run_ok("consumer", shared(), &[&args[..], more].concat());
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the page is left behind");
    std::fs::read_to_string(&file).unwrap()
}

/// The page asks nobody for anything, and every tag of these is closed.
fn assert_whole(page: &str) {
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    for foreign in ["http:", "https:", "<script", "<link", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign} in the page");
    }
    for place in page.split("src=\"").chain(page.split("href=\"")).skip(1) {
        assert!(place.starts_with("data:image/jpeg;base64,") || place.starts_with("<!doctype"));
    }
    for tag in [
        "section",
        "div",
        "svg",
        "g",
        "table",
        "tr",
        "td",
        "figure",
        "figcaption",
        "ul",
        "li",
        "text",
        "title",
    ] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf\""));
}

#[test]
fn a_report_tells_of_objects_gaps_tracks_alerts_and_shows_them() {
    let input = one_source();
    let more = [
        "--track",
        "--when",
        SOMEBODY,
        "--for",
        "1s",
        "--cooldown",
        "5s",
    ];
    let page = report(&input, &more);
    assert_whole(&page);
    let titles = [
        "Objects over time",
        "Sources",
        "Latency",
        "Tracks",
        "Pictures",
        "Alerts",
        "Processors",
        "Gaps",
    ];
    for title in titles {
        assert!(page.contains(&format!("<h2>{title}</h2>")), "{title}");
    }
    let frames = format!("<b>{}</b><span>frames of 1 source</span>", FRAMES - 1);
    assert!(page.contains(&frames));
    assert!(page.contains(&format!("<b>{}</b><span>alerts</span>", ALERTS.len())));
    assert!(page.contains("<b>1</b><span>frames in gaps</span>"));
    for alert in ALERTS {
        assert!(
            page.contains(&format!("<code>a/1/{alert}</code>")),
            "{alert}"
        );
    }
    // A track has its number, and the colour that it has in the pictures.
    let [red, green, blue] = pipeline::overlay::colour_of_number(1);
    assert!(page.contains(&format!("fill:#{red:02x}{green:02x}{blue:02x}")));
    assert!(
        page.contains("text-anchor=\"start\">1</text>")
            || page.contains("text-anchor=\"end\">1</text>")
    );
    assert!(page.contains("overload"));
    assert!(page.contains("data:image/jpeg;base64,/9j/"));
}

#[test]
fn what_strangers_write_into_frames_is_text_in_the_page() {
    let input = topic(shared(), 1);
    let label = "<script>alert('&\")</script>";
    let frames = (0..20).map(|sequence| frame_with(&input, sequence, label));
    publish_records(shared(), frames);
    let page = report(&input, &[]);
    assert_whole(&page);
    assert!(
        page.contains("&lt;script&gt;alert(&#39;&amp;&quot;)&lt;/script&gt;"),
        "the label is shown"
    );
}

#[test]
fn a_report_of_nothing_says_so_and_one_without_a_place_is_refused() {
    let input = topic(shared(), 1);
    let page = report(&input, &[]);
    assert_whole(&page);
    assert!(page.contains("No frame was read"));
    let folder = tempfile::tempdir().unwrap();
    let place = format!("html:{}/report.html", folder.path().display());
    let args = ["--topic", &input, "--until", "end", "--report", &place];
    for _ in ["made", "replaced"] {
        run_ok("consumer", shared(), &args);
    }
    let place = format!("html:/{}/report.html", name());
    let (code, log) = run(
        "consumer",
        shared(),
        &["--topic", &input, "--until", "end", "--report", &place],
    );
    assert_eq!(code, Some(2), "{log}");
    assert!(
        log.contains("there is no folder") && log.contains("give another place"),
        "{log}"
    );
}
