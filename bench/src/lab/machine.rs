//! On what the figures were taken.

use serde::{Deserialize, Serialize};
use std::fs;
use std::process::Command;

/// The machine and what runs on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub cores: usize,
    pub model: String,
    pub memory_gib: u64,
    pub kernel: String,
    pub java: String,
    pub kafka: String,
    pub librdkafka: String,
    /// The commit of the tree, with `+` if it was changed.
    pub commit: String,
    /// Processes that wanted a core before the first case began: above 0.5 the figures are not worth much.
    pub load_before: f64,
}

impl Machine {
    /// What this machine says of itself.
    pub fn here() -> Self {
        let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
        let first_word = |path| -> Option<String> {
            Some(
                fs::read_to_string(path)
                    .ok()?
                    .split_whitespace()
                    .next()?
                    .to_owned(),
            )
        };
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            model: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            memory_gib: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib.div_ceil(1 << 20)),
            kernel: first_word("/proc/sys/kernel/osrelease").unwrap_or_default(),
            java: java(),
            kafka: kafka_node::KAFKA_VERSION.to_owned(),
            librdkafka,
            commit: commit(),
            load_before: first_word("/proc/loadavg")
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

/// `NAME : VALUE` in a file of /proc.
fn field(path: &str, name: &str) -> Option<String> {
    fs::read_to_string(path).ok()?.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn java() -> String {
    kafka_node::find_java()
        .ok()
        .and_then(|java| Command::new(java).arg("-version").output().ok())
        .and_then(|output| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            said.split('"').nth(1).map(str::to_owned)
        })
        .unwrap_or_else(|| "unknown".to_owned())
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let mark = if changed.is_some_and(|text| text.is_empty()) {
        ""
    } else {
        "+"
    };
    format!("{commit}{mark}")
}
