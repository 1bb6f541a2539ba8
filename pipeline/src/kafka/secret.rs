//! Words that nobody but their user may see.

use super::KafkaFault;
use std::fmt;
use std::path::Path;

/// A password. Shown nowhere: not in logs, errors or debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The password of an environment variable; None if it is not set, or empty.
    pub(super) fn from_variable(name: &str) -> Option<Self> {
        std::env::var(name)
            .ok()
            .filter(|value| !value.is_empty())
            .map(Self)
    }

    /// The first line of a file. Its name is shown in errors, its content is not.
    pub(super) fn from_file(option: &str, path: &Path) -> Result<Self, KafkaFault> {
        let unfit = |why: String| KafkaFault::Unfit(format!("{option} {}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|cause| {
            unfit(format!(
                "cannot be read ({cause}): give a file that this user may read"
            ))
        })?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Self(line.to_owned())),
            _ => Err(unfit(
                "is empty: write the password into its first line".to_owned(),
            )),
        }
    }

    /// The password itself, for whom it is meant.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_of_its_file_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "open sesame\n").unwrap();
        let secret = Secret::from_file("--kafka-password-file", &file).unwrap();
        assert_eq!(secret.reveal(), "open sesame");
        assert!(!format!("{secret:?}").contains("sesame"));
    }

    #[test]
    fn a_file_without_a_password_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        for file in [empty, folder.path().join("missing")] {
            let error = Secret::from_file("--kafka-password-file", &file).unwrap_err();
            assert!(error.is_configuration());
            let error = error.to_string();
            let name = file.display().to_string();
            assert!(
                error.contains("--kafka-password-file") && error.contains(&name),
                "{error}"
            );
        }
    }
}
