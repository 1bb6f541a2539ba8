//! The web edge's page in a real browser: what a person sees is what the topic holds, and it mends itself.
//!
//! `FRAMELANE_SCREENSHOTS=DIR` keeps what was seen.

use crate::gateway::camera;
use crate::harness::{Browser, Door, Gateway, Process, clip, name, processor, shared, wait_for};
use kafka_node::{Kafka, Options};
use serde_json::Value;

const DESKTOP: (u32, u32) = (1280, 800);
const PHONE: (u32, u32) = (390, 844);

/// Reads the bar code of a canvas as `picture_code` does: the middle of each of 32 x 4 cells in the upper eighth.
const READ_CODE: &str = r#"(selector) => {
  const canvas = document.querySelector(selector);
  const { width, height } = canvas;
  const pixels = canvas.getContext("2d").getImageData(0, 0, width, Math.floor(height / 8)).data;
  const rows = Math.floor(height / 8);
  const bytes = new Array(16).fill(0);
  for (let bit = 0; bit < 128; bit += 1) {
    const x = Math.floor(((2 * (bit % 32) + 1) * width) / 64);
    const y = Math.floor(((2 * Math.floor(bit / 32) + 1) * rows) / 8);
    const at = 4 * (y * width + x);
    if (pixels[at] + pixels[at + 1] + pixels[at + 2] > 381) bytes[bit >> 3] |= 0x80 >> (bit & 7);
  }
  return bytes;
}"#;

/// In which no other test has sources.
fn own_kafka() -> Kafka {
    Kafka::start_jars(&Options::default()).expect("a Kafka of this test's own")
}

/// What the picture on a canvas says of itself: epoch and sequence.
fn code_on(browser: &Browser, selector: &str) -> Option<(u64, u64)> {
    let bytes = browser.value(&format!("({READ_CODE})({selector:?})"));
    let bytes: Vec<u64> = bytes.as_array()?.iter().filter_map(Value::as_u64).collect();
    let number =
        |range: std::ops::Range<usize>| bytes[range].iter().fold(0, |sum, byte| sum << 8 | byte);
    (bytes[0] == 0xa5).then(|| (number(1..4), number(4..10)))
}

fn tile(topic: &str) -> String {
    format!("a.tile[data-topic=\"{topic}\"]")
}

/// A number that the page keeps about the view that this selects.
fn kept(browser: &Browser, selector: &str, name: &str) -> u64 {
    let text = browser.value(&format!(
        "document.querySelector({selector:?})?.dataset[{name:?}] ?? \"0\""
    ));
    text.as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// Waits until so many more frames were drawn.
fn wait_for_frames(browser: &Browser, selector: &str, more: u64) {
    let before = kept(browser, selector, "frames");
    let what = format!("{more} more frames in {selector}");
    browser.wait(
        &what,
        &format!(
            "Number(document.querySelector({selector:?})?.dataset.frames ?? 0) >= {}",
            before + more
        ),
    );
}

#[test]
fn the_wall_moves_and_shows_what_the_frames_say_of_themselves() {
    let Some(browser) = Browser::open(
        "the_wall_moves_and_shows_what_the_frames_say_of_themselves",
        DESKTOP,
    ) else {
        return;
    };
    let kafka = own_kafka();
    let servers = kafka.bootstrap_servers();
    let (_one, first) = camera(servers, "1280x720@30");
    let (_two, second) = camera(servers, "640x480@15");
    let gateway = Gateway::start(servers, &[]);
    browser.go(&format!("http://{}/", gateway.address));
    for topic in [&first, &second] {
        browser.wait(
            "the tile",
            &format!("document.querySelector({:?})", tile(topic)),
        );
        wait_for_frames(&browser, &tile(topic), 3);
        let canvas = format!("{} canvas", tile(topic));
        let mut last = None;
        for _ in 0..15 {
            wait_for_frames(&browser, &tile(topic), 1);
            let code = wait_for("a code that can be read", || code_on(&browser, &canvas));
            assert!(
                Some(code) >= last,
                "{code:?} after {last:?}: it only goes forward"
            );
            last = Some(code);
        }
        let (epoch, sequence) = last.expect("frames");
        assert_eq!(epoch, kept(&browser, &tile(topic), "epoch"));
        assert!(
            sequence <= kept(&browser, &tile(topic), "sequence"),
            "the picture is no newer than what is said of it"
        );
        let about = browser.value(&format!(
            "document.querySelector({:?}).innerText",
            tile(topic)
        ));
        let about = about.as_str().expect("a text");
        for word in [topic.as_str(), "fps", "latency", "gaps"] {
            assert!(about.contains(word), "{word}: {about}");
        }
    }
}

#[test]
fn results_are_drawn_and_told_and_the_past_can_be_seen() {
    let Some(browser) = Browser::open(
        "results_are_drawn_and_told_and_the_past_can_be_seen",
        DESKTOP,
    ) else {
        return;
    };
    let (input, output) = (name(), name());
    let (_people, url) = processor(&["motion"]);
    let args = ["--file", &clip(), "--loop", "--topic", &input];
    let _camera = Process::start("producer", shared(), &args);
    let args = ["--input", &input, "--output", &output, "--processor", &url];
    let _broker = Process::start("broker", shared(), &args);
    let gateway = Gateway::start(shared(), &[]);
    wait_for("the output", || gateway.source(&output, &input));
    browser.go(&format!("http://{}/#/{output}/{input}", gateway.address));
    wait_for_frames(&browser, ".large", 10);
    browser.wait(
        "what was found",
        "/motion/.test(document.querySelector('.side').innerText)",
    );
    let side = browser.value("document.querySelector('.side').innerText");
    let side = side.as_str().expect("a text");
    for word in ["producer", "broker", "latency", "viewers"] {
        assert!(side.contains(word), "{word}: {side}");
    }
    browser.wait(
        "a time line",
        "Number(document.querySelector('input[type=range]').max) > 1000",
    );
    browser.prefer("light");
    browser.screenshot("large-light");
    // By the keyboard and the time line: pause, back to the beginning, on, live, all sources.
    let mode = |mode: &str| {
        let is_so = format!("document.querySelector('.large').dataset.mode === {mode:?}");
        browser.wait(mode, &is_so);
    };
    browser.press("Space");
    mode("paused");
    let seen = kept(&browser, ".large", "sequence");
    browser.value(
        "{ const line = document.querySelector('input[type=range]'); line.value = line.min; \
         line.dispatchEvent(new Event('input')); line.dispatchEvent(new Event('change')); }",
    );
    let is_first = format!("Number(document.querySelector('.large').dataset.sequence) < {seen}");
    browser.wait("the first frame, while paused", &is_first);
    mode("paused");
    browser.prefer("dark");
    browser.screenshot("large-dark-paused");
    browser.press("Space");
    mode("replay");
    wait_for_frames(&browser, ".large", 3);
    browser.press("l");
    mode("live");
    wait_for_frames(&browser, ".large", 3);
    browser.size(PHONE.0, PHONE.1);
    wait_for_frames(&browser, ".large", 3);
    fits(&browser);
    browser.screenshot("large-phone-dark");
    browser.press("Escape");
    browser.wait("the wall", "document.querySelector('.wall')");
    browser.value("{ location.hash = '/nowhere/cam0'; }");
    browser.wait(
        "why there is nothing",
        "/topic nowhere does not exist/.test(document.querySelector('.large').innerText)",
    );
}

/// Nothing is wider than the page.
fn fits(browser: &Browser) {
    let wide = browser.value(
        "[...document.querySelectorAll('*')].filter(node => node.getBoundingClientRect().right > innerWidth + 1).map(node => node.outerHTML.slice(0, 99))",
    );
    let width = browser.value("document.documentElement.scrollWidth - innerWidth");
    assert_eq!(width, 0, "{wide}");
}

#[test]
fn the_wall_is_used_by_keyboard_on_any_screen_dark_and_light() {
    let Some(browser) = Browser::open(
        "the_wall_is_used_by_keyboard_on_any_screen_dark_and_light",
        DESKTOP,
    ) else {
        return;
    };
    let kafka = own_kafka();
    let servers = kafka.bootstrap_servers();
    let (_one, first) = camera(servers, "640x360@15");
    let (_two, second) = camera(servers, "640x360@15");
    let (_people, url) = processor(&["people"]);
    let args = ["--file", &clip(), "--loop", "--topic", "lobby"];
    let _lobby = Process::start("producer", servers, &args);
    let args = [
        "--input",
        "lobby",
        "--output",
        "lobby.people",
        "--processor",
        &url,
    ];
    let _broker = Process::start("broker", servers, &args);
    let gateway = Gateway::start(servers, &[]);
    browser.go(&format!("http://{}/", gateway.address));
    let is_there = format!("document.querySelector({:?})", tile(&first));
    browser.wait("the tile", &is_there);
    browser.press("/");
    browser.wait("the filter", "document.activeElement.id === 'filter'");
    // As if typed: names of tests are long.
    let typed = |text: &str| {
        browser.value(&format!("{{ const filter = document.getElementById('filter'); filter.value = {text:?}; filter.dispatchEvent(new Event('input')); }}"))
    };
    typed(&first);
    browser.wait(
        "one tile",
        "[...document.querySelectorAll('.tile')].filter(tile => !tile.hidden).length === 1",
    );
    let count = "document.getElementById('count').textContent";
    browser.wait(
        "its number",
        &format!("/^1 of \\d+ sources$/.test({count})"),
    );
    typed("test-");
    for topic in [&first, &second] {
        browser.value(&format!(
            "document.querySelector({:?}).scrollIntoView()",
            tile(topic)
        ));
        wait_for_frames(&browser, &tile(topic), 5);
    }
    typed("");
    wait_for_frames(&browser, &tile("lobby.people"), 3);
    browser.value("scrollTo(0, 0)");
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        let expected =
            format!("getComputedStyle(document.documentElement).colorScheme === {scheme:?}");
        browser.wait("the colours", &expected);
        browser.screenshot(&format!("wall-{scheme}"));
    }
    browser.size(PHONE.0, PHONE.1);
    fits(&browser);
    browser.screenshot("wall-phone-dark");
    browser.size(DESKTOP.0, DESKTOP.1);
    browser.value(&format!(
        "document.querySelector({:?}).focus()",
        tile(&first)
    ));
    browser.press("ArrowRight");
    browser.press("ArrowLeft");
    browser.press("Enter");
    browser.wait("the large view", "document.querySelector('.large')");
    browser.value("document.querySelector('.timeline input').focus()");
    browser.press("o");
    let boxes = "[...document.querySelectorAll('.large button')].find(button => button.textContent === 'Boxes')";
    let hidden = format!("{boxes}.getAttribute('aria-pressed') === 'false'");
    browser.wait("keys to work beside the time line", &hidden);
    browser.press("Escape");
    browser.wait("the wall", "document.querySelector('.wall')");
}

#[test]
fn a_killed_broker_and_a_killed_gateway_are_got_over_without_a_hand() {
    let test = "a_killed_broker_and_a_killed_gateway_are_got_over_without_a_hand";
    let Some(browser) = Browser::open(test, DESKTOP) else {
        return;
    };
    let (_camera, input) = camera(shared(), "640x360@30");
    let output = format!("{input}.out");
    let (_echo, url) = processor(&["echo"]);
    let broker = || crate::harness::broker(shared(), &input, &[&url], &["--instance", "one"]);
    let killed = broker();
    let (first, second) = (Gateway::start(shared(), &[]), Gateway::start(shared(), &[]));
    let door = Door::open(&[&first, &second]);
    wait_for("the output", || first.source(&output, &input));
    browser.go(&format!("http://{}/#/{output}/{input}", door.address));
    wait_for_frames(&browser, ".large", 10);
    let before = (
        kept(&browser, ".large", "epoch"),
        kept(&browser, ".large", "sequence"),
    );

    killed.kill9();
    let note = "document.querySelector('.large .note')";
    let silence = format!("!{note}.hidden && {note}.textContent === 'no frames at present'");
    browser.wait("the silence to be said", &silence);
    let _broker = broker();
    wait_for_frames(&browser, ".large", 30);
    browser.wait("no word of it any more", &format!("{note}.hidden"));
    let after = (
        kept(&browser, ".large", "epoch"),
        kept(&browser, ".large", "sequence"),
    );
    assert!(after > before, "{after:?} after {before:?}");

    // The browser is at the first gateway; the door knows another one.
    assert_eq!(
        first
            .source(&output, &input)
            .map(|line| line["viewers"].clone()),
        Some(1.into())
    );
    first.process.kill9();
    wait_for("the viewer at the other gateway", || {
        let line = second.source(&output, &input)?;
        (line["viewers"] == 1).then_some(())
    });
    wait_for_frames(&browser, ".large", 30);
    let last = (
        kept(&browser, ".large", "epoch"),
        kept(&browser, ".large", "sequence"),
    );
    assert!(last > after, "{last:?} after {after:?}");
    assert_eq!(
        browser.value("document.querySelector('.large').dataset.connection"),
        "open"
    );

    // The only gateway there is: gone, and back at the same address.
    let address = second.address.clone();
    second.process.kill9();
    browser.wait(
        "the loss to be said",
        "document.querySelector('.large').dataset.connection !== 'open'",
    );
    let _third = Gateway::start_at(shared(), &address, &[]);
    wait_for_frames(&browser, ".large", 30);
    let end = (
        kept(&browser, ".large", "epoch"),
        kept(&browser, ".large", "sequence"),
    );
    assert!(end > last, "{end:?} after {last:?}");
    browser.wait(
        "no word of problems",
        "document.getElementById('problem').hidden",
    );
}

#[test]
fn who_has_no_token_is_asked_for_one() {
    let Some(browser) = Browser::open("who_has_no_token_is_asked_for_one", DESKTOP) else {
        return;
    };
    let (_camera, topic) = camera(shared(), "320x240@15");
    let file = tempfile::NamedTempFile::new().unwrap();
    let token = "the-token-of-a-person";
    std::fs::write(
        file.path(),
        format!("- {{name: me, token: {token}, topics: ['{topic}']}}\n"),
    )
    .unwrap();
    let path = file.path().to_str().expect("a readable path");
    let gateway = Gateway::start(shared(), &["--tokens", path]);
    browser.go(&format!("http://{}/", gateway.address));
    browser.wait("the question", "document.getElementById('token').open");
    let answer = |text: &str| {
        browser.value(&format!(
            "{{ document.getElementById('token-text').value = {text:?}; document.querySelector('#token form').requestSubmit(); }}"
        ))
    };
    answer("a-wrong-token-of-a-person");
    browser.wait(
        "the refusal",
        "document.getElementById('token-problem').textContent",
    );
    browser.screenshot("token");
    answer(token);
    browser.wait(
        "the tile",
        &format!("document.querySelector({:?})", tile(&topic)),
    );
    wait_for_frames(&browser, &tile(&topic), 5);
    assert_eq!(
        browser.value("document.cookie"),
        "",
        "no script of any page reads it"
    );
}
