//! `resize-clients` on real services: every frame of every instance is on disk once, whatever the services do.

use crate::harness::{Process, clip, processor, run, wait_for};
use crate::security_lab::files;
use imagesize::ImageSize;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;

/// In testdata/people.mp4, of 768x576.
const FRAMES: usize = 220;
/// Enough frames that a run does not end between two looks at it.
const MANY: usize = 8;
const NO_KAFKA: &str = "unused:1";

/// A folder for the pictures and the table.
struct Out(tempfile::TempDir);

impl Out {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn json(&self) -> Value {
        let text = std::fs::read(self.path().join("table.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// The arguments of a run into here.
    fn line(&self, line: &str) -> Vec<String> {
        let place = self.path().display();
        let line = format!("{line} --out {place} --json {place}/table.json");
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn start(&self, line: &str) -> Process {
        let line = self.line(line);
        let args: Vec<_> = line.iter().map(String::as_str).collect();
        Process::start("resize-clients", NO_KAFKA, &args)
    }

    fn run(&self, line: &str) -> (Option<i32>, String) {
        self.start(line).outcome()
    }

    /// An instance's files: all names, with their contents.
    fn files(&self, instance: usize) -> BTreeMap<String, Vec<u8>> {
        let folder = self.path().join(format!("vid-instance{instance}"));
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            // A temporary name may have become another one since it was listed.
            if let Ok(content) = std::fs::read(entry.path()) {
                files.insert(name, content);
            }
        }
        files
    }

    /// Asserts that every frame is there once, whole and of this size; gives the files.
    fn assert_complete(
        &self,
        instance: usize,
        (width, height): (usize, usize),
    ) -> BTreeMap<String, Vec<u8>> {
        let files = self.files(instance);
        let wanted: Vec<_> = (1..=FRAMES).map(|n| format!("Frame{n:05}.jpg")).collect();
        let found: Vec<_> = files.keys().cloned().collect();
        assert_eq!(found, wanted, "instance {instance}");
        for (name, jpeg) in &files {
            let size = imagesize::blob_size(jpeg).unwrap();
            assert_eq!(size, ImageSize { width, height }, "{name}");
            assert!(jpeg.ends_with(&[0xFF, 0xD9]), "{name} is torn");
        }
        files
    }

    fn count(&self, instance: usize) -> usize {
        let names = self.files(instance).into_keys();
        names.filter(|name| name.starts_with("Frame")).count()
    }
}

fn service(more: &[&str]) -> (Process, String) {
    processor(&[&["resize", "--scale", "0.5"], more].concat())
}

#[test]
fn every_instance_writes_every_frame_once() {
    let (service, url) = service(&[]);
    let out = Out::new();
    // What an earlier run left is not to be taken for frames of this one.
    let folder = out.path().join("vid-instance1");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("Frame00999.jpg"), b"old").unwrap();
    let (code, log) = out.run(&format!("3 0.2 {} --endpoint {url}", clip()));
    assert_eq!(code, Some(0), "{log}");
    let first = out.assert_complete(1, (384, 288));
    for instance in 2..=3 {
        assert_eq!(out.assert_complete(instance, (384, 288)), first);
        assert!(log.contains(&format!(
            "vid-instance{instance} is complete: {FRAMES} frames"
        )));
    }
    let table = out.json();
    assert_eq!(table["complete"], true);
    assert_eq!(table["instances"].as_array().unwrap().len(), 3);
    assert_eq!(table["total"]["frames"], 3 * FRAMES);
    let number = |name: &str| table["total"][name].as_f64().unwrap();
    assert!(number("p50_ms") > 0.0 && number("p50_ms") <= number("p99_ms"));
    // The second and third start later than the first.
    assert!(number("seconds") >= 0.4);
    assert!(service.stop().success());
}

#[test]
fn each_run_has_the_size_that_it_asks_for_from_one_service() {
    let (_service, url) = service(&[]);
    for (wish, size) in [
        ("--size 100x60", (100, 60)),
        ("--scale 0.25 --send jpeg", (192, 144)),
    ] {
        let out = Out::new();
        let (code, log) = out.run(&format!("1 0 {} {wish} --endpoint {url}", clip()));
        assert_eq!(code, Some(0), "{log}");
        out.assert_complete(1, size);
    }
}

#[test]
fn a_service_that_dies_and_returns_is_used_again_and_no_frame_is_missing_or_doubled() {
    let (service, url) = service(&[]);
    let address = url.strip_prefix("http://").unwrap().to_owned();
    let out = Out::new();
    let clients = out.start(&format!("{MANY} 0 {} --endpoint {url}", clip()));
    wait_for("some pictures", || (out.count(MANY) > 20).then_some(()));
    service.kill9();
    clients.wait_for_log("is away");
    let so_far: usize = (1..=MANY).map(|instance| out.count(instance)).sum();
    assert!(
        so_far < MANY * FRAMES,
        "it was over before the service died"
    );
    let again = ["resize", "--scale", "0.5", "--listen", &address];
    let service = Process::start("processor", NO_KAFKA, &again);
    service.wait_for_log("listening");
    let (code, log) = clients.outcome();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("answers again"), "{log}");
    let first = out.assert_complete(1, (384, 288));
    for instance in 2..=MANY {
        assert_eq!(out.assert_complete(instance, (384, 288)), first);
    }
    assert_eq!(out.json()["total"]["frames"], MANY * FRAMES);
}

#[test]
fn of_two_services_one_may_die_for_good() {
    let (first, one) = service(&[]);
    let (_second, other) = service(&[]);
    let out = Out::new();
    let clients = out.start(&format!("{MANY} 0 {} --endpoint {one} {other}", clip()));
    wait_for("some pictures", || (out.count(MANY) > 20).then_some(()));
    first.kill9();
    clients.wait_for_log("is away");
    let (code, log) = clients.outcome();
    assert_eq!(code, Some(0), "{log}");
    for instance in 1..=MANY {
        out.assert_complete(instance, (384, 288));
    }
}

#[test]
fn a_name_with_two_addresses_is_two_services() {
    let addresses = ("localhost", 1).to_socket_addrs().unwrap();
    let names_both = addresses.into_iter().any(|address| address.is_ipv6());
    if !names_both || TcpListener::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED: localhost has no IPv6 address here");
        return;
    }
    let (first, url) = service(&[]);
    let port = url.rsplit_once(':').unwrap().1;
    let listen = format!("[::1]:{port}");
    let again = ["resize", "--scale", "0.5", "--listen", &listen];
    let second = Process::start("processor", NO_KAFKA, &again);
    second.wait_for_log("listening");
    let out = Out::new();
    let (code, log) = out.run(&format!(
        "2 0 {} --endpoint http://localhost:{port}",
        clip()
    ));
    assert_eq!(code, Some(0), "{log}");
    (1..=2).for_each(|instance| drop(out.assert_complete(instance, (384, 288))));
    for service in [first, second] {
        service.wait_for_log(" ok, 0 not ok");
        // Its last line of numbers: `resize: 0.0 fps, 0 in flight, 220 ok, 0 not ok`.
        let is_used = |line: &str| line.contains(" ok,") && !line.contains(" 0 ok,");
        wait_for("a service that was used", || {
            service.log().lines().any(is_used).then_some(())
        });
    }
}

#[test]
fn a_service_that_stays_away_is_waited_for_with_patience_and_then_named() {
    let (service, url) = service(&[]);
    let out = Out::new();
    let line = format!("{MANY} 0 {} --endpoint {url} --patience 500ms", clip());
    let clients = out.start(&line);
    wait_for("some pictures", || (out.count(MANY) > 20).then_some(()));
    service.kill9();
    let (code, log) = clients.outcome();
    assert_eq!(code, Some(1), "{log}");
    let address = url.strip_prefix("http://").unwrap();
    for word in [
        "error:",
        address,
        "--patience",
        "INCOMPLETE",
        "are incomplete",
    ] {
        assert!(log.contains(word), "no {word:?} in\n{log}");
    }
    assert_eq!(out.json()["complete"], false);
}

#[test]
fn a_full_service_is_asked_again_until_every_frame_is_there() {
    let (_service, url) = service(&["--threads", "1", "--admission", "1"]);
    let out = Out::new();
    let (code, log) = out.run(&format!("3 0 {} --endpoint {url} --in-flight 4", clip()));
    assert_eq!(code, Some(0), "{log}");
    (1..=3).for_each(|instance| drop(out.assert_complete(instance, (384, 288))));
    let table = out.json();
    assert!(
        table["total"]["refused_calls"].as_u64().unwrap() > 0,
        "{table}"
    );
    assert!(log.contains("found the service full"), "{log}");
}

#[test]
fn local_starts_a_service_and_ends_it_however_it_ends_itself() {
    let out = Out::new();
    let (code, log) = out.run(&format!("1 0 {} --local", clip()));
    assert_eq!(code, Some(0), "{log}");
    out.assert_complete(1, (384, 288));

    let clients = out.start(&format!("1000 86400 {} --local --scale 0.1", clip()));
    clients.wait_for_log("vid-instance1 is complete");
    let services = || services_of(clients.id());
    let [service] = services()[..] else {
        panic!("one service, not {:?}", services())
    };
    clients.kill9();
    wait_for("the end of the local service", || {
        is_gone(service).then_some(())
    });
}

/// Its children that are processors.
fn services_of(pid: u32) -> Vec<u32> {
    let output = Command::new("ps")
        .args(["-o", "pid=,comm=", "--ppid", &pid.to_string()])
        .output()
        .expect("ps is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| line.ends_with("processor"));
    let pid = |line: &str| line.split_whitespace().next()?.parse().ok();
    lines.filter_map(pid).collect()
}

fn is_gone(pid: u32) -> bool {
    !PathBuf::from(format!("/proc/{pid}")).exists()
}

#[test]
fn a_run_that_is_stopped_says_what_it_has_and_fails() {
    let out = Out::new();
    let clients = out.start(&format!("2 86400 {} --local", clip()));
    clients.wait_for_log("vid-instance1 is complete");
    clients.signal(Signal::SIGINT);
    let (code, log) = clients.outcome();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("stopped before its start"), "{log}");
    assert_eq!(out.json()["instances"][0]["frames"], FRAMES);
    assert_eq!(out.json()["instances"][1]["complete"], false);
}

/// Runs a line that must fail like this, with these words.
fn check(line: &str, code: i32, words: &[&str]) {
    let args: Vec<_> = line.split_whitespace().collect();
    let (found, log) = run("resize-clients", NO_KAFKA, &args);
    assert_eq!(found, Some(code), "{line}\n{log}");
    let error = log.find("error:").map_or("", |at| &log[at..]);
    for word in words {
        assert!(error.contains(word), "{line}: no {word:?} in\n{log}");
    }
    assert!(!log.contains("panicked"), "{line}\n{log}");
}

#[test]
fn what_is_wrong_is_said_with_the_way_on() {
    let out = Out::new();
    let place = out.path().display().to_string();
    let clip = clip();
    let text = out.path().join("notes.mp4");
    std::fs::write(&text, "no video at all").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let (_echo, echo) = processor(&["echo"]);
    let as_tls = echo.replace("http://", "https://");
    let (certificate, key) = (files().path("server.pem"), files().path("server.key"));
    let (_tls, plain) = processor(&["echo", "--tls-cert", &certificate, "--tls-key", &key]);
    for (line, code, words) in [
        (format!("0 1 {clip}"), 2, &["<N>", "1 to 1000"][..]),
        (format!("four 1 {clip}"), 2, &["<N>", "1 to 1000"]),
        (format!("2 -1 {clip}"), 2, &["<M>"]),
        (
            "2 1 /nowhere/clip.mp4".to_owned(),
            2,
            &["/nowhere/clip.mp4"],
        ),
        (format!("2 1 {place}"), 2, &["not a file"]),
        (
            format!("2 1 {}", text.display()),
            2,
            &["notes.mp4", "ffprobe"],
        ),
        (
            format!("2 1 {clip} --endpoint nonsense"),
            2,
            &["http://HOST:PORT"],
        ),
        (
            format!("2 1 {clip} --json {place}/no/table.json"),
            2,
            &["--json"],
        ),
        (
            format!("2 1 {clip} --endpoint http://{address} --out {place}"),
            1,
            &["refused", "processor resize", "--local"],
        ),
        (
            format!("1 0 {clip} --endpoint {echo} --out {place}"),
            1,
            &["gives no picture", "processor resize"],
        ),
        (
            format!("1 0 {clip} --endpoint {as_tls} --out {place}"),
            1,
            &["speak no TLS", "http://"],
        ),
        (
            format!("1 0 {clip} --endpoint {plain} --out {place}"),
            1,
            &["expect TLS", "--ca"],
        ),
    ] {
        check(&line, code, words);
    }
}

#[test]
fn a_video_that_is_cut_off_fails_and_its_frames_until_there_are_kept() {
    let whole = std::fs::read(clip()).unwrap();
    let out = Out::new();
    let cut = out.path().join("cut.mp4");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let (code, log) = out.run(&format!("1 0 {} --local", cut.display()));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("cut.mp4 is damaged: it ends after"), "{log}");
    let count = out.count(1);
    assert!(count > 0 && count < FRAMES, "{count}");
    assert_eq!(out.json()["instances"][0]["frames"], count);
}

#[test]
fn a_frame_that_the_service_refuses_ends_its_instance_with_the_reason() {
    let (_service, url) = service(&[]);
    let out = Out::new();
    let (code, log) = out.run(&format!("1 0 {} --endpoint {url} --scale 16", clip()));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("failed after") && log.contains("the service's --max-megapixels"),
        "{log}"
    );
}
