//! Pictures of a report: a few, from all over the time.

use crate::delivery::Delivery;
use crate::picture::PictureError;
use bytes::Bytes;
use opencv::core::{Mat, MatTraitConst, Size, Vector, VectorToVec};
use opencv::{imgcodecs, imgproc};
use pipeline::v1::FrameId;
use std::collections::BTreeMap;

/// Pictures that are shown.
const MOST: usize = 12;
/// Sources whose scene is kept as the ground of a map.
const MOST_SCENES: usize = 6;
/// Their width, in pixels.
const WIDTH: i32 = 480;
const SCENE_WIDTH: i32 = 720;
/// Of JPEG: small, for the page carries them.
const QUALITY: i32 = 78;

/// A picture with a caption.
#[derive(Debug)]
pub struct Still {
    pub jpeg: Bytes,
    pub frame: String,
    pub time_ns: i64,
    pub is_alert: bool,
}

/// Keeps one of `stride` pictures; when there are too many, every second one goes.
#[derive(Debug)]
struct Spread {
    offered: u64,
    stride: u64,
    stills: Vec<Still>,
}

/// All pictures.
#[derive(Debug, Default)]
pub struct Album {
    alerts: Spread,
    /// Frames with something in them.
    seen: Spread,
    /// Any others.
    plain: Spread,
    /// What each source looks at: its first picture.
    pub scenes: BTreeMap<String, Bytes>,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            offered: 0,
            stride: 1,
            stills: Vec::new(),
        }
    }
}

impl Spread {
    fn offer(
        &mut self,
        still: impl FnOnce() -> Result<Still, PictureError>,
    ) -> Result<(), PictureError> {
        let is_wanted = self.offered.is_multiple_of(self.stride);
        self.offered += 1;
        if !is_wanted {
            return Ok(());
        }
        self.stills.push(still()?);
        if self.stills.len() > MOST {
            let mut at = 0;
            self.stills.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.stride *= 2;
        }
        Ok(())
    }
}

impl Album {
    /// Takes the frame's picture, if it is to be shown.
    pub fn offer(&mut self, delivery: &Delivery) -> Result<(), PictureError> {
        let Some((frame, id)) = delivery
            .frame()
            .and_then(|frame| Some((frame, frame.id.as_ref()?)))
        else {
            return Ok(());
        };
        self.offer_scene(delivery, id)?;
        let is_alert = delivery.alert().is_some();
        let has_seen = frame
            .results
            .iter()
            .any(|result| !result.detections.is_empty());
        let spread = match (is_alert, has_seen) {
            (true, _) => &mut self.alerts,
            (false, true) => &mut self.seen,
            (false, false) => &mut self.plain,
        };
        spread.offer(|| {
            let picture = delivery.annotated()?;
            Ok(Still {
                jpeg: shrunk(&picture, WIDTH)?,
                frame: id.to_string(),
                time_ns: frame.capture_time_unix_ns,
                is_alert,
            })
        })
    }

    fn offer_scene(&mut self, delivery: &Delivery, id: &FrameId) -> Result<(), PictureError> {
        if self.scenes.len() < MOST_SCENES && !self.scenes.contains_key(&id.source_id) {
            let scene = shrunk(&*delivery.picture()?, SCENE_WIDTH)?;
            self.scenes.insert(id.source_id.clone(), scene);
        }
        Ok(())
    }

    /// What is shown, by time: alerts first of all, then frames with something in them, then any.
    pub fn stills(&self) -> Vec<&Still> {
        let all = [&self.alerts, &self.seen, &self.plain];
        let all = all.into_iter().flat_map(|spread| &spread.stills);
        let mut stills: Vec<&Still> = all.take(MOST).collect();
        stills.sort_by_key(|still| still.time_ns);
        stills
    }
}

/// A JPEG of at most this width.
fn shrunk(picture: &Mat, width: i32) -> Result<Bytes, PictureError> {
    let mut small = Mat::default();
    let size = Size::new(width, picture.rows() * width / picture.cols().max(1));
    let picture = if picture.cols() > width && size.height > 0 {
        imgproc::resize(picture, &mut small, size, 0.0, 0.0, imgproc::INTER_AREA)?;
        &small
    } else {
        picture
    };
    let mut jpeg = Vector::<u8>::new();
    let quality = Vector::from_slice(&[imgcodecs::IMWRITE_JPEG_QUALITY, QUALITY]);
    imgcodecs::imencode(".jpg", picture, &mut jpeg, &quality)?;
    Ok(jpeg.to_vec().into())
}
