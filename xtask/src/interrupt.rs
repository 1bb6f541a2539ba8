//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once (what was started dies with us).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The shell's convention: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Set once the person wants an end.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub fn listen() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal only sets the flag that arms the second.
            flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .with_context(|| format!("listening for signal {signal}"))?;
        }
        Ok(Self(asked))
    }

    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
