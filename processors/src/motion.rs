//! Finds what moves, by learning the background of each source.
//!
//! Calls run concurrently and reach a source's background one at a time, about in the order in which they
//! arrived. A frame that comes late (its sequence is below one already seen), or again, is compared with the
//! background but teaches it nothing: retries do not change what other frames see.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;
use opencv::{
    core::{Mat, Point, Ptr, Rect, Scalar, Size, Vector},
    imgproc,
    // Two traits of the binding have an `apply`; this is the one of the model used here.
    prelude::{BackgroundSubtractorMOG2Trait as Model, MatTraitConst},
    video,
};
use processor_proto::{
    BlockingProcessor, ProcessError, Processed,
    v1::{self, Frame},
};

use crate::{
    opencv_error::failed,
    picture::{Channels, Decoder, Reduce, at_most_wide},
};

/// Sources whose backgrounds are kept, at about 5 MB each; the one longest unused is forgotten first.
pub const MAX_SOURCES: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");
/// Frames that make the background, OpenCV's default. What stops moving becomes part of it after a tenth of them.
const HISTORY: i32 = 500;
/// Squared distance (in standard deviations) from which on a pixel is not background.
const THRESHOLD: f64 = 25.0;
/// The smallest thing that counts, as a part of the picture: below is noise.
const MIN_AREA: f64 = 0.0005;
/// What an answer holds at most, the largest first: a shaking camera makes thousands.
const MAX_DETECTIONS: usize = 100;
/// The mask says 255 for what moves, 127 for its shadow.
const MOVES: f64 = 200.0;
/// How much of itself each frame adds to the background. Left to itself the model learns so fast at first that
/// it would take what moves in the second frame for background.
const LEARN: f64 = 1.0 / HISTORY as f64;
const DO_NOT_LEARN: f64 = 0.0;

/// Finds what moves.
pub struct Motion {
    /// By source id and epoch. Each has its own lock, so that sources do not wait for each other.
    backgrounds: Mutex<LruCache<(String, u64), Shared>>,
    work_width: u32,
    decoder: Decoder,
}

/// `None` until the first frame.
type Shared = Arc<Mutex<Option<Background>>>;

/// What one epoch of a source looks like when nothing moves.
struct Background {
    model: Ptr<video::BackgroundSubtractorMOG2>,
    size: Size,
    last_sequence: u64,
}

impl Motion {
    /// Pictures wider than `work_width` pixels are scaled down.
    pub fn new(work_width: u32, decoder: Decoder) -> Self {
        Self {
            backgrounds: Mutex::new(LruCache::new(MAX_SOURCES)),
            work_width,
            decoder,
        }
    }

    /// What moves in a scaled picture of a frame, as a mask; `None` if there is nothing yet to compare it with.
    fn compare(&self, id: &v1::FrameId, picture: &Mat) -> opencv::Result<Option<Mat>> {
        let key = (id.source_id.clone(), id.epoch);
        let background = {
            let mut all = self
                .backgrounds
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.get_or_insert(key, Arc::default))
        };
        let mut background = match background.lock() {
            Ok(background) => background,
            Err(poisoned) => {
                // The model may be half changed: start anew.
                let mut background = poisoned.into_inner();
                *background = None;
                background
            }
        };
        background_of(&mut background, id.sequence, picture)
    }
}

fn background_of(
    background: &mut Option<Background>,
    sequence: u64,
    picture: &Mat,
) -> opencv::Result<Option<Mat>> {
    let mut mask = Mat::default();
    match background {
        Some(known) if known.size == picture.size()? => {
            let learn = if sequence > known.last_sequence {
                LEARN
            } else {
                DO_NOT_LEARN
            };
            Model::apply(&mut known.model, picture, &mut mask, learn)?;
            known.last_sequence = known.last_sequence.max(sequence);
            Ok(Some(mask))
        }
        _ => {
            let mut model = video::create_background_subtractor_mog2(HISTORY, THRESHOLD, true)?;
            Model::apply(&mut model, picture, &mut mask, LEARN)?;
            *background = Some(Background {
                model,
                size: picture.size()?,
                last_sequence: sequence,
            });
            Ok(None)
        }
    }
}

impl BlockingProcessor for Motion {
    fn name(&self) -> &str {
        "motion"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn process(&self, frame: &Frame) -> Result<Processed, ProcessError> {
        let reduce = Reduce::DownTo {
            width: self.work_width,
            height: 0,
        };
        let id = frame
            .id
            .as_ref()
            .ok_or_else(|| ProcessError::InvalidFrame("the frame has no id".into()))?;
        let picture = self.decoder.decode(frame, Channels::Gray, reduce)?;
        let (picture, back) = at_most_wide(picture, self.work_width, frame).map_err(failed)?;
        let Some(mask) = self.compare(id, &picture).map_err(failed)? else {
            return Ok(Processed::nothing().attribute("background", "new"));
        };
        let moving = blobs(&mask).map_err(failed)?;
        Ok(
            Processed::nothing().detections(moving.into_iter().map(|blob| {
                let side = |pixels: i32| pixels as f32 * back;
                let seen_in = v1::Box {
                    x: side(blob.x),
                    y: side(blob.y),
                    width: side(blob.width),
                    height: side(blob.height),
                };
                v1::Detection::new("motion", 0.0, seen_in)
            })),
        )
    }
}

/// Boxes around what moves, the largest first.
fn blobs(mask: &Mat) -> opencv::Result<Vec<Rect>> {
    let mut moving = Mat::default();
    imgproc::threshold(mask, &mut moving, MOVES, 255.0, imgproc::THRESH_BINARY)?;
    let clean = morphed(&moving, imgproc::MORPH_OPEN, 3)?; // single pixels are noise
    let whole = morphed(&clean, imgproc::MORPH_CLOSE, 9)?; // a person in a plain coat is one thing
    let mut contours = Vector::<Vector<Point>>::new();
    imgproc::find_contours(
        &whole,
        &mut contours,
        imgproc::RETR_EXTERNAL,
        imgproc::CHAIN_APPROX_SIMPLE,
        Point::default(),
    )?;
    let min_area = f64::from(mask.cols()) * f64::from(mask.rows()) * MIN_AREA;
    let mut blobs = Vec::new();
    for contour in contours {
        if imgproc::contour_area(&contour, false)? >= min_area {
            blobs.push(imgproc::bounding_rect(&contour)?);
        }
    }
    blobs.sort_by_key(|blob| (std::cmp::Reverse(blob.area()), blob.y, blob.x));
    blobs.truncate(MAX_DETECTIONS);
    Ok(blobs)
}

fn morphed(mask: &Mat, operation: i32, side: i32) -> opencv::Result<Mat> {
    let kernel = imgproc::get_structuring_element(
        imgproc::MORPH_ELLIPSE,
        Size::new(side, side),
        Point::new(-1, -1),
    )?;
    let mut result = Mat::default();
    imgproc::morphology_ex(
        mask,
        &mut result,
        operation,
        &kernel,
        Point::new(-1, -1),
        1,
        opencv::core::BORDER_CONSTANT,
        Scalar::default(),
    )?;
    Ok(result)
}
