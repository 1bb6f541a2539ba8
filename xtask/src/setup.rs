//! Installs what is missing with apt-get; on other systems says what is missing.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use nix::unistd::Uid;

use crate::needs::{self, JAVA_PACKAGE, JAVA_PACKAGE_ELSE};
use crate::steps::{execute, step};

/// Instant if nothing is missing.
pub fn run() -> Result<()> {
    let missing = needs::missing();
    if missing.is_empty() {
        eprintln!("setup: nothing is missing");
        return Ok(());
    }
    if !needs::has_command("apt-get") {
        bail!(
            "missing on this machine, by the names of their Debian packages: {}; \
             there is no apt-get here, so install what corresponds to them and try again",
            missing.join(" ")
        );
    }
    step(&format!("setup: installing {}", missing.join(" ")), || {
        install(&missing)
    })?;
    let still = needs::missing();
    if !still.is_empty() {
        bail!(
            "installed, yet still not found: {}; is another version first on the PATH?",
            still.join(" ")
        );
    }
    Ok(())
}

/// What only tests need. Where it cannot be had, they say that they were skipped, and why.
pub fn run_for_tests() {
    if needs::has_browser() || !needs::has_command("apt-get") {
        return;
    }
    let package = needs::BROWSER_PACKAGE;
    let installed = step(&format!("setup: installing {package}"), || {
        install(&[package])
    });
    if let Err(error) = installed {
        eprintln!("setup: without {package} the web page is not tested: {error:#}");
    }
}

fn install(packages: &[&str]) -> Result<()> {
    execute(&mut apt_get(&["update", "-qq"])?)?;
    let mut install = apt_get(&["install", "-qq", "--yes", "--no-install-recommends"])?;
    for package in packages {
        install.arg(if *package == JAVA_PACKAGE {
            java_package()
        } else {
            package
        });
    }
    execute(&mut install)
}

/// As root, or through sudo (which may ask for a password).
fn apt_get(arguments: &[&str]) -> Result<Command> {
    let words = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    let mut command = if Uid::effective().is_root() {
        Command::new(words[0])
    } else if needs::has_command("sudo") {
        let mut sudo = Command::new("sudo");
        sudo.arg(words[0]);
        sudo
    } else {
        bail!(
            "packages have to be installed, and this is neither root nor a machine with sudo; run `cargo xtask setup` as root"
        );
    };
    // Hundreds of lines of "Unpacking"; what goes wrong comes on standard error.
    command
        .args(&words[1..])
        .args(arguments)
        .stdout(Stdio::null());
    Ok(command)
}

fn java_package() -> &'static str {
    let mut show = Command::new("apt-cache");
    let known = show
        .args(["show", JAVA_PACKAGE])
        .output()
        .is_ok_and(|output| output.status.success());
    if known {
        JAVA_PACKAGE
    } else {
        JAVA_PACKAGE_ELSE
    }
}
