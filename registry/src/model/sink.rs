//! Where a consumer's records may go, as it is written on its command line and in its declaration.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A sink as given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkSpec {
    /// On the screen.
    Window,
    /// One JPEG a frame.
    Jpeg(PathBuf),
    /// One video.
    Video(PathBuf),
    /// One JSON line a record.
    Jsonl(PathBuf),
    /// The same, on stdout.
    JsonlStdout,
    /// Numbers; also into a file.
    Stats(Option<PathBuf>),
    /// Nowhere.
    Null,
}

/// File names that OpenCV makes a video of.
pub const VIDEO_EXTENSIONS: [&str; 2] = ["mp4", "avi"];

impl SinkSpec {
    /// The file or folder that it makes.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Jpeg(path) | Self::Video(path) | Self::Jsonl(path) | Self::Stats(Some(path)) => {
                Some(path)
            }
            Self::Window | Self::JsonlStdout | Self::Stats(None) | Self::Null => None,
        }
    }

    /// True if records have to bring their pictures.
    pub fn needs_pixels(&self) -> bool {
        matches!(self, Self::Window | Self::Jpeg(_) | Self::Video(_))
    }
}

impl FromStr for SinkSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, path) = match text.split_once(':') {
            Some((kind, path)) => (kind, Some(path).filter(|path| !path.is_empty())),
            None => (text, None),
        };
        match (kind, path) {
            ("window", None) => Ok(Self::Window),
            ("null", None) => Ok(Self::Null),
            ("stats", path) => Ok(Self::Stats(path.map(PathBuf::from))),
            ("jsonl", Some("-")) => Ok(Self::JsonlStdout),
            ("jsonl", Some(path)) => Ok(Self::Jsonl(path.into())),
            ("jpeg", Some(path)) => Ok(Self::Jpeg(path.into())),
            ("video", Some(path)) => video(path.into()),
            ("jsonl" | "jpeg" | "video", None) => Err(format!("{kind} needs a place: {kind}:PATH")),
            _ => Err(
                "expected window, jpeg:DIR, video:FILE, jsonl:FILE, stats, stats:FILE or null"
                    .to_owned(),
            ),
        }
    }
}

fn video(path: PathBuf) -> Result<SinkSpec, String> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    if VIDEO_EXTENSIONS.contains(&extension) {
        return Ok(SinkSpec::Video(path));
    }
    Err(format!(
        "{}: a video's name ends with .mp4 or .avi",
        path.display()
    ))
}

impl fmt::Display for SinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window => f.write_str("window"),
            Self::Jpeg(path) => write!(f, "jpeg:{}", path.display()),
            Self::Video(path) => write!(f, "video:{}", path.display()),
            Self::Jsonl(path) => write!(f, "jsonl:{}", path.display()),
            Self::JsonlStdout => f.write_str("jsonl:-"),
            Self::Stats(None) => f.write_str("stats"),
            Self::Stats(Some(path)) => write!(f, "stats:{}", path.display()),
            Self::Null => f.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_are_read_as_they_are_written() {
        for text in [
            "window",
            "jpeg:a/b",
            "video:v.mp4",
            "jsonl:x:y",
            "jsonl:-",
            "stats",
            "stats:s.json",
            "null",
        ] {
            assert_eq!(text.parse::<SinkSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn sinks_without_a_place_or_of_no_kind_are_refused() {
        for bad in [
            "",
            "jpeg",
            "jpeg:",
            "video:v.mov",
            "window:1",
            "paper:x",
            "null:x",
        ] {
            assert!(bad.parse::<SinkSpec>().is_err(), "{bad:?} was accepted");
        }
    }
}
