//! Where things lie, and how Cargo is called.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates whose binaries make up the product, with the binary's name.
pub const SERVICES: [(&str, &str); 7] = [
    ("producer", "producer"),
    ("broker", "broker"),
    ("consumer", "consumer"),
    ("processors", "processor"),
    ("gateway", "gateway"),
    ("resize-clients", "resize-clients"),
    ("framelane", "framelane"),
];

/// The folder of the workspace's `Cargo.toml`.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
}

/// Where Cargo builds to: `CARGO_TARGET_DIR` or `target`.
pub fn target() -> PathBuf {
    let chosen = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(chosen)
}

/// A Cargo command in the workspace, without the variables that `cargo xtask` itself was started with: they would
/// otherwise look like a change of settings to build scripts, and everything would be built again.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(arguments)
        .current_dir(root())
        .env_remove("LD_LIBRARY_PATH");
    for (name, _) in env::vars_os() {
        let inherited = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if inherited {
            cargo.env_remove(name);
        }
    }
    cargo
}
