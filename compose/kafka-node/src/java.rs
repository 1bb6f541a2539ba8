//! This machine's Java, and Kafka's jars: fetched once with Maven, then kept.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::options::Options;
use crate::{KAFKA_VERSION, wait};

/// Kafka 4 runs on Java 17 and later.
const JAVA_FLOOR: u32 = 17;

/// Which jars; see the file.
const POM: &str = include_str!("../../kafka/pom.xml");

/// The `java` to run: that of `JAVA_HOME`, else the one on the PATH.
///
/// # Errors
/// [`Error::Unavailable`] if there is none, or only an old one.
pub fn find() -> Result<PathBuf, Error> {
    let java = env::var_os("JAVA_HOME")
        .map(|home| Path::new(&home).join("bin/java"))
        .filter(|java| java.is_file())
        .unwrap_or_else(|| PathBuf::from("java"));
    let output =
        wait::output(Command::new(&java).arg("-version"), wait::QUESTION_LIMIT).map_err(|_| {
            unavailable(format!(
                "no Java here; install Java {JAVA_FLOOR} (Debian: default-jre-headless)"
            ))
        })?;
    let said = String::from_utf8_lossy(&output.stderr);
    match major_version(&said) {
        Some(version) if version >= JAVA_FLOOR => Ok(java),
        Some(version) => Err(unavailable(format!(
            "{} is Java {version}, Kafka needs {JAVA_FLOOR} or later; install it or point JAVA_HOME to it",
            java.display()
        ))),
        None => Err(unavailable(format!(
            "{} -version says no version: {}",
            java.display(),
            said.trim()
        ))),
    }
}

/// From `openjdk version "17.0.15" 2025-04-15` or `java version "1.8.0_412"`.
fn major_version(said: &str) -> Option<u32> {
    let quoted = said.split('"').nth(1)?;
    let mut numbers = quoted
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match numbers.next()?.ok()? {
        1 => numbers.next()?.ok(),
        major => Some(major),
    }
}

/// The folder with Kafka's jars. The first call on a machine fetches them (43 MB, a few seconds).
///
/// # Errors
/// [`Error::Unavailable`] without Maven or when it cannot fetch, [`Error::Io`] if the cache folder cannot be written.
pub fn kafka_jars(options: &Options) -> Result<PathBuf, Error> {
    let cache = cache_folder()?.join(format!("kafka-{KAFKA_VERSION}"));
    let jars = cache.join("jars");
    if jars.is_dir() {
        return Ok(jars);
    }
    fs::create_dir_all(&cache).map_err(Error::io(format!("creating {}", cache.display())))?;
    // One process fetches, others that need the jars at the same time wait for it. The lock ends with the process.
    let lock_path = cache.join("lock");
    let lock =
        File::create(&lock_path).map_err(Error::io(format!("creating {}", lock_path.display())))?;
    lock.lock()
        .map_err(Error::io(format!("locking {}", lock_path.display())))?;
    if !jars.is_dir() {
        options.say(&format!(
            "fetching Apache Kafka {KAFKA_VERSION} (43 MB, once) into {}",
            cache.display()
        ));
        fetch(&cache, &jars)?;
    }
    Ok(jars)
}

/// Fetches into a folder beside `jars` and renames it, so that `jars` is complete or absent.
fn fetch(cache: &Path, jars: &Path) -> Result<(), Error> {
    let scratch = tempfile::Builder::new()
        .prefix("fetching-")
        .tempdir_in(cache)
        .map_err(Error::io(format!(
            "creating a folder in {}",
            cache.display()
        )))?;
    let pom = scratch.path().join("pom.xml");
    let fetched = scratch.path().join("jars");
    fs::write(&pom, POM).map_err(Error::io(format!("writing {}", pom.display())))?;
    let mut maven = Command::new("mvn");
    maven
        .args([
            "--batch-mode",
            "--quiet",
            "dependency:copy-dependencies",
            "--file",
        ])
        .arg(&pom);
    maven
        .arg(format!("-DoutputDirectory={}", fetched.display()))
        .arg(format!("-Dkafka.version={KAFKA_VERSION}"));
    wait::success(&mut maven, wait::DOWNLOAD_LIMIT).map_err(|error| match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => unavailable(
            "Maven, which fetches Kafka's jars, is not here; install it (Debian: maven)".to_owned(),
        ),
        error => unavailable(format!("Maven could not fetch Kafka's jars: {error}")),
    })?;
    fs::rename(&fetched, jars).map_err(Error::io(format!(
        "renaming {} to {}",
        fetched.display(),
        jars.display()
    )))
}

/// `$XDG_CACHE_HOME/framelane`, by default `~/.cache/framelane`.
fn cache_folder() -> Result<PathBuf, Error> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("framelane")).ok_or_else(|| {
        unavailable("no place to keep the jars: set HOME or XDG_CACHE_HOME".to_owned())
    })
}

fn unavailable(reason: String) -> Error {
    Error::Unavailable {
        way: "its jars",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_of_all_ages_say_their_version() {
        assert_eq!(
            major_version("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime"),
            Some(17)
        );
        assert_eq!(major_version("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(major_version("java version \"1.8.0_412\""), Some(8));
        assert_eq!(
            major_version("openjdk version \"25-ea\" 2025-09-16"),
            Some(25)
        );
        assert_eq!(major_version("command not found"), None);
    }

    #[test]
    fn the_pom_names_the_same_release() {
        assert!(POM.contains(&format!("<kafka.version>{KAFKA_VERSION}</kafka.version>")));
    }
}
