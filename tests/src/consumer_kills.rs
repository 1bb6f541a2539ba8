//! What a consumer has written stays whole: killed again and again, or with no room left on the disk.

use crate::consumer::stills;
use crate::harness::{
    Lines, Process, consume, name, pictures, program, run_ok, shared, topic, wait_for,
};
use bytes::Bytes;
use kafka_node::skipped;
use pipeline::v1::FrameId;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a consumer with `--group` writes into a folder, by three sinks.
struct Output {
    folder: PathBuf,
    sinks: [String; 3],
}

impl Output {
    fn in_folder(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name).display().to_string();
        Self {
            folder: folder.to_owned(),
            sinks: [
                format!("jsonl:{}", at("lines.jsonl")),
                format!("jpeg:{}", at("stills")),
                format!("video:{}", at("video.avi")),
            ],
        }
    }

    fn consumer(&self, topic: &str) -> Process {
        let mut args = vec!["--topic", topic, "--group", topic, "--instance", topic];
        args.extend(["--until", "end"]);
        self.sinks
            .iter()
            .for_each(|sink| args.extend(["--sink", sink]));
        Process::start("consumer", shared(), &args)
    }

    /// Lines so far, the last one perhaps still being written.
    fn line_count(&self) -> usize {
        let text = std::fs::read(self.folder.join("lines.jsonl")).unwrap_or_default();
        text.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Pictures that have their names are whole and have no hole before them; an unfinished video has no name.
    fn assert_nothing_torn(&self) {
        for still in stills(&self.folder.join("stills")) {
            assert!(
                still.starts_with(b"\xff\xd8") && still.ends_with(b"\xff\xd9"),
                "half a JPEG"
            );
        }
        assert!(
            !self.folder.join("video.avi").exists(),
            "the video has only begun"
        );
    }
}

/// How many frames a video has, by reading it.
fn frames_of_video(video: &Path) -> u64 {
    let topic = name();
    let file = video.to_str().unwrap();
    run_ok(
        "producer",
        shared(),
        &["--file", file, "--pace", "max", "--topic", &topic],
    );
    consume(shared(), &topic, &[]).sequences().len() as u64
}

/// Asserts that the stills are the pictures of the records: each source's all, once, in order.
fn assert_all_stills(folder: &Path, records: Vec<(FrameId, Bytes)>, sources: &[&str], count: u64) {
    let known: HashMap<Bytes, FrameId> = records.into_iter().map(|(id, jpeg)| (jpeg, id)).collect();
    let shown: Vec<&FrameId> = stills(folder)
        .into_iter()
        .map(|still| {
            known
                .get(&Bytes::from(still))
                .expect("a picture of the topic")
        })
        .collect();
    for source in sources {
        let own = shown.iter().filter(|id| id.source_id == *source);
        let sequences: Vec<u64> = own.map(|id| id.sequence).collect();
        assert_eq!(
            sequences,
            (0..count).collect::<Vec<_>>(),
            "stills of {source}"
        );
    }
    assert_eq!(shown.len() as u64, sources.len() as u64 * count);
}

#[test]
fn a_consumer_killed_again_and_again_writes_everything_once() {
    const COUNT: u64 = 250;
    let input = topic(shared(), 2);
    let sources = ["a", "b"]; // they lie in different partitions
    for source in sources {
        let count = COUNT.to_string();
        let args = [
            "--pattern",
            "160x120@100",
            "--pace",
            "max",
            "--count",
            &count,
        ];
        let more = ["--topic", &input, "--source-id", source];
        run_ok("producer", shared(), &[&args[..], &more].concat());
    }
    let dir = tempfile::tempdir().unwrap();
    let output = Output::in_folder(dir.path());
    for lines in [1, 60, 61, 200, 350] {
        let consumer = output.consumer(&input);
        wait_for("more lines", || {
            (output.line_count() >= lines).then_some(())
        });
        consumer.kill9();
        output.assert_nothing_torn();
    }
    let (code, log) = output.consumer(&input).outcome();
    assert_eq!(code, Some(0), "{log}");

    let lines = Lines::read(&dir.path().join("lines.jsonl"));
    assert_eq!(lines.0.len() as u64, 2 * (COUNT + 1));
    for source in sources {
        lines.assert_run(source, 1, COUNT, "finished");
    }
    assert_all_stills(
        &dir.path().join("stills"),
        pictures(shared(), &input),
        &sources,
        COUNT,
    );
    assert_eq!(frames_of_video(&dir.path().join("video.avi")), 2 * COUNT);
}

#[test]
fn a_spread_source_is_restored_in_order_though_its_consumer_is_killed() {
    let input = name();
    let args = [
        "--pattern",
        "160x120@100",
        "--pace",
        "max",
        "--count",
        "600",
    ];
    let more = ["--spread", "--topic", &input];
    run_ok("producer", shared(), &[&args[..], &more].concat());
    let dir = tempfile::tempdir().unwrap();
    let output = Output::in_folder(dir.path());
    let consumer = || {
        let args = ["--topic", &input, "--group", &input, "--instance", &input];
        let more = ["--until", "end", "--reorder", "--sink", &output.sinks[0]];
        let stills = ["--sink", &output.sinks[1]];
        Process::start("consumer", shared(), &[&args[..], &more, &stills].concat())
    };
    for lines in [1, 100, 101, 300] {
        let killed = consumer();
        wait_for("more lines", || {
            (output.line_count() >= lines).then_some(())
        });
        killed.kill9();
    }
    let (code, log) = consumer().outcome();
    assert_eq!(code, Some(0), "{log}");
    Lines::read(&dir.path().join("lines.jsonl")).assert_run(&input, 1, 600, "finished");
    let sources = [input.as_str()];
    assert_all_stills(
        &dir.path().join("stills"),
        pictures(shared(), &input),
        &sources,
        600,
    );
}

/// A small disk is mounted, filled by the consumer, enlarged, and the same command run again. Arguments: the disk's
/// folder, where its content goes in the end, and the command.
const ON_A_SMALL_DISK: &str = r#"
disk=$1; saved=$2; shift 2
mount -t tmpfs -o size=1m tmpfs "$disk" || exit 99
"$@"; echo "first run: $?"
mount -o remount,size=64m "$disk" || exit 99
"$@"; echo "second run: $?"
cp -a "$disk/." "$saved"
"#;

#[test]
fn a_full_disk_is_named_and_with_room_again_nothing_is_missing() {
    let probe = Command::new("unshare")
        .args(["--mount", "sh", "-c", r#"mount -t tmpfs tmpfs "$0""#])
        .arg(tempfile::tempdir().unwrap().path())
        .output();
    let refusal = match probe {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(cause) => Some(format!("unshare: {cause}")),
    };
    if let Some(reason) = refusal {
        return skipped(
            "a_full_disk_is_named_and_with_room_again_nothing_is_missing",
            &reason,
        );
    }
    let input = name();
    let pattern = [
        "--pattern",
        "320x240@100",
        "--pace",
        "max",
        "--count",
        "150",
    ];
    run_ok(
        "producer",
        shared(),
        &[&pattern[..], &["--topic", &input]].concat(),
    );

    let (disk, saved) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let output = Output::in_folder(disk.path());
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", ON_A_SMALL_DISK, "sh"]);
    command
        .arg(disk.path())
        .arg(saved.path())
        .arg(program("consumer"));
    command.args(["--topic", &input, "--group", &input, "--until", "end"]);
    command.args(["--bootstrap-servers", shared()]);
    for sink in &output.sinks[..2] {
        command.args(["--sink", sink]);
    }
    let (code, log) = Process::spawn("a consumer on a small disk", command).outcome();
    assert_eq!(code, Some(0), "{log}");
    let (first, second) = log.split_once("first run: 1").expect(&log);
    assert!(
        first.contains("No space left") && first.contains("stills"),
        "{first}"
    );
    assert!(second.contains("second run: 0"), "{second}");
    let lines = Lines::read(&saved.path().join("lines.jsonl"));
    lines.assert_run(&input, 1, 150, "finished");
    let sources = [input.as_str()];
    assert_all_stills(
        &saved.path().join("stills"),
        pictures(shared(), &input),
        &sources,
        150,
    );
}
