//! Who may write an output, and from where on: nobody's files are overwritten by accident, and no two consumers write
//! into one.

use super::{Existing::*, Kept, SinkOptions};
use crate::progress::{Progress, ProgressError, ProgressFile};
use pipeline::service::ConfigError;
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What is read of a file to see what it is.
const BEGINNING_BYTES: u64 = 512;

/// What happens to output that is there already and that this group has no progress in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays: the consumer does not start.
    Refuse,
    /// It goes.
    Replace,
}

/// Why a sink cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings have to change.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The disk or the rights.
    #[error("{}: {cause}", .path.display())]
    Io {
        /// What was opened.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// There is no display.
    #[error("{0}")]
    Display(String),
}

impl OpenError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        |cause| Self::Io { path, cause }
    }
}

/// Where an output begins.
#[derive(Debug)]
pub enum Beginning {
    /// With nothing: what is there is removed.
    Empty,
    /// Where the progress says.
    At(u64),
}

/// Takes the lock of an output (a file or a folder that exists). It is held as long as the handle lives, and freed by
/// the system when the process dies.
pub fn lock(output: &Path, handle: &File) -> Result<(), OpenError> {
    match handle.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(ConfigError(format!(
            "{} is being written by another consumer: give this one another place",
            output.display()
        ))
        .into()),
        Err(TryLockError::Error(cause)) => Err(OpenError::io(output)(cause)),
    }
}

/// Decides where the output begins. `has_output`: something is there.
///
/// With a group, the progress file exists when this returns: should the process die before the first checkpoint, the
/// output is known to be this group's. `first_mark` is what the sink's mark is when it has nothing.
pub fn claim(
    output: &Path,
    progress_path: PathBuf,
    has_output: bool,
    first_mark: u64,
    options: &SinkOptions,
) -> Result<(Beginning, Option<Kept>), OpenError> {
    let group = options.group.as_deref();
    let file = ProgressFile::new(progress_path, group.unwrap_or_default());
    let saved = match file.load() {
        Ok(None) => None,
        Ok(Some(saved)) if group.is_some() => Some(saved),
        // Without a group there is no progress to go on from, but somebody's progress shows whose output this is.
        Ok(Some(_)) if options.existing == Refuse => return Err(exists(output, " (a group's)")),
        Err(ProgressError::Io(cause)) => return Err(OpenError::io(file.path())(cause)),
        Err(cause) if options.existing == Refuse => {
            return Err(exists(output, &format!(" ({cause})")));
        }
        Ok(Some(_)) | Err(_) => None,
    };
    if let Some(saved) = saved {
        tracing::info!(
            output = %output.display(),
            "going on where the output ends ({})",
            file.path().display()
        );
        let kept = Kept {
            file,
            progress: saved.progress,
        };
        return Ok((Beginning::At(saved.mark), Some(kept)));
    }
    if has_output && options.existing == Refuse {
        return Err(exists(output, ""));
    }
    if group.is_none() {
        remove_if_there(file.path()).map_err(OpenError::io(file.path()))?;
        return Ok((Beginning::Empty, None));
    }
    let progress = Progress::default();
    file.save(&progress, first_mark)
        .map_err(OpenError::io(file.path()))?;
    Ok((Beginning::Empty, Some(Kept { file, progress })))
}

fn exists(output: &Path, why: &str) -> OpenError {
    ConfigError(format!(
        "{} exists{why}: give another place, or --overwrite to replace it",
        output.display()
    ))
    .into()
}

/// An output that somebody changed does not fit its progress any more.
pub fn does_not_fit(output: &Path, found: u64, expected: u64) -> OpenError {
    ConfigError(format!(
        "{} has {found} bytes where its progress says {expected}: somebody changed it. Put it back, or remove it and its \
         *.framelane-progress.json (the group then goes on from what it has committed)",
        output.display()
    ))
    .into()
}

/// Where a file is to be made that each run writes whole: one that an earlier run has made goes, nobody else's does. A link
/// is followed. `begins_so`: whether a file that begins with these bytes was made by an earlier run.
pub fn replaceable(
    path: &Path,
    existing: Existing,
    begins_so: impl Fn(&[u8]) -> bool,
) -> Result<PathBuf, OpenError> {
    let metadata = match std::fs::metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            return in_folder(path);
        }
        found => found.map_err(OpenError::io(path))?,
    };
    if !metadata.is_file() {
        let why = format!("{} is no file: give another place", path.display());
        return Err(ConfigError(why).into());
    }
    let mut beginning = Vec::new();
    if existing == Refuse {
        let file = File::open(path).map_err(OpenError::io(path))?;
        let reading = file.take(BEGINNING_BYTES).read_to_end(&mut beginning);
        reading.map_err(OpenError::io(path))?;
    }
    if !beginning.is_empty() && !begins_so(&beginning) {
        return Err(exists(path, ", and no earlier run has made it"));
    }
    path.canonicalize().map_err(OpenError::io(path))
}

/// Rather now than after all frames.
fn in_folder(path: &Path) -> Result<PathBuf, OpenError> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            let (path, folder) = (path.display(), folder.display());
            let why =
                format!("{path}: there is no folder {folder}: make it, or give another place");
            Err(ConfigError(why).into())
        }
        _ => Ok(path.to_owned()),
    }
}

/// Removes a file.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

/// `out/video.mp4` and `.spool` to `out/video.mp4.spool`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The suffix of progress files beside their output.
pub const PROGRESS_SUFFIX: &str = ".framelane-progress.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_earlier_run_has_made_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let check = |name: &str, existing| {
            replaceable(&at(name), existing, |file| file.starts_with(b"ours"))
                .map_err(|fault| fault.to_string())
        };
        assert_eq!(check("new", Refuse), Ok(at("new")));
        for (name, text) in [("ours", "ours 1"), ("empty", ""), ("clip.mp4", "a video")] {
            std::fs::write(at(name), text).unwrap();
        }
        assert!(check("ours", Refuse).is_ok() && check("empty", Refuse).is_ok());
        let refused = check("clip.mp4", Refuse).expect_err("it is somebody's video");
        assert!(refused.contains("--overwrite"), "{refused}");
        assert!(check("clip.mp4", Replace).is_ok());
        std::os::unix::fs::symlink(at("ours"), at("link")).unwrap();
        let target = at("ours").canonicalize().unwrap();
        assert_eq!(check("link", Refuse), Ok(target));
        for existing in [Refuse, Replace] {
            let device = replaceable(Path::new("/dev/null"), existing, |_| true);
            assert!(device.is_err_and(|fault| fault.to_string().contains("no file")));
        }
        let refused = check("nowhere/page.html", Refuse).expect_err("no folder");
        assert!(refused.contains("no folder"), "{refused}");
    }
}
