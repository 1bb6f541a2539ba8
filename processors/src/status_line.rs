//! One line a second for the person who watches.

use std::{convert::Infallible, time::Duration};

use processor_proto::{Counts, say};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Prints to stderr until it is dropped.
pub async fn every_second(name: &str, counts: &Counts) -> Infallible {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = ticks.tick().await;
    let mut seen = 0;
    loop {
        let now: Instant = ticks.tick().await;
        let (ok, not_ok, in_flight) = (counts.ok(), counts.not_ok(), counts.in_flight());
        let fps = (ok - seen) as f64 / (now - last).as_secs_f64();
        say(format_args!(
            "{name}: {fps:.1} fps, {in_flight} in flight, {ok} ok, {not_ok} not ok"
        ));
        (last, seen) = (now, ok);
    }
}
