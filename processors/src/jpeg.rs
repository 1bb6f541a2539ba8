//! JPEG by libjpeg-turbo's own interface.
//!
//! OpenCV uses the same library, and 4.6 (Debian 12) exchanges red and blue by itself, one pixel at a time: at 768x576 that
//! was half of the time for a picture. What this refuses (CMYK, bytes too many between the parts), OpenCV may still read.

use opencv::{
    core::{CV_8UC1, CV_8UC3, Mat, MatTraitConst, Scalar},
    prelude::{MatTraitConstManual, MatTraitManual},
};
use thiserror::Error;
use turbojpeg::{Compressor, Decompressor, Image, PixelFormat, Subsamp};

use crate::picture::Channels;

#[derive(Debug, Error)]
pub enum JpegError {
    #[error(transparent)]
    Codec(#[from] turbojpeg::Error),
    #[error(transparent)]
    Mat(#[from] opencv::Error),
    #[error("the pixels are neither 8 bits of gray nor BGR")]
    Pixels,
    /// Pixels. A header can be made that looks otherwise to whoever reads it before.
    #[error("the picture has {0:?} pixels")]
    OtherSize((u64, u64)),
}

/// The picture, which must have this width and height, with both sides times 1 / `by` (1, 2, 4 or 8), rounded up.
pub fn decode(
    content: &[u8],
    (width, height): (u64, u64),
    channels: Channels,
    by: u64,
) -> Result<Mat, JpegError> {
    let (mat_type, format) = match channels {
        Channels::Bgr => (CV_8UC3, PixelFormat::BGR),
        Channels::Gray => (CV_8UC1, PixelFormat::GRAY),
    };
    let mut decompressor = Decompressor::new()?;
    let header = decompressor.read_header(content)?;
    let found = (header.width as u64, header.height as u64);
    if found != (width, height) {
        return Err(JpegError::OtherSize(found));
    }
    // A JPEG's sides are 16 bits.
    let side = |pixels: u64| i32::try_from(pixels.div_ceil(by)).map_err(|_| JpegError::Pixels);
    let (rows, columns) = (side(height)?, side(width)?);
    let mut mat = Mat::new_rows_cols_with_default(rows, columns, mat_type, Scalar::default())?;
    let (width, height) = (mat.cols() as usize, mat.rows() as usize);
    let pixels = Image {
        width,
        height,
        pitch: width * format.size(),
        format,
        pixels: mat.data_bytes_mut()?,
    };
    // It chooses the scale that fits into the given sides.
    decompressor.decompress(content, pixels)?;
    Ok(mat)
}

/// `quality` is 1 to 100; colours have half the resolution, as everywhere.
pub fn encode(mat: &impl MatTraitConstManual, quality: u8) -> Result<Vec<u8>, JpegError> {
    let (format, subsamp) = match mat.typ() {
        CV_8UC3 => (PixelFormat::BGR, Subsamp::Sub2x2),
        CV_8UC1 => (PixelFormat::GRAY, Subsamp::Gray),
        _ => return Err(JpegError::Pixels),
    };
    let width = mat.cols() as usize;
    let mut compressor = Compressor::new()?;
    compressor.set_quality(i32::from(quality));
    compressor.set_subsamp(subsamp);
    Ok(compressor.compress_to_vec(Image {
        width,
        height: mat.rows() as usize,
        pitch: width * format.size(),
        format,
        pixels: mat.data_bytes()?,
    })?)
}
