//! Puts the product's binaries on the PATH.

use anyhow::Result;

use crate::steps::{execute, step};
use crate::workspace::{SERVICES, cargo};
use crate::{needs, setup};

pub fn install() -> Result<()> {
    setup::run()?;
    for (folder, binary) in SERVICES {
        step(&format!("installing {binary}"), || {
            execute(&mut cargo(&["install", "--locked", "--path", folder]))
        })?;
    }
    for (_, binary) in SERVICES {
        if !needs::has_command(binary) {
            eprintln!(
                "note: {binary} is not found on the PATH; add Cargo's bin folder (~/.cargo/bin) to it"
            );
        }
    }
    Ok(())
}
