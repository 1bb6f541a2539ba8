//! One JPEG a frame: Frame00001.jpg, Frame00002.jpg, ...
//!
//! A picture gets its name only when it is safely on disk, so whoever reads the folder never sees half a picture. A
//! JPEG from the record is written byte by byte as it is. Gaps and broken pictures become a picture that says so.

use super::output::{self, Beginning};
use super::{Flow, Kept, OpenError, Sink, SinkError, SinkOptions, Stills};
use crate::delivery::Delivery;
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const PROGRESS: &str = ".framelane-progress.json";
const TEMPORARY: &str = ".framelane-tmp-";

/// Pictures without a name, at most: a person who watches the folder sees them soon, and few files are open at once.
const MAX_UNNAMED: usize = 64;

/// The sink.
#[derive(Debug)]
pub struct JpegFolder {
    folder: PathBuf,
    /// Locked; also what makes names durable.
    handle: File,
    stills: Stills,
    /// The number of the next picture.
    next: u64,
    unnamed: Vec<Unnamed>,
}

#[derive(Debug)]
struct Unnamed {
    file: File,
    temporary: PathBuf,
    name: PathBuf,
}

impl JpegFolder {
    /// Claims the folder. Its mark is the number of the next picture.
    pub fn open(folder: &Path, options: &SinkOptions) -> Result<(Self, Option<Kept>), OpenError> {
        fs::create_dir_all(folder).map_err(OpenError::io(folder))?;
        let handle = File::open(folder).map_err(OpenError::io(folder))?;
        output::lock(folder, &handle)?;
        let names = names_in(folder).map_err(OpenError::io(folder))?;
        let has_output = names.iter().any(|name| !name.starts_with(".framelane-"));
        let progress = folder.join(PROGRESS);
        let (beginning, kept) = output::claim(folder, progress, has_output, 1, options)?;
        let next = match beginning {
            Beginning::Empty => 1,
            Beginning::At(mark) => mark,
        };
        for name in names {
            // Not in the progress: these frames come again.
            if name.starts_with(TEMPORARY) || number_of(&name).is_some_and(|n| n >= next) {
                let path = folder.join(name);
                output::remove_if_there(&path).map_err(OpenError::io(&path))?;
            }
        }
        let sink = Self {
            folder: folder.to_owned(),
            handle,
            stills: options.stills,
            next,
            unnamed: Vec::new(),
        };
        Ok((sink, kept))
    }

    fn picture_of(&self, delivery: &Delivery) -> Result<Bytes, SinkError> {
        if self.stills == Stills::Overlay {
            return Ok(delivery.annotated_jpeg()?);
        }
        match delivery.original_jpeg()? {
            Some(original) => Ok(original),
            None => Ok(delivery.picture_jpeg()?),
        }
    }

    /// Flushes the pictures first and names them then, in order.
    fn name_all(&mut self) -> Result<(), SinkError> {
        if self.unnamed.is_empty() {
            return Ok(());
        }
        for picture in &self.unnamed {
            let synced = picture.file.sync_data();
            synced.map_err(SinkError::write(&picture.name))?;
        }
        for picture in self.unnamed.drain(..) {
            fs::rename(&picture.temporary, &picture.name)
                .map_err(SinkError::write(&picture.name))?;
        }
        self.handle
            .sync_all()
            .map_err(SinkError::write(&self.folder))
    }
}

fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// The number in `Frame00012.jpg`.
fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("Frame")?.strip_suffix(".jpg")?;
    let is_ours = digits.len() >= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_ours.then(|| digits.parse().ok()).flatten()
}

impl Sink for JpegFolder {
    fn take(&mut self, delivery: &Delivery) -> Result<Flow, SinkError> {
        if !delivery.is_visible() {
            return Ok(Flow::GoOn);
        }
        let picture = self.picture_of(delivery)?;
        let name = self.folder.join(format!("Frame{:05}.jpg", self.next));
        let temporary = self.folder.join(format!("{TEMPORARY}{}", self.next));
        let mut file = File::create(&temporary).map_err(SinkError::write(&name))?;
        if let Err(cause) = file.write_all(&picture) {
            let _ = fs::remove_file(&temporary); // half a picture; the next start removes it too
            return Err(SinkError::write(&name)(cause));
        }
        self.unnamed.push(Unnamed {
            file,
            temporary,
            name,
        });
        self.next += 1;
        if self.unnamed.len() >= MAX_UNNAMED {
            self.name_all()?;
        }
        Ok(Flow::GoOn)
    }

    fn checkpoint(&mut self) -> Result<u64, SinkError> {
        self.name_all()?;
        Ok(self.next)
    }

    fn shows_absence(&self) -> bool {
        true
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.name_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_have_numbers() {
        assert_eq!(number_of("Frame00012.jpg"), Some(12));
        assert_eq!(number_of("Frame123456.jpg"), Some(123_456));
        for other in [
            "Frame1.jpg",
            "Frame00012.png",
            "frame00012.jpg",
            "Frame0001x.jpg",
        ] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
