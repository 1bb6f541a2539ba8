//! A folder of pictures, in the natural order of their names: `shot2.jpg` before `shot10.jpg`.

use super::{Input, InputError, Moment, NANOSECONDS, Picture};
use crate::config::AtEnd;
use crate::options::Fps;
use pipeline::v1::{FrameId, TimeBase};
use std::path::{Path, PathBuf};

/// What OpenCV decodes everywhere.
const EXTENSIONS: [&str; 9] = [
    "jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "ppm", "pgm",
];

/// Reads pictures one after the other. The list is made once, when the source starts.
#[derive(Debug)]
pub struct Images {
    paths: Vec<PathBuf>,
    fps: Fps,
    at_end: AtEnd,
    /// Pictures gone to so far, over all passes.
    shown: u64,
}

impl Images {
    /// Lists the folder; other files in it are left alone.
    pub fn open(folder: &Path, fps: Fps, at_end: AtEnd) -> Result<Self, InputError> {
        let unusable = |cause: std::io::Error| {
            InputError::Unusable(format!("cannot list {}: {cause}", folder.display()))
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unusable)? {
            let path = entry.map_err(unusable)?.path();
            if is_picture(&path) {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return Err(InputError::Unusable(format!(
                "{} holds no picture (files named *.{})",
                folder.display(),
                EXTENSIONS.join(", *.")
            )));
        }
        paths.sort_by_cached_key(|path| natural_key(&path.to_string_lossy()));
        Ok(Self {
            paths,
            fps,
            at_end,
            shown: 0,
        })
    }
}

fn is_picture(path: &Path) -> bool {
    let extension = path
        .extension()
        .map(|ext| ext.to_string_lossy().to_lowercase());
    extension.is_some_and(|ext| EXTENSIONS.contains(&ext.as_str()))
}

/// Text and numbers in turn; numbers compare by value. The whole name decides between `7` and `07`.
fn natural_key(name: &str) -> (Vec<Part>, String) {
    let mut parts: Vec<Part> = Vec::new();
    for c in name.chars() {
        match (parts.last_mut(), c.is_ascii_digit()) {
            (Some(Part::Number(digits)), true) => digits.push(c),
            (Some(Part::Text(text)), false) => text.push(c),
            (_, true) => parts.push(Part::Number(c.to_string())),
            (_, false) => parts.push(Part::Text(c.to_string())),
        }
    }
    (parts, name.to_owned())
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Number(String),
    Text(String),
}

impl Ord for Part {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        use std::cmp::Ordering::{Greater, Less};
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => {
                // Of any length: the longer one is the larger one, without leading zeros.
                let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                (a.len(), a).cmp(&(b.len(), b))
            }
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Less,
            (Self::Text(_), Self::Number(_)) => Greater,
        }
    }
}

impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Input for Images {
    fn advance(&mut self) -> Result<Option<Moment>, InputError> {
        let is_over = self.shown == self.paths.len() as u64;
        if is_over && self.at_end == AtEnd::Stop {
            return Ok(None);
        }
        let pts = self.fps.time_of(self.shown);
        self.shown += 1;
        Ok(Some(Moment {
            pts,
            captured_unix_ns: None,
        }))
    }

    fn picture(&mut self, _: &FrameId) -> Result<Picture, InputError> {
        let n = self.shown.saturating_sub(1) as usize % self.paths.len();
        let path = &self.paths[n];
        let bytes = std::fs::read(path).map_err(|cause| {
            InputError::Failed(format!("cannot read {}: {cause}", path.display()))
        })?;
        Ok(Picture::Encoded {
            bytes: bytes.into(),
            name: path.display().to_string(),
        })
    }

    fn time_base(&self) -> TimeBase {
        NANOSECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_people_expect() {
        let mut names = [
            "a10.jpg", "a2.jpg", "a02.jpg", "b1.jpg", "a1b.jpg", "a1.jpg", "1.jpg",
        ];
        names.sort_by_cached_key(|name| natural_key(name));
        assert_eq!(
            names,
            [
                "1.jpg", "a1.jpg", "a1b.jpg", "a02.jpg", "a2.jpg", "a10.jpg", "b1.jpg"
            ]
        );
    }

    #[test]
    fn a_folder_is_read_in_order_and_again_if_asked() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["10.jpg", "9.JPG", "notes.txt"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let id = FrameId::new("x", 1, 0);
        let mut images = Images::open(folder.path(), Fps::TEN, AtEnd::Repeat).unwrap();
        for expected in ["9.JPG", "10.jpg", "9.JPG"] {
            assert!(images.advance().unwrap().is_some());
            let Picture::Encoded { bytes, .. } = images.picture(&id).unwrap() else {
                panic!("files are encoded");
            };
            assert_eq!(bytes, expected);
        }
        let mut once = Images::open(folder.path(), Fps::TEN, AtEnd::Stop).unwrap();
        assert_eq!(std::iter::from_fn(|| once.advance().unwrap()).count(), 2);
    }

    #[test]
    fn an_empty_or_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = Images::open(folder.path(), Fps::TEN, AtEnd::Stop).unwrap_err();
        assert!(empty.to_string().contains("*.jpg"), "{empty}");
        let missing = Images::open(&folder.path().join("x"), Fps::TEN, AtEnd::Stop).unwrap_err();
        assert!(matches!(missing, InputError::Unusable(_)), "{missing}");
    }
}
