//! Finds faces that look into the camera, with a Haar cascade.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use opencv::{
    core::{Rect, Size, Vector},
    imgproc, objdetect,
    prelude::*,
};
use processor_proto::{
    BlockingProcessor, ProcessError, Processed,
    v1::{self, Frame},
};
use thiserror::Error;

use crate::{
    instances::Instances,
    opencv_error::failed,
    picture::{Channels, Decoder, Reduce, at_most_wide},
};

/// Where distributions put OpenCV's cascades.
const CASCADES: [&str; 3] = [
    "/usr/share/opencv4/haarcascades/haarcascade_frontalface_default.xml",
    "/usr/local/share/opencv4/haarcascades/haarcascade_frontalface_default.xml",
    "/usr/share/opencv/haarcascades/haarcascade_frontalface_default.xml",
];
/// Each step of the search is this much larger than the one before: finer finds few more faces and costs more.
const SCALE_STEP: f64 = 1.1;
/// So many overlapping hits make a face.
const MIN_NEIGHBOURS: i32 = 5;
/// The smallest face that is looked for, in pixels of the work picture; the cascade was trained on 24.
const MIN_FACE: i32 = 30;

/// Why no cascade can be used.
#[derive(Debug, Error)]
pub enum CascadeError {
    #[error(
        "no face cascade at any of {CASCADES:?}: install the package opencv-data, or give --cascade FILE"
    )]
    NotInstalled,
    #[error("cannot read the cascade {}: {source}; give another --cascade, or none for that of opencv-data", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is not a cascade that OpenCV knows; give another --cascade, or none for that of opencv-data", .0.display())]
    NotACascade(PathBuf),
}

/// Finds faces.
pub struct Faces {
    cascade: PathBuf,
    idle: Instances<objdetect::CascadeClassifier>,
    work_width: u32,
    decoder: Decoder,
}

impl Faces {
    /// With the given cascade, or the distribution's. Pictures wider than `work_width` pixels are scaled down.
    pub fn new(
        cascade: Option<PathBuf>,
        work_width: u32,
        decoder: Decoder,
    ) -> Result<Self, CascadeError> {
        let installed = || {
            CASCADES
                .iter()
                .map(PathBuf::from)
                .find(|path| path.exists())
        };
        let cascade = cascade
            .or_else(installed)
            .ok_or(CascadeError::NotInstalled)?;
        // OpenCV would only say that it failed.
        if let Err(source) = File::open(&cascade) {
            let path = cascade;
            return Err(CascadeError::Unreadable { path, source });
        }
        let first = load(&cascade).map_err(|_| CascadeError::NotACascade(cascade.clone()))?;
        Ok(Self {
            cascade,
            idle: Instances::with(first),
            work_width,
            decoder,
        })
    }
}

fn load(cascade: &Path) -> opencv::Result<objdetect::CascadeClassifier> {
    let loaded = objdetect::CascadeClassifier::new(cascade)?;
    // Other XML is no error to OpenCV.
    if loaded.empty()? {
        return Err(opencv::Error::new(opencv::core::StsError, "no cascade"));
    }
    Ok(loaded)
}

impl BlockingProcessor for Faces {
    fn name(&self) -> &str {
        "faces"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn process(&self, frame: &Frame) -> Result<Processed, ProcessError> {
        let reduce = Reduce::DownTo {
            width: self.work_width,
            height: 0,
        };
        let picture = self.decoder.decode(frame, Channels::Gray, reduce)?;
        let (picture, back) = at_most_wide(picture, self.work_width, frame).map_err(failed)?;
        let found = self
            .idle
            .lend(|| load(&self.cascade), |cascade| find(cascade, &picture))
            .map_err(failed)?;
        Ok(
            Processed::nothing().detections(found.into_iter().map(|(face, neighbours)| {
                let side = |pixels: i32| pixels as f32 * back;
                let seen_in = v1::Box {
                    x: side(face.x),
                    y: side(face.y),
                    width: side(face.width),
                    height: side(face.height),
                };
                v1::Detection::new("face", confidence(neighbours), seen_in)
            })),
        )
    }
}

/// Faces in the work picture, each with the number of hits it was found by.
fn find(
    cascade: &mut objdetect::CascadeClassifier,
    gray: &Mat,
) -> opencv::Result<Vec<(Rect, i32)>> {
    let mut even = Mat::default();
    imgproc::equalize_hist(gray, &mut even)?;
    let (mut faces, mut neighbours) = (Vector::<Rect>::new(), Vector::<i32>::new());
    let min = Size::new(MIN_FACE, MIN_FACE);
    cascade.detect_multi_scale2(
        &even,
        &mut faces,
        &mut neighbours,
        SCALE_STEP,
        MIN_NEIGHBOURS,
        0,
        min,
        Size::default(),
    )?;
    let mut found: Vec<_> = faces.into_iter().zip(neighbours).collect();
    // OpenCV's grouping has no order worth relying on; the same picture always gets the same answer.
    found.sort_by_key(|(face, _)| (face.y, face.x, face.width));
    Ok(found)
}

/// A cascade says yes or no; how often it said yes around a place is the only measure there is. 5 hits (the least
/// that counts) give 0.5, 20 give 0.8.
fn confidence(neighbours: i32) -> f32 {
    let hits = neighbours.max(0) as f32;
    hits / (hits + MIN_NEIGHBOURS as f32)
}
