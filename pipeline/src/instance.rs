//! A name for this instance that a restarted one gets back, so that Kafka knows it again at once.
//!
//! The first free of `HOST-0`, `HOST-1`, ... is taken by locking a file of that name. The lock ends with the process,
//! however it ends.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// More instances of one group than this on one host are surely a mistake.
const MAX_SLOTS: usize = 256;

/// A name held by this process until dropped.
#[derive(Debug)]
pub struct Instance {
    name: String,
    /// Locked; None for a name that the caller chose.
    _lock: Option<File>,
}

/// No name could be taken.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The lock files cannot be made.
    #[error(
        "cannot keep instance names in {dir}: {cause}. Give this instance a name of its own with --instance"
    )]
    Directory {
        /// Where they would be.
        dir: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// Every slot is taken.
    #[error("{MAX_SLOTS} instances of group {group} run on this host already")]
    NoSlot {
        /// The group.
        group: String,
    },
}

impl Instance {
    /// The name given, or the first free one of this host in this group.
    pub fn claim(group: &str, name: Option<String>) -> Result<Self, InstanceError> {
        match name {
            Some(name) => Ok(Self { name, _lock: None }),
            None => Self::claim_in(&state_dir(), group),
        }
    }

    /// What the group and Kafka's transactions know this instance by.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn claim_in(dir: &Path, group: &str) -> Result<Self, InstanceError> {
        let failed = |cause| InstanceError::Directory {
            dir: dir.to_owned(),
            cause,
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let host = nix::unistd::gethostname()
            .ok()
            .and_then(|host| host.into_string().ok())
            .unwrap_or_else(|| "host".to_owned());
        // A group may have any name, a file may not. Two groups that come to share their slots only get other numbers.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let file_name = group.replace(|c| !is_plain(c), "_");
        for slot in 0..MAX_SLOTS {
            let path = dir.join(format!("{file_name}.{slot}.lock"));
            let file = File::create(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {
                    return Ok(Self {
                        name: format!("{host}-{slot}"),
                        _lock: Some(file),
                    });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(cause)) => return Err(failed(cause)),
            }
        }
        Err(InstanceError::NoSlot {
            group: group.to_owned(),
        })
    }
}

/// XDG's place for what a program keeps between runs; without a home, the one for temporary files.
fn state_dir() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| Some(std::env::home_dir()?.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir);
    state.join("framelane/instances")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_once_and_free_again_after_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let group = "../a group";
        let first = Instance::claim_in(dir.path(), group).unwrap();
        let second = Instance::claim_in(dir.path(), group).unwrap();
        assert_ne!(first.name(), second.name());
        let name = first.name().to_owned();
        drop(first);
        assert_eq!(Instance::claim_in(dir.path(), group).unwrap().name(), name);
    }
}
