//! An instance's folder: pictures appear in it whole, and at the end every one is counted.

use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where one instance writes. Nobody else does while it exists.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Locked.
    _handle: File,
}

impl Folder {
    /// Makes the folder, or takes the one that is there and removes the frames of an earlier run from it.
    pub fn claim(path: PathBuf) -> anyhow::Result<Self> {
        let place = path.display();
        fs::create_dir_all(&path).with_context(|| {
            format!("cannot make the folder {place}: give another one with --out")
        })?;
        // A folder below /tmp has a name that anybody could have taken before, to have files written elsewhere.
        if fs::symlink_metadata(&path)?.is_symlink() {
            bail!("{place} is a link: remove it, or give another folder with --out");
        }
        let handle = File::open(&path).with_context(|| format!("cannot open {place}"))?;
        match handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another resize-clients writes to {place}: wait for its end, or give another folder with --out"
            ),
            Err(TryLockError::Error(cause)) => {
                return Err(cause).with_context(|| format!("cannot lock {place}"));
            }
        }
        let folder = Self {
            path,
            _handle: handle,
        };
        for name in folder.names()? {
            if number_of(&name).is_some() || is_temporary(&name) {
                let old = folder.path.join(name);
                fs::remove_file(&old)
                    .with_context(|| format!("cannot remove the older {}", old.display()))?;
            }
        }
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a picture under a temporary name, then gives it its own: who sees the file sees all of it.
    pub fn write(&self, number: u64, jpeg: &[u8]) -> io::Result<()> {
        let name = name_of(number);
        let temporary = self.path.join(format!(".{name}.part"));
        // A name that is there already would be a frame that came twice.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        file.write_all(jpeg)?;
        drop(file);
        fs::rename(temporary, self.path.join(name))
    }

    /// Fails unless exactly the frames 1 to `count` are there.
    pub fn check(&self, count: u64) -> anyhow::Result<()> {
        let found: BTreeSet<u64> = self
            .names()?
            .iter()
            .filter_map(|name| number_of(name))
            .collect();
        let missing: Vec<_> = (1..=count).filter(|n| !found.contains(n)).collect();
        if let Some(first) = missing.first() {
            bail!(
                "{} of {count} frames are missing in {}, the first is {}: somebody else removed them",
                missing.len(),
                self.path.display(),
                name_of(*first)
            );
        }
        if let Some(more) = found.iter().find(|n| !(1..=count).contains(*n)) {
            bail!(
                "{} in {} is not of this run: somebody else put it there",
                name_of(*more),
                self.path.display()
            );
        }
        Ok(())
    }

    fn names(&self) -> anyhow::Result<Vec<String>> {
        let unreadable = || format!("cannot list {}", self.path.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).with_context(unreadable)? {
            names.extend(entry.with_context(unreadable)?.file_name().into_string());
        }
        Ok(names)
    }
}

fn name_of(number: u64) -> String {
    format!("Frame{number:05}.jpg")
}

/// None if it is no name of ours.
fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("Frame")?.strip_suffix(".jpg")?;
    let number = digits.parse().ok()?;
    (name_of(number) == name).then_some(number)
}

fn is_temporary(name: &str) -> bool {
    let own = name.strip_prefix('.').and_then(|n| n.strip_suffix(".part"));
    own.is_some_and(|name| number_of(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_appear_whole_and_are_counted() {
        let out = tempfile::tempdir().unwrap();
        let folder = Folder::claim(out.path().join("vid-instance1")).unwrap();
        for number in [2, 1, 100_000] {
            folder.write(number, b"jpeg").unwrap();
        }
        let path = folder.path().join("Frame100000.jpg");
        assert_eq!(fs::read(path).unwrap(), b"jpeg");
        let error = folder.check(3).unwrap_err().to_string();
        assert!(
            error.contains("1 of 3") && error.contains("Frame00003.jpg"),
            "{error}"
        );
        let error = folder.check(2).unwrap_err().to_string();
        assert!(error.contains("Frame100000.jpg"), "{error}");
    }

    #[test]
    fn only_frames_of_an_earlier_run_are_removed() {
        let out = tempfile::tempdir().unwrap();
        for name in [
            "Frame00007.jpg",
            ".Frame00008.jpg.part",
            "Frame7.jpg",
            "notes.txt",
        ] {
            fs::write(out.path().join(name), b"").unwrap();
        }
        let folder = Folder::claim(out.path().to_owned()).unwrap();
        let mut left = folder.names().unwrap();
        left.sort();
        assert_eq!(left, ["Frame7.jpg", "notes.txt"]);
    }

    #[test]
    fn a_folder_has_one_writer_and_is_no_link() {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join("vid-instance1");
        let _first = Folder::claim(path.clone()).unwrap();
        let error = Folder::claim(path.clone()).unwrap_err().to_string();
        assert!(error.contains("another resize-clients"), "{error}");
        let link = out.path().join("vid-instance2");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let error = Folder::claim(link).unwrap_err().to_string();
        assert!(error.contains("is a link"), "{error}");
    }
}
