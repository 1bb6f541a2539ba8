//! From a frame's content to pixels, with everything checked before the decoder allocates.
//!
//! ```text
//! content -> size by its header -> within the limit? -> as declared? -> whole? -> decoder
//! ```
//! OpenCV alone would paint the missing half of a cut-off JPEG grey and say nothing.

use imagesize::ImageType;
use opencv::{
    boxed_ref::BoxedRef,
    core::{Mat, MatTraitConst, Size, ToInputArray, Vec3b, Vector},
    imgcodecs, imgproc,
};
use processor_proto::{
    NotWhole, ProcessError, check_whole,
    v1::{Codec, Frame, PixelFormat},
};
use thiserror::Error;

use crate::jpeg::{self, JpegError};

/// What a decoded picture must not exceed: 50 megapixels are 150 MB as BGR, and more than common cameras take.
pub const DEFAULT_MAX_PIXELS: u64 = 50_000_000;

/// Why a frame's content gives no pixels. No later attempt can change it.
#[derive(Debug, Error)]
pub enum PictureError {
    #[error("the frame carries no picture (its content is {0})")]
    NoContent(&'static str),
    #[error("pictures of codec {0} are not decoded here")]
    Codec(&'static str),
    #[error("the content is no {declared} picture: {found}")]
    NotTheCodec {
        declared: &'static str,
        found: String,
    },
    #[error(
        "a picture of {width}x{height} pixels exceeds the limit of {limit} pixels (--max-megapixels)"
    )]
    TooLarge { width: u64, height: u64, limit: u64 },
    #[error("the picture is {found:?} pixels where the frame says {declared:?}")]
    OtherSize {
        declared: (u64, u64),
        found: (u64, u64),
    },
    #[error(transparent)]
    NotWhole(#[from] NotWhole),
    #[error("the decoder refused the picture: {0}")]
    Decoder(String),
}

impl From<PictureError> for ProcessError {
    fn from(error: PictureError) -> Self {
        Self::InvalidFrame(error.to_string())
    }
}

/// What the pixels are decoded to, 8 bits a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    Bgr,
    Gray,
}

/// How small the decoder may make the picture: it skips work that a later scaling would throw away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// Every pixel.
    No,
    /// By 2, 4 or 8, as long as the picture stays at least this large (pixels).
    DownTo { width: u32, height: u32 },
}

/// What a frame shows, decoded.
pub enum Pixels<'a> {
    Decoded(Mat),
    /// In the frame's own memory.
    InPlace(BoxedRef<'a, Mat>),
}

/// Decodes frames of at most `max_pixels` pixels.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    pub max_pixels: u64,
}

impl Decoder {
    /// The frame's pixels. Orientation tags are ignored: width and height are those of the frame.
    pub fn decode(
        &self,
        frame: &Frame,
        channels: Channels,
        reduce: Reduce,
    ) -> Result<Mat, PictureError> {
        match self.view(frame, channels, reduce)? {
            Pixels::Decoded(mat) => Ok(mat),
            Pixels::InPlace(mat) => mat.try_clone().map_err(decoder),
        }
    }

    /// The same, without a copy where the content is the pixels already.
    pub fn view<'a>(
        &self,
        frame: &'a Frame,
        channels: Channels,
        reduce: Reduce,
    ) -> Result<Pixels<'a>, PictureError> {
        let content = frame
            .inline()
            .ok_or(PictureError::NoContent(frame.content_word()))?;
        let declared = (u64::from(frame.width), u64::from(frame.height));
        match frame.codec() {
            Codec::Raw => {
                self.check_size(declared, declared)?;
                raw(frame, content, channels)
            }
            codec @ (Codec::Jpeg | Codec::Png) => {
                self.check_size(header_size(codec, content)?, declared)?;
                check_whole(codec, content)?;
                encoded(codec, content, declared, channels, reduce).map(Pixels::Decoded)
            }
            other => Err(PictureError::Codec(other.word())),
        }
    }

    fn check_size(&self, found: (u64, u64), declared: (u64, u64)) -> Result<(), PictureError> {
        let (width, height) = found;
        if width.saturating_mul(height) > self.max_pixels {
            return Err(PictureError::TooLarge {
                width,
                height,
                limit: self.max_pixels,
            });
        }
        if found != declared {
            return Err(PictureError::OtherSize { declared, found });
        }
        Ok(())
    }
}

/// Reads a few bytes of the header; decodes nothing.
fn header_size(codec: Codec, content: &[u8]) -> Result<(u64, u64), PictureError> {
    let not_it = |found: String| PictureError::NotTheCodec {
        declared: codec.word(),
        found,
    };
    let expected = match codec {
        Codec::Jpeg => ImageType::Jpeg,
        _ => ImageType::Png,
    };
    let kind = imagesize::image_type(content).map_err(|error| not_it(error.to_string()))?;
    if kind != expected {
        return Err(not_it(format!("it is {kind:?}").to_lowercase()));
    }
    let size = imagesize::blob_size(content).map_err(|error| not_it(error.to_string()))?;
    Ok((size.width as u64, size.height as u64))
}

fn encoded(
    codec: Codec,
    content: &[u8],
    size: (u64, u64),
    channels: Channels,
    reduce: Reduce,
) -> Result<Mat, PictureError> {
    let reduction = reduction(size, reduce);
    if codec == Codec::Jpeg {
        match jpeg::decode(content, size, channels, reduction) {
            Ok(mat) => return Ok(mat),
            Err(JpegError::OtherSize(found)) => {
                return Err(PictureError::OtherSize {
                    declared: size,
                    found,
                });
            }
            // What it refuses, OpenCV may still read.
            Err(cause) => tracing::debug!(%cause, "libjpeg-turbo"),
        }
    }
    let flags = flags(channels, reduction);
    let mat = imgcodecs::imdecode(&content, flags).map_err(decoder)?;
    if mat.empty() {
        return Err(PictureError::Decoder("it found no picture".into()));
    }
    Ok(mat)
}

fn flags(channels: Channels, reduction: u64) -> i32 {
    let colour = match (channels, reduction) {
        (Channels::Bgr, 1) => imgcodecs::IMREAD_COLOR,
        (Channels::Bgr, 2) => imgcodecs::IMREAD_REDUCED_COLOR_2,
        (Channels::Bgr, 4) => imgcodecs::IMREAD_REDUCED_COLOR_4,
        (Channels::Bgr, _) => imgcodecs::IMREAD_REDUCED_COLOR_8,
        (Channels::Gray, 1) => imgcodecs::IMREAD_GRAYSCALE,
        (Channels::Gray, 2) => imgcodecs::IMREAD_REDUCED_GRAYSCALE_2,
        (Channels::Gray, 4) => imgcodecs::IMREAD_REDUCED_GRAYSCALE_4,
        (Channels::Gray, _) => imgcodecs::IMREAD_REDUCED_GRAYSCALE_8,
    };
    colour | imgcodecs::IMREAD_IGNORE_ORIENTATION
}

/// The largest of 8, 4, 2 that leaves the picture large enough, or 1.
fn reduction((width, height): (u64, u64), reduce: Reduce) -> u64 {
    let Reduce::DownTo {
        width: least_width,
        height: least_height,
    } = reduce
    else {
        return 1;
    };
    [8, 4, 2]
        .into_iter()
        .find(|by| width / by >= u64::from(least_width) && height / by >= u64::from(least_height))
        .unwrap_or(1)
}

fn raw<'a>(
    frame: &'a Frame,
    content: &'a [u8],
    channels: Channels,
) -> Result<Pixels<'a>, PictureError> {
    let format = frame.pixel_format();
    let bytes_per_pixel = format
        .bytes_per_pixel()
        .ok_or_else(|| PictureError::Decoder("RAW content of no pixel format".into()))?;
    let expected = u64::from(frame.width) * u64::from(frame.height) * u64::from(bytes_per_pixel);
    if content.len() as u64 != expected {
        return Err(NotWhole::CutOff("its length is not width * height * bytes per pixel").into());
    }
    // At most `max_pixels` pixels, so both fit.
    let side =
        |pixels: u32| i32::try_from(pixels).map_err(|e| PictureError::Decoder(e.to_string()));
    let (rows, columns) = (side(frame.height)?, side(frame.width)?);
    let pixels = match bytes_per_pixel {
        1 => Mat::new_rows_cols_with_bytes::<u8>(rows, columns, content),
        _ => Mat::new_rows_cols_with_bytes::<Vec3b>(rows, columns, content),
    };
    let pixels = pixels.map_err(decoder)?;
    let conversion = match (format, channels) {
        (PixelFormat::Bgr24, Channels::Gray) => imgproc::COLOR_BGR2GRAY,
        (PixelFormat::Rgb24, Channels::Gray) => imgproc::COLOR_RGB2GRAY,
        (PixelFormat::Rgb24, Channels::Bgr) => imgproc::COLOR_RGB2BGR,
        (PixelFormat::Gray8, Channels::Bgr) => imgproc::COLOR_GRAY2BGR,
        _ => return Ok(Pixels::InPlace(pixels)),
    };
    let mut mat = Mat::default();
    imgproc::cvt_color_def(&pixels, &mut mat, conversion).map_err(decoder)?;
    Ok(Pixels::Decoded(mat))
}

fn decoder(error: opencv::Error) -> PictureError {
    PictureError::Decoder(error.message)
}

/// Scales so that the picture is at most `width` wide; gives the factor from the result back to the frame's pixels.
///
/// Errors are OpenCV's (out of memory).
pub fn at_most_wide(mat: Mat, width: u32, frame: &Frame) -> opencv::Result<(Mat, f32)> {
    let back_from = |mat: &Mat| frame.width as f32 / mat.cols().max(1) as f32;
    let work_width = i32::try_from(width).unwrap_or(i32::MAX);
    if mat.cols() <= work_width {
        let back = back_from(&mat);
        return Ok((mat, back));
    }
    let rows = i64::from(mat.rows()) * i64::from(work_width) / i64::from(mat.cols());
    let size = Size::new(
        work_width,
        i32::try_from(rows).expect("less than mat.rows()").max(1),
    );
    let scaled = scaled(&mat, size)?;
    let back = back_from(&scaled);
    Ok((scaled, back))
}

/// The picture in another size. Errors are OpenCV's (out of memory).
pub fn scaled(mat: &(impl MatTraitConst + ToInputArray), size: Size) -> opencv::Result<Mat> {
    let mut scaled = Mat::default();
    let interpolation = interpolation(mat.size()?, size);
    imgproc::resize(mat, &mut scaled, size, 0.0, 0.0, interpolation)?;
    Ok(scaled)
}

/// Means over areas where much fewer pixels are left: nothing flickers and no fine pattern turns into a coarse one. Near
/// the old size means between neighbours are as good (38 dB both, at 3/4) in a seventh of the time.
pub fn interpolation(from: Size, to: Size) -> i32 {
    let is_near = |from: i32, to: i32| i64::from(to) * 4 >= i64::from(from) * 3;
    match is_near(from.width, to.width) && is_near(from.height, to.height) {
        true => imgproc::INTER_LINEAR,
        false => imgproc::INTER_AREA,
    }
}

/// A JPEG of the picture; `quality` is 1 to 100. Errors are OpenCV's (more than 65,500 pixels a side).
pub fn jpeg_of(mat: &(impl MatTraitConst + ToInputArray), quality: u8) -> opencv::Result<Vec<u8>> {
    if let Ok(jpeg) = jpeg::encode(mat, quality) {
        return Ok(jpeg);
    }
    let mut jpeg = Vector::new();
    let parameters = Vector::from_slice(&[imgcodecs::IMWRITE_JPEG_QUALITY, i32::from(quality)]);
    imgcodecs::imencode(".jpg", mat, &mut jpeg, &parameters)?;
    Ok(jpeg.into())
}

#[cfg(test)]
mod tests;
