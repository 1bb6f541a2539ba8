//! Finds people who stand or walk, with OpenCV's HOG detector: it needs no model.

use opencv::{
    core::{Rect, Size, Vector},
    objdetect,
    prelude::*,
};
use processor_proto::{
    BlockingProcessor, ProcessError, Processed,
    v1::{self, Frame},
};

use crate::{
    boxes::best_of_overlapping,
    instances::Instances,
    opencv_error::failed,
    picture::{Channels, Decoder, Reduce, at_most_wide},
};

/// The detector's window, pixels. A person fills three quarters of its height, so smaller people are not found.
const WINDOW: Size = Size {
    width: 64,
    height: 128,
};
/// Pixels from one place to the next. Half of it finds a little more and takes four times as long.
const STRIDE: Size = Size {
    width: 8,
    height: 8,
};
/// Border added around the picture, so that people at its edge are found.
const PADDING: Size = Size {
    width: 8,
    height: 8,
};
/// Each step of the search is this much larger than the one before. On the clip in `testdata/` 1.1 finds one person in
/// twenty more and takes 1.7 times as long.
const SCALE_STEP: f64 = 1.2;
/// The detector's weight from which on a window counts: higher misses people, lower sees them in lamp posts.
const MIN_WEIGHT: f64 = 0.15;

/// Finds people.
pub struct People {
    idle: Instances<objdetect::HOGDescriptor>,
    work_width: u32,
    decoder: Decoder,
}

impl People {
    /// Pictures wider than `work_width` pixels are scaled down. Errors are OpenCV's.
    pub fn new(work_width: u32, decoder: Decoder) -> opencv::Result<Self> {
        Ok(Self {
            idle: Instances::with(detector()?),
            work_width,
            decoder,
        })
    }
}

fn detector() -> opencv::Result<objdetect::HOGDescriptor> {
    let mut hog = objdetect::HOGDescriptor::default()?;
    hog.set_svm_detector_input_array(&objdetect::HOGDescriptor::get_default_people_detector()?)?;
    Ok(hog)
}

impl BlockingProcessor for People {
    fn name(&self) -> &str {
        "people"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn process(&self, frame: &Frame) -> Result<Processed, ProcessError> {
        let reduce = Reduce::DownTo {
            width: self.work_width,
            height: WINDOW.height.cast_unsigned(),
        };
        // Without colour: a third of the work, and hardly fewer people found.
        let picture = self.decoder.decode(frame, Channels::Gray, reduce)?;
        let (picture, back) = at_most_wide(picture, self.work_width, frame).map_err(failed)?;
        if picture.cols() < WINDOW.width || picture.rows() < WINDOW.height {
            return Ok(Processed::nothing()); // not even one window fits
        }
        let found = self
            .idle
            .lend(detector, |hog| find(hog, &picture))
            .map_err(failed)?;
        let people = found.into_iter().map(|(window, weight)| {
            v1::Detection::new("person", confidence(weight), person_in(window, back, frame))
        });
        Ok(Processed::nothing().detections(best_of_overlapping(people.collect())))
    }
}

/// Every window that looks like a person, with its weight.
fn find(hog: &mut objdetect::HOGDescriptor, gray: &Mat) -> opencv::Result<Vec<(Rect, f64)>> {
    let (mut windows, mut weights) = (Vector::<Rect>::new(), Vector::<f64>::new());
    hog.detect_multi_scale_weights(
        gray,
        &mut windows,
        &mut weights,
        MIN_WEIGHT,
        STRIDE,
        PADDING,
        SCALE_STEP,
        0.0, // no grouping here: it would lose the weights of single windows
        false,
    )?;
    Ok(windows.into_iter().zip(weights).collect())
}

/// The person within a window (the detector was trained with a margin), in the frame's pixels, cut at its edges.
fn person_in(window: Rect, back: f32, frame: &Frame) -> v1::Box {
    let (width, height) = (window.width as f32 * back, window.height as f32 * back);
    let left = (window.x as f32 * back + width * 0.15).max(0.0);
    let top = (window.y as f32 * back + height * 0.08).max(0.0);
    let right = (window.x as f32 * back + width * 0.85).min(frame.width as f32);
    let bottom = (window.y as f32 * back + height * 0.92).min(frame.height as f32);
    v1::Box {
        x: left,
        y: top,
        width: (right - left).max(0.0),
        height: (bottom - top).max(0.0),
    }
}

/// The weight is a distance without bounds; people are mostly between 0 and 2. The curve gives 0.5 at 0, 0.88 at 1.
fn confidence(weight: f64) -> f32 {
    (1.0 / (1.0 + (-2.0 * weight).exp())) as f32
}
