//! Signals to a graceful stop.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What comes sooner after the first signal is no second one: `timeout`, for example, sends its own to the process and then to
/// the group that the process is in.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// A token that SIGTERM or SIGINT cancels. A second signal, half a second later or more, ends the process at once, as if it
/// were not handled: that works even if the runtime is stuck.
///
/// Call it once a process. An error means that the system refuses signal handlers or a thread.
pub fn shutdown_on_signals() -> io::Result<CancellationToken> {
    let has_stopped = Arc::new(AtomicBool::new(false));
    for number in [SIGTERM, SIGINT] {
        flag::register_conditional_default(number, Arc::clone(&has_stopped))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    // Lives until there is a signal, which is to the process's end: nobody could join it earlier.
    let wait = move || {
        let signal = match signals.forever().next() {
            Some(SIGINT) => "SIGINT",
            Some(_) => "SIGTERM",
            None => return,
        };
        token.cancel();
        // On another thread, as a log that nobody reads may hold this one up.
        std::thread::spawn(move || {
            std::thread::sleep(ONE_SIGNAL);
            has_stopped.store(true, Ordering::SeqCst);
        });
        tracing::info!(signal, "stopping; a second signal ends the process at once");
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)?;
    Ok(shutdown)
}
