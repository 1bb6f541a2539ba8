//! The YAML file that lists a producer's sources.

use producer::config::{InputSpec, SourceConfig};
use producer::options::Fps;

/// What is accepted can be run: no later calculation with it fails.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match producer::config::parse_sources(text) {
        Ok(sources) => {
            assert!(!sources.is_empty(), "no source was accepted");
            sources.iter().for_each(check);
        }
        Err(error) => assert!(!error.is_empty(), "refused without a reason"),
    }
}

fn check(source: &SourceConfig) {
    assert!(source.topic_spec().partitions >= 1);
    assert!(source.count != Some(0));
    // Secrets of an address never get into a log.
    let shown = format!("{source:?}");
    match &source.input {
        InputSpec::Pattern(pattern) => check_rate(pattern.fps),
        InputSpec::Images { fps, .. } => check_rate(*fps),
        InputSpec::File { fps, .. } => fps.iter().copied().for_each(check_rate),
        InputSpec::Live(live) => {
            live.fps.iter().copied().for_each(check_rate);
            assert!(!live.stall_timeout.is_zero(), "{shown}");
        }
    }
}

/// A thousand years of frames at the highest rate.
const LAST_FRAME: u64 = 1000 * 1000 * 3600 * 24 * 366;

pub(crate) fn check_rate(fps: Fps) {
    assert!(fps.get() > 0.0);
    assert!(fps.time_of(1) > std::time::Duration::ZERO);
    assert!(fps.time_of(LAST_FRAME) >= fps.time_of(1));
    assert!(fps.time_of(LAST_FRAME) <= Fps::NEVER);
}
