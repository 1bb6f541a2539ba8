//! Kafka's disk is full: a small one, mounted for this test only.

use crate::faults_lab::{HEAP_MIB, output_of};
use crate::harness::{
    Follower, assert_complete, broker, processor, publish, read_committed, topic, wait_for,
};
use kafka_node::{Kafka, Options, skipped};
use std::path::Path;
use std::process::Command;

const NAME: &str = "a_kafka_whose_disk_was_full_goes_on_once_there_is_room_again";
/// Set in the process that may mount: this test runs itself again as that process, in a mount namespace of its own,
/// which takes the disk with it when it ends.
const DISK: &str = "FRAMELANE_TEST_DISK";

#[test]
fn a_kafka_whose_disk_was_full_goes_on_once_there_is_room_again() {
    if let Some(disk) = std::env::var_os(DISK) {
        return fill(Path::new(&disk));
    }
    let disk = tempfile::tempdir().unwrap();
    let probe = Command::new("unshare")
        .args(["--mount", "sh", "-c", r#"mount -t tmpfs tmpfs "$0""#])
        .arg(disk.path())
        .output();
    match probe {
        Ok(output) if output.status.success() => {}
        Ok(output) => return skipped(NAME, String::from_utf8_lossy(&output.stderr).trim()),
        Err(cause) => return skipped(NAME, &format!("unshare: {cause}")),
    }
    let inside = Command::new("unshare")
        .args(["--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{}::{NAME}", module()), "--nocapture"])
        .env(DISK, disk.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stdout);
    assert!(
        inside.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&inside.stderr)
    );
}

/// This module's path below the crate, as the test harness names it.
fn module() -> &'static str {
    module_path!().split_once("::").expect("below the crate").1
}

fn mount(disk: &Path, options: &str) {
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(disk)
        .status();
    assert!(status.unwrap().success(), "mount -o {options}");
}

fn fill(disk: &Path) {
    mount(disk, "size=14m");
    let mut kafka = Kafka::start_jars(&Options {
        heap_mib: HEAP_MIB,
        data: Some(disk.to_owned()),
        ..Options::default()
    })
    .expect("a Kafka of this test's own");
    let servers = kafka.bootstrap_servers().to_owned();
    let input = topic(&servers, 1);
    let output = output_of(&input);
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:5ms"]);
    // 2 KB each, read and written: they fit once, not twice.
    publish(&servers, &input, "a", 0..4000);
    let broker = broker(&servers, &input, &[&url], &["--in-flight", "16"]);
    let log = kafka.log_file().expect("a file").to_owned();
    wait_for("Kafka to find its disk full", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains("No space left on device").then_some(())
    });
    broker.wait_for_log("WARN");
    mount(disk, "remount,size=256m");
    kafka.restart().expect("it starts on a disk with room");
    Follower::new(&servers, &output).wait_for(4000);
    assert!(broker.stop().success());
    assert_complete(&read_committed(&servers, &output), &["a"], 4000);
}
