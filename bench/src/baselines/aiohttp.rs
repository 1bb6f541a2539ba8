//! The plain web edge: a Python server and its environment.

use crate::lab::Lab;
use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// The server.
pub const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/viewers/aiohttp_edge.py");
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/viewers/requirements.txt");
/// Packages are downloaded.
const LIMIT: Duration = Duration::from_secs(300);

/// The interpreter of an environment that has what the server needs; made beside the product's binaries.
///
/// # Errors
/// There is no Python, or no way to the packages.
pub fn python(lab: &Lab) -> Result<String> {
    let folder = lab.binaries().join("bench-viewers-venv");
    let path = |name: &str| {
        let path = folder.join(name);
        path.to_str()
            .map(str::to_owned)
            .context("a folder with an odd name")
    };
    let (python, installed) = (path("bin/python")?, path("installed")?);
    let wanted = fs::read_to_string(REQUIREMENTS).context("reading the versions")?;
    if fs::read_to_string(&installed).is_ok_and(|versions| versions == wanted) {
        return Ok(python);
    }
    lab.foreign("python3", &["-m", "venv", "--clear", &path("")?])?
        .wait(LIMIT)?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--requirement",
        REQUIREMENTS,
    ];
    lab.foreign(&python, &pip)?.wait(LIMIT)?;
    fs::write(&installed, wanted)?;
    Ok(python)
}
