//! Makes pictures smaller (or larger); the result replaces the frame's picture.

use opencv::core::Size;
use processor_proto::{
    BlockingProcessor, ProcessError, Processed,
    v1::{Codec, Frame, Picture, PixelFormat},
};

use crate::{
    opencv_error::failed,
    picture::{Channels, Decoder, Reduce, jpeg_of, scaled},
};

/// JPEG's largest side in OpenCV, pixels.
const MAX_SIDE: f64 = 65_500.0;

/// How large the result is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Pixels, whatever the frame's aspect ratio.
    Size { width: u32, height: u32 },
    /// The frame's size times this.
    Scale(f64),
}

/// Scales and encodes as JPEG.
pub struct Resize {
    pub target: Target,
    /// 1 to 100.
    pub quality: u8,
    pub decoder: Decoder,
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
        let picture = self.decoder.decode(frame, Channels::Bgr, reduce)?;
        let size = Size::new(width.cast_signed(), height.cast_signed());
        let jpeg = scaled(&picture, size)
            .and_then(|scaled| jpeg_of(&scaled, self.quality))
            .map_err(failed)?;
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
    /// The result's size in pixels, within the decoder's limit as well: a scale could exceed it.
    fn size(&self, frame: &Frame) -> Result<(u32, u32), ProcessError> {
        let (width, height) = match self.target {
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
                "the result would have {width}x{height} pixels, more than --max-megapixels allows"
            )));
        }
        Ok((width as u32, height as u32))
    }
}
