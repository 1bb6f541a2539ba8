//! Makes faces unrecognisable; the result replaces the frame's picture.
//!
//! A frame in which no face is found keeps its picture as it is. One that cannot be looked at fails, and what becomes of a
//! failed frame is the broker's business: where faces must never get through, it runs with `--on-failure drop`.

use opencv::{
    core::{Mat, Rect, Size},
    imgproc,
    prelude::*,
};
use processor_proto::{
    BlockingProcessor, ProcessError, Processed,
    v1::{self, Codec, Frame, Picture, PixelFormat},
};

use crate::{
    faces::Faces,
    opencv_error::failed,
    picture::{Channels, Decoder, Reduce, jpeg_of},
};

/// What is left of a face: so many pixels a side. A blurred picture can be sharpened again; what was averaged away here
/// is gone.
const CELLS: i32 = 6;
/// The cascade's box reaches from the brows to the mouth: so much of its side is added on each side, for hair and chin.
const MARGIN: f32 = 0.25;

/// Finds faces and blurs them.
pub struct Blur {
    pub faces: Faces,
    /// JPEG quality of the new picture, 1 to 100.
    pub quality: u8,
    pub decoder: Decoder,
}

impl BlockingProcessor for Blur {
    fn name(&self) -> &str {
        "blur"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn process(&self, frame: &Frame) -> Result<Processed, ProcessError> {
        let found = self.faces.process(frame)?;
        if found.seen().is_empty() {
            return Ok(found);
        }
        let mut picture = self.decoder.decode(frame, Channels::Bgr, Reduce::No)?;
        for face in found.seen() {
            let place = place_of(&face.r#box.unwrap_or_default(), &picture);
            blur(&mut picture, place).map_err(failed)?;
        }
        let jpeg = jpeg_of(&picture, self.quality).map_err(failed)?;
        Ok(found.picture(Picture {
            codec: Codec::Jpeg.into(),
            pixel_format: PixelFormat::Bgr24.into(),
            width: frame.width,
            height: frame.height,
            content: jpeg.into(),
        }))
    }
}

/// The whole head around a face, as far as it is in the picture.
fn place_of(face: &v1::Box, picture: &Mat) -> Rect {
    let (wider, higher) = (face.width * MARGIN, face.height * MARGIN);
    let from = |start: f32, more: f32| (start - more).floor().max(0.0) as i32;
    let to = |end: f32, more: f32, side: i32| ((end + more).ceil() as i32).min(side);
    let (x, y) = (from(face.x, wider), from(face.y, higher));
    Rect::new(
        x,
        y,
        to(face.x + face.width, wider, picture.cols()) - x,
        to(face.y + face.height, higher, picture.rows()) - y,
    )
}

fn blur(picture: &mut Mat, place: Rect) -> opencv::Result<()> {
    if place.width <= 0 || place.height <= 0 {
        return Ok(()); // nothing of it is in the picture
    }
    let mut face = picture.roi_mut(place)?;
    let (mut left, mut blurred) = (Mat::default(), Mat::default());
    let cells = Size::new(CELLS, CELLS);
    imgproc::resize(&face, &mut left, cells, 0.0, 0.0, imgproc::INTER_AREA)?;
    let whole = Size::new(place.width, place.height);
    imgproc::resize(&left, &mut blurred, whole, 0.0, 0.0, imgproc::INTER_LINEAR)?;
    blurred.copy_to(&mut face)
}
