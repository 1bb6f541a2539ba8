//! Invariants 11, 12 and 13: it goes on, within its means, and says so when it cannot.

use super::Check;
use crate::history::History;
use std::collections::BTreeMap;

/// Healthy for this long means progress.
const LIVENESS_MS: u64 = 60_000;

/// Text in a log that means that something went wrong which nobody handled.
const DISASTERS: &[&str] = &[
    "panicked at",
    "fatal runtime error",
    "stack overflow",
    "memory allocation of",
    "fsync failed",
    "double free",
];

/// What a process of the pipeline may use.
#[derive(Debug, Clone)]
pub struct Ceilings {
    /// By what a process's name begins with.
    pub rss_mib: Vec<(&'static str, u64)>,
    pub descriptors: u64,
}

impl Default for Ceilings {
    /// Pictures of a run have a few KB, so that windows hold little: what is left is code, buffers of clients, stacks.
    fn default() -> Self {
        Self {
            rss_mib: vec![("broker", 96), ("consumer", 160), ("processor", 64)],
            descriptors: 256,
        }
    }
}

pub fn progress_within_a_minute(history: &History) -> Check {
    let mut check = Check::new(11, "healthy for a minute means progress");
    for fault in &history.faults {
        let in_time = fault.recovered_ms.is_some_and(|ms| ms <= LIVENESS_MS);
        check.that(in_time, || match fault.recovered_ms {
            Some(ms) => format!(
                "row {}, {}: went on only after {ms} ms",
                fault.row, fault.what
            ),
            None => format!("row {}, {}: never went on", fault.row, fault.what),
        });
    }
    check.that(history.drained_ms.is_some(), || {
        "nothing came out for a minute though there was something to do".to_owned()
    });
    check.that(history.longest_stall_ms <= LIVENESS_MS, || {
        format!(
            "nothing came out for {} ms while all was well",
            history.longest_stall_ms
        )
    });
    check
}

pub fn resources_stay_under_their_ceilings(history: &History, ceilings: &Ceilings) -> Check {
    let mut check = Check::new(12, "memory, descriptors and calls in flight stay bounded");
    for sample in &history.samples {
        let process = &sample.process;
        let ceiling = ceilings
            .rss_mib
            .iter()
            .find(|(name, _)| process.starts_with(name));
        if let Some((_, mib)) = ceiling {
            check.that(sample.rss_kib <= mib << 10, || {
                format!(
                    "{process}: {} MiB of memory, at most {mib}",
                    sample.rss_kib >> 10
                )
            });
        }
        check.that(sample.descriptors <= ceilings.descriptors, || {
            format!(
                "{process}: {} descriptors, at most {}",
                sample.descriptors, ceilings.descriptors
            )
        });
    }
    let mut most: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    for line in &history.seen {
        let known = most.entry(&line.replica).or_insert((0, &line.processor));
        known.0 = known.0.max(line.in_flight);
    }
    for stage in &history.plan.stages {
        // The calls of a broker that was killed end a moment after its successor's begin.
        let bound = (stage.in_flight * (stage.brokers + 1)) as u64;
        for (replica, (in_flight, _)) in most.iter().filter(|(_, of)| of.1 == stage.processor) {
            check.that(*in_flight <= bound, || {
                format!("replica {replica} had {in_flight} calls at once, at most {bound} are due")
            });
        }
    }
    check
}

pub fn nothing_panicked(history: &History) -> Check {
    let mut check = Check::new(13, "nothing panicked, and no process ended by itself");
    for log in &history.logs {
        for line in &log.lines {
            let disaster = DISASTERS.iter().find(|word| line.contains(**word));
            check.that(disaster.is_none(), || format!("{}: {line}", log.process));
        }
    }
    for end in &history.ends {
        check.that(end.is_expected, || {
            format!("{} ended with {}", end.process, end.status)
        });
    }
    check
}
