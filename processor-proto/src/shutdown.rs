//! Signals to a graceful stop.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{consts, flag};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that SIGTERM or SIGINT cancels. A second signal ends the process at once, as if it were not handled:
/// that works even if the runtime is stuck.
///
/// Call it once a process, inside a tokio runtime. An error means that the system refuses signal handlers.
pub fn shutdown_on_signals() -> io::Result<CancellationToken> {
    let stopping = Arc::new(AtomicBool::new(false));
    for number in [consts::SIGTERM, consts::SIGINT] {
        // In this order: the first signal finds the flag down and raises it, the second finds it up.
        flag::register_conditional_default(number, Arc::clone(&stopping))?;
        flag::register(number, Arc::clone(&stopping))?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    // Lives as long as the process listens for signals, which is to its end: nobody could join it earlier.
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(
            signal = name,
            "stopping; a second signal ends the process at once"
        );
        token.cancel();
    });
    Ok(shutdown)
}
