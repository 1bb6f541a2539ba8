//! Bounded waiting for a condition that only another process can bring about.

use std::time::{Duration, Instant};

/// Returns what `look` finds; panics with `what` after a minute.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited a minute for {what}"
        );
        std::thread::sleep(Duration::from_millis(20)); // between two looks
    }
}
