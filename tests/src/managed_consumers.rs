//! `consumer --managed`: what is assigned changes while it runs, and sources close and come back.

use crate::consumer::stills;
use crate::harness::{Lab, Lines, Process, lines_so_far, name, shared, wait_for};
use crate::managed_sources::far_from_now;
use registry::instance::SourceState;
use std::path::PathBuf;

/// How a source is opened. Each closes in a way of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// Comes to its end.
    Always,
    /// Comes to its end.
    OnDemand,
    /// Its time is over.
    Schedule,
}

/// Of a source that comes to its end by itself.
const FRAMES: u64 = 100;

/// More than anybody waits for.
const ENDLESS: u64 = 1_000_000;

/// A source that comes to its end after so many frames, unless it is closed by its schedule.
fn declare(lab: &Lab, host: &str, source: &str, open: Open, frames: u64) {
    let (open, options) = match open {
        Open::Always => ("always", format!("count: {frames}")),
        Open::OnDemand => ("on-demand\n  close-after: 1s", format!("count: {frames}")),
        Open::Schedule => (
            "schedule\n  schedule: [\"daily 00:00-24:00\"]",
            String::new(),
        ),
    };
    let spec = format!("  open: {open}\n  options: {{{options}}}");
    lab.apply_pattern_on(host, source, &spec);
}

/// A source, a consumer of it, and what the consumer has written.
struct Scene {
    lab: Lab,
    open: Open,
    source: String,
    next: String,
    _producer: Process,
    consumer: Process,
    lines: PathBuf,
    stills: PathBuf,
}

impl Scene {
    /// With a consumer that reads the source, which is open.
    fn new(when_closed: &str, open: Open) -> Self {
        let lab = Lab::new(shared());
        let (source, next, consumer) = (name(), name(), name());
        let (lines, stills) = (lab.path("lines.jsonl"), lab.path("stills"));
        declare(&lab, "lab1", &source, open, FRAMES);
        let mut sinks = vec![format!("jsonl:{}", lines.display())];
        let mut sources = vec![source.as_str()];
        match when_closed {
            "next" => {
                // Nobody opens it before the first one is read.
                declare(&lab, "lab2", &next, open, ENDLESS);
                sources.push(&next);
            }
            "placeholder" => sinks.push(format!("jpeg:{}", stills.display())),
            _ => {}
        }
        lab.apply_consumer(&consumer, when_closed, &sinks, &sources);
        let process = lab.consumer(&consumer);
        lab.wait_until_assigned(&consumer);
        let scene = Self {
            _producer: lab.producer(),
            lab,
            open,
            source,
            next,
            consumer: process,
            lines,
            stills,
        };
        wait_for("the first frames", || {
            let seen = scene.lines().of(&scene.source, 1);
            (!seen.0.is_empty()).then_some(())
        });
        scene
    }

    fn lines(&self) -> Lines {
        lines_so_far(&self.lines)
    }

    /// Waits until the source has closed after some frames; returns the epoch's number of frames and how it ended.
    fn wait_for_close(&self) -> (u64, &'static str) {
        if self.open == Open::Schedule {
            wait_for("some frames", || {
                (self.lines().of(&self.source, 1).0.len() >= 10).then_some(())
            });
            let spec = format!("  open: schedule\n  schedule: [\"{}\"]", far_from_now());
            self.lab.apply_pattern(&self.source, &spec);
        }
        wait_for("the end of the epoch", || {
            let ends = self.lines().of(&self.source, 1).kind("end").0.len();
            (ends == 1).then_some(())
        });
        let count = self.lines().of(&self.source, 1).sequences().len() as u64;
        match self.open {
            Open::Schedule => (count, "stopped"),
            Open::Always | Open::OnDemand => (FRAMES, "finished"),
        }
    }

    /// Opens the source again and waits for frames of its next epoch.
    fn come_back(&self) {
        declare(&self.lab, "lab1", &self.source, self.open, FRAMES + 5);
        wait_for("frames of the second epoch", || {
            (self.lines().of(&self.source, 2).sequences().len() >= 5).then_some(())
        });
    }
}

fn wait(open: Open) {
    let mut scene = Scene::new("wait", open);
    let (count, reason) = scene.wait_for_close();
    scene.come_back();
    assert!(!scene.consumer.has_ended());
    assert!(scene.consumer.stop().success());
    let lines = Lines::read(&scene.lines);
    lines.assert_run(&scene.source, 1, count, reason);
}

fn exit(open: Open) {
    let scene = Scene::new("exit", open);
    let (count, reason) = scene.wait_for_close();
    let (code, log) = scene.consumer.outcome();
    assert_eq!(code, Some(0), "{log}");
    Lines::read(&scene.lines).assert_run(&scene.source, 1, count, reason);
}

fn next(open: Open) {
    let mut scene = Scene::new("next", open);
    declare(&scene.lab, "lab1", &scene.next, open, ENDLESS);
    let (count, reason) = scene.wait_for_close();
    wait_for("frames of the next source", || {
        (scene.lines().of(&scene.next, 1).sequences().len() >= 5).then_some(())
    });
    assert!(!scene.consumer.has_ended());
    assert!(scene.consumer.stop().success());
    let lines = Lines::read(&scene.lines);
    lines.assert_run(&scene.source, 1, count, reason);
    let of = |line: &serde_json::Value| line["source"].as_str().map(str::to_owned);
    let first = lines
        .0
        .iter()
        .filter_map(of)
        .position(|source| source == scene.next);
    assert_eq!(first, Some(count as usize + 1), "one after the other");
    let seen = lines.of(&scene.next, 1).sequences();
    assert_eq!(seen, (0..seen.len() as u64).collect::<Vec<_>>());
}

/// Stills of this many pixels in a row.
fn of_width(stills: &[Vec<u8>], width: usize) -> usize {
    let is_it = |still: &&Vec<u8>| imagesize::blob_size(still).unwrap().width == width;
    stills.iter().filter(is_it).count()
}

fn placeholder(open: Open) {
    /// Of pictures that stand for missing ones.
    const PLACEHOLDER_WIDTH: usize = 640;
    let mut scene = Scene::new("placeholder", open);
    let (count, reason) = scene.wait_for_close();
    wait_for("a placeholder", || {
        let last = stills(&scene.stills).pop()?;
        (of_width(&[last], PLACEHOLDER_WIDTH) == 1).then_some(())
    });
    let shown = stills(&scene.stills);
    assert_eq!(of_width(&shown, 160) as u64, count, "all frames before it");
    scene.come_back();
    wait_for("pictures again", || {
        let last = stills(&scene.stills).pop()?;
        (of_width(&[last], 160) == 1).then_some(())
    });
    assert!(!scene.consumer.has_ended());
    assert!(scene.consumer.stop().success());
    // What is no picture does not get into the records.
    let lines = Lines::read(&scene.lines);
    lines.assert_run(&scene.source, 1, count, reason);
    assert!(lines.0.iter().all(|line| line["kind"] != "absent"));
}

/// Every way to open a source, with every way to go on when it has closed.
macro_rules! combinations {
    ($($name:ident: $when:ident, $open:ident;)*) => {$(
        #[test]
        fn $name() {
            $when(Open::$open);
        }
    )*};
}

combinations! {
    a_consumer_waits_for_a_source_that_is_always_open: wait, Always;
    a_consumer_waits_for_a_source_on_demand: wait, OnDemand;
    a_consumer_waits_for_a_scheduled_source: wait, Schedule;
    a_consumer_exits_after_a_source_that_is_always_open: exit, Always;
    a_consumer_exits_after_a_source_on_demand: exit, OnDemand;
    a_consumer_exits_after_a_scheduled_source: exit, Schedule;
    a_consumer_goes_on_with_the_next_of_sources_that_are_always_open: next, Always;
    a_consumer_goes_on_with_the_next_source_on_demand: next, OnDemand;
    a_consumer_goes_on_with_the_next_scheduled_source: next, Schedule;
    a_placeholder_stands_for_a_source_that_is_always_open: placeholder, Always;
    a_placeholder_stands_for_a_source_on_demand: placeholder, OnDemand;
    a_placeholder_stands_for_a_scheduled_source: placeholder, Schedule;
}

/// Asserts that what was seen of a source, from its first frame here on, has neither hole nor double.
fn assert_unbroken(lines: &Lines, source: &str) {
    let seen = lines.of(source, 1).sequences();
    let first = *seen.first().expect("some of it was seen");
    let expected: Vec<u64> = (first..first + seen.len() as u64).collect();
    assert_eq!(seen, expected, "{source}");
}

#[test]
fn sources_are_assigned_anew_while_those_that_stay_go_on() {
    let lab = Lab::new(shared());
    let [stays, goes, comes] = [name(), name(), name()];
    let [switching, steady] = [name(), name()];
    let _producer = lab.producer();
    for source in [&stays, &goes, &comes] {
        lab.apply_pattern(source, "");
        lab.wait_for_state(source, SourceState::Live);
    }
    let (file, other) = (lab.path("switching"), lab.path("steady"));
    let sink = |file: &PathBuf| [format!("jsonl:{}", file.display())];
    lab.apply_consumer(&switching, "wait", &sink(&file), &[&stays, &goes]);
    lab.apply_consumer(&steady, "wait", &sink(&other), &[&stays]);
    let (mut one, two) = (lab.consumer(&switching), lab.consumer(&steady));
    let count = |source: &str| lines_so_far(&file).of(source, 1).0.len();
    let wait_for_more = |source: &str| {
        let before = count(source);
        wait_for(&format!("more of {source}"), || {
            (count(source) > before + 10).then_some(())
        });
    };
    wait_for_more(&stays);
    wait_for_more(&goes);
    lab.assign(&switching, &[&stays, &comes]);
    wait_for_more(&comes);
    lab.wait_for_instance("the change to be taken up", |instance| {
        let topics = || instance.lanes.iter().map(|lane| lane.topic.as_str());
        instance.name == switching && topics().count() == 2 && topics().all(|topic| topic != goes)
    });
    let gone = count(&goes);
    wait_for_more(&stays);
    assert_eq!(count(&goes), gone, "it is not read any more");
    // Back again, and it goes on behind what was seen.
    lab.assign(&switching, &[&comes, &goes, &stays]);
    wait_for_more(&goes);
    // Nothing at all, and everything again.
    lab.assign(&switching, &[]);
    lab.wait_for_instance("nothing to be read", |instance| {
        instance.name == switching && instance.lanes.is_empty()
    });
    lab.assign(&switching, &[&comes, &goes, &stays]);
    for source in [&comes, &goes, &stays] {
        wait_for_more(source);
    }
    assert!(!one.has_ended());
    for consumer in [one, two] {
        assert!(consumer.stop().success());
    }
    let lines = Lines::read(&file);
    for source in [&stays, &goes, &comes] {
        assert_unbroken(&lines, source);
    }
    assert_unbroken(&Lines::read(&other), &stays);
}

#[test]
fn a_change_of_options_and_a_kill_lose_and_double_nothing() {
    let lab = Lab::new(shared());
    let (source, consumer) = (name(), name());
    let _producer = lab.producer();
    lab.apply_pattern(&source, "");
    let file = lab.path("lines");
    let sinks = [format!("jsonl:{}", file.display())];
    let first = lab.consumer(&consumer); // it waits to be declared
    lab.apply_consumer(&consumer, "wait", &sinks, &[&source]);
    let more = |count: usize| {
        let before = lines_so_far(&file).0.len();
        wait_for("more lines", || {
            (lines_so_far(&file).0.len() >= before + count).then_some(())
        });
    };
    more(10);
    let stills = lab.path("stills");
    let both = [sinks[0].clone(), format!("jpeg:{}", stills.display())];
    lab.apply_consumer(&consumer, "wait", &both, &[&source]);
    wait_for("stills", || stills.exists().then_some(()));
    more(10);
    // What cannot be run changes nothing.
    let twice = [sinks[0].clone(), sinks[0].clone()];
    lab.apply_consumer(&consumer, "wait", &twice, &[&source]);
    more(10);
    let refused = |word: &str| {
        lab.wait_for_instance("the refusal", |one| {
            one.pid == first.id() && one.refused.values().any(|why| why.contains(word))
        });
    };
    // It is known only when the outputs are opened: what was written before is gone on with.
    let nowhere = ["jsonl:/proc/nowhere/lines".to_owned()];
    lab.apply_consumer(&consumer, "wait", &nowhere, &[&source]);
    refused("/proc/nowhere");
    more(10);
    lab.apply_consumer(&consumer, "wait", &both, &[&source]);
    first.kill9();
    let again = lab.consumer(&consumer);
    more(10);
    assert!(again.stop().success());
    // One that begins with such a declaration waits until the place is there.
    let folder = lab.path("later");
    let later = format!("jsonl:{}", folder.join("lines").display());
    lab.apply_consumer(&consumer, "wait", &[later], &[&source]);
    let waiting = lab.consumer(&consumer);
    lab.wait_for_instance("the refusal", |one| {
        one.pid == waiting.id() && one.refused.values().any(|why| why.contains("later"))
    });
    std::fs::create_dir(&folder).unwrap();
    wait_for("lines there", || {
        (folder.join("lines").exists()).then_some(())
    });
    assert!(waiting.stop().success());
    assert_unbroken(&Lines::read(&file), &source);
}

#[test]
fn commands_that_are_declared_run_only_where_they_are_allowed() {
    let lab = Lab::new(shared());
    let (source, consumer) = (name(), name());
    declare(&lab, "lab1", &source, Open::Always, ENDLESS);
    let ran = lab.path("ran");
    let declare_consumer = |action: &str| {
        lab.apply(&format!(
            "kind: Consumer\nname: {consumer}\nspec:\n  sinks: [\"null\"]\n  options: {{when: \"true\", do: {action:?}}}\n"
        ));
    };
    let command = format!("exec:touch {}", ran.display());
    declare_consumer(&command);
    lab.assign(&consumer, &[&source]);
    let _producer = lab.producer();
    let key = format!("consumer/{consumer}");
    let refuses = |running: &Process| {
        let said = lab.wait_for_instance("the refusal", |one| one.refused.contains_key(&key));
        assert!(said.refused[&key].contains("--allow-exec"), "{said:?}");
        running.wait_for_log("--allow-exec");
    };
    let careful = lab.consumer(&consumer);
    refuses(&careful);
    // What it may run it takes up, and goes on with it when the command comes back.
    declare_consumer(&format!("jsonl:{}", lab.path("alerts").display()));
    lab.wait_until_assigned(&consumer);
    lab.wait_for_instance("no refusal", |one| {
        one.applied.contains_key(&key) && one.refused.is_empty()
    });
    declare_consumer(&command);
    refuses(&careful);
    wait_for("alerts in the meantime", || {
        std::fs::read_to_string(lab.path("alerts"))
            .is_ok_and(|text| text.lines().count() > 20)
            .then_some(())
    });
    assert!(!ran.exists(), "the command has run");
    assert!(careful.stop().success());
    let trusting = lab.consumer_with(&consumer, &["--allow-exec"]);
    wait_for("the command", || ran.exists().then_some(()));
    assert!(trusting.stop().success());
}
