//! Makes pictures smaller (or larger); the result replaces the frame's picture.
//!
//! A frame may ask for its own size by the label `resize` (see [`LABEL`]): so one service serves clients with different
//! wishes, and a producer can choose a size for each of its sources.

use std::str::FromStr;

use opencv::{
    core::{AccessFlag, Mat, Size, ToInputArray, UMat, UMatUsageFlags},
    imgproc,
    prelude::*,
};
use processor_proto::{
    BlockingProcessor, ProcessError, Processed, excerpt,
    v1::{Codec, Frame, Picture, PixelFormat},
};

use crate::{
    hardware::Hardware,
    opencv_error::failed,
    picture::{Channels, Decoder, Pixels, Reduce, interpolation, jpeg_of, scaled},
};

/// JPEG's largest side in OpenCV, pixels.
const MAX_SIDE: f64 = 65_500.0;

/// The label by which a frame asks for a size: `WIDTHxHEIGHT` in pixels, or a part of its own size such as `0.5`.
pub const LABEL: &str = "resize";
/// A wish is a few digits; what is longer is not repeated in the error.
const LONGEST_WISH: usize = 32;

/// How large the result is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Pixels, whatever the frame's aspect ratio.
    Size { width: u32, height: u32 },
    /// The frame's size times this.
    Scale(f64),
}

impl Target {
    /// From `WIDTHxHEIGHT`. The error says what is expected.
    pub fn size(text: &str) -> Result<Self, String> {
        let side = |text: &str| text.parse().ok().filter(|side| (1..=65_500).contains(side));
        text.split_once('x')
            .and_then(|(width, height)| {
                Some(Self::Size {
                    width: side(width)?,
                    height: side(height)?,
                })
            })
            .ok_or_else(|| format!("{text:?} is not WIDTHxHEIGHT with sides of 1 to 65500 pixels"))
    }

    /// From a number such as `0.5`. The error says what is expected.
    pub fn scale(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .filter(|scale| *scale > 0.0 && *scale <= 16.0)
            .map(Self::Scale)
            .ok_or_else(|| format!("{text:?} is not a number above 0, up to 16"))
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.contains('x') {
            true => Self::size(text),
            false => Self::scale(text),
        }
    }
}

/// Scales and encodes as JPEG.
#[derive(Clone, Debug)]
pub struct Resize {
    /// For frames that do not ask for a size.
    pub target: Target,
    /// 1 to 100.
    pub quality: u8,
    pub decoder: Decoder,
    /// What scales.
    pub hardware: Hardware,
}

impl BlockingProcessor for Resize {
    fn name(&self) -> &str {
        "resize"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn process(&self, frame: &Frame) -> Result<Processed, ProcessError> {
        let (width, height) = self.size(frame)?;
        let reduce = Reduce::DownTo { width, height };
        let size = Size::new(width.cast_signed(), height.cast_signed());
        let jpeg = match self.decoder.view(frame, Channels::Bgr, reduce)? {
            Pixels::Decoded(mat) => self.jpeg(&mat, size),
            Pixels::InPlace(mat) => self.jpeg(&mat, size),
        };
        let jpeg = jpeg.map_err(failed)?;
        Ok(Processed::nothing().picture(Picture {
            codec: Codec::Jpeg.into(),
            pixel_format: PixelFormat::Bgr24.into(),
            width,
            height,
            content: jpeg.into(),
        }))
    }
}

impl Resize {
    fn jpeg(
        &self,
        picture: &(impl MatTraitConst + ToInputArray),
        size: Size,
    ) -> opencv::Result<Vec<u8>> {
        // A smaller decoding may have hit the size already.
        if picture.size()? == size {
            return jpeg_of(picture, self.quality);
        }
        let scaled = match self.hardware {
            Hardware::Cpu => scaled(picture, size)?,
            Hardware::OpenCl { .. } => scaled_by_opencl(picture, size)?,
        };
        jpeg_of(&scaled, self.quality)
    }

    /// The result's size in pixels, within the decoder's limit as well: a scale could exceed it.
    fn size(&self, frame: &Frame) -> Result<(u32, u32), ProcessError> {
        let target = match frame.labels.get(LABEL) {
            None => self.target,
            Some(wish) => excerpt(wish, LONGEST_WISH).parse().map_err(|why| {
                ProcessError::InvalidFrame(format!("the frame's label {LABEL}: {why}"))
            })?,
        };
        let (width, height) = match target {
            Target::Size { width, height } => (f64::from(width), f64::from(height)),
            Target::Scale(by) => {
                let side = |pixels: u32| (f64::from(pixels) * by).round().max(1.0);
                (side(frame.width), side(frame.height))
            }
        };
        let too_large = width > MAX_SIDE
            || height > MAX_SIDE
            || width * height > self.decoder.max_pixels as f64;
        if too_large {
            return Err(ProcessError::InvalidFrame(format!(
                "the result would have {width}x{height} pixels, more than the service's --max-megapixels allows"
            )));
        }
        Ok((width as u32, height as u32))
    }
}

/// The picture in another size, on OpenCV's OpenCL device. Errors are OpenCV's and the device's.
fn scaled_by_opencl(picture: &impl MatTraitConst, size: Size) -> opencv::Result<Mat> {
    let from = picture.get_umat(AccessFlag::ACCESS_READ, UMatUsageFlags::USAGE_DEFAULT)?;
    let mut scaled = UMat::new_def();
    let interpolation = interpolation(picture.size()?, size);
    imgproc::resize(&from, &mut scaled, size, 0.0, 0.0, interpolation)?;
    let mut back = Mat::default();
    scaled.copy_to(&mut back)?;
    Ok(back)
}
