//! Encoded pictures to OpenCV's and back.

use bytes::Bytes;
use imagesize::ImageType;
use opencv::core::{self, Mat, MatTraitConst, Vector, VectorToVec};
use opencv::{imgcodecs, imgproc};
use pipeline::check_whole;
use pipeline::v1::{Codec, Frame, PixelFormat};

/// Larger pictures are not decoded: a few hundred bytes of header could otherwise ask for gigabytes. Twelve times 4K.
const MAX_PIXELS: usize = 100_000_000;

/// Longer sides fit into no JPEG, and every picture may have to be written as one.
const MAX_SIDE: i32 = 65_500;

/// JPEG quality of pictures that we encode: no visible loss on top of the original's.
const QUALITY: i32 = 90;

/// A picture that is no picture; why, for people.
#[derive(Debug)]
pub struct Undecodable(pub String);

/// The pixels of a frame's content: 8 bits, blue green red.
pub fn decode(frame: &Frame, content: &Bytes) -> Result<Mat, Undecodable> {
    let picture = match frame.codec() {
        Codec::Jpeg | Codec::Png => compressed(content)?,
        Codec::Raw => raw(frame, content).map_err(|cause| Undecodable(cause.to_string()))?,
        other => {
            let name = other.word();
            return Err(Undecodable(format!("codec {name} is not known here")));
        }
    };
    if picture.empty() {
        return Err(Undecodable("truncated or damaged".to_owned()));
    }
    let (width, height) = (picture.cols(), picture.rows());
    if width.max(height) > MAX_SIDE {
        return Err(Undecodable(format!("{width}x{height} pixels")));
    }
    Ok(picture)
}

fn compressed(content: &Bytes) -> Result<Mat, Undecodable> {
    let unreadable = |cause| Undecodable(format!("its header cannot be read ({cause})"));
    let kind = imagesize::image_type(content).map_err(unreadable)?;
    let size = imagesize::blob_size(content).map_err(unreadable)?;
    if size.width.saturating_mul(size.height) > MAX_PIXELS {
        let (width, height) = (size.width, size.height);
        return Err(Undecodable(format!("{width}x{height} pixels")));
    }
    // What it is, not what the frame says: decoders go by the first bytes.
    let codec = match kind {
        ImageType::Jpeg => Codec::Jpeg,
        _ => Codec::Png,
    };
    check_whole(codec, content).map_err(|cause| Undecodable(cause.to_string()))?;
    Mat::from_slice(content)
        .and_then(|bytes| imgcodecs::imdecode(&bytes, imgcodecs::IMREAD_COLOR))
        .map_err(|cause| Undecodable(cause.message))
}

fn raw(frame: &Frame, content: &Bytes) -> opencv::Result<Mat> {
    let (rows, cols) = (frame.height as i32, frame.width as i32);
    let mut picture = Mat::default();
    match frame.pixel_format() {
        PixelFormat::Gray8 => {
            let gray = Mat::new_rows_cols_with_data(rows, cols, content)?;
            imgproc::cvt_color_def(&gray, &mut picture, imgproc::COLOR_GRAY2BGR)?;
        }
        format => {
            let flat = Mat::from_slice(content)?;
            let pixels = flat.reshape(3, rows)?;
            if format == PixelFormat::Rgb24 {
                imgproc::cvt_color_def(&pixels, &mut picture, imgproc::COLOR_RGB2BGR)?;
            } else {
                pixels.copy_to(&mut picture)?;
            }
        }
    }
    Ok(picture)
}

/// Encodes a picture.
pub fn to_jpeg(picture: &Mat) -> opencv::Result<Bytes> {
    let mut jpeg = Vector::<u8>::new();
    let quality = Vector::from_slice(&[imgcodecs::IMWRITE_JPEG_QUALITY, QUALITY]);
    imgcodecs::imencode(".jpg", picture, &mut jpeg, &quality)?;
    Ok(jpeg.to_vec().into())
}

/// Decodes a JPEG that [`to_jpeg`] made.
pub fn from_jpeg(jpeg: &[u8]) -> opencv::Result<Mat> {
    imgcodecs::imdecode(&Mat::from_slice(jpeg)?, imgcodecs::IMREAD_COLOR)
}

/// OpenCV's own threads would fight with the sinks' for the cores.
pub fn use_one_thread() -> opencv::Result<()> {
    core::set_num_threads(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencv::core::{MatTraitConstManual, Vec3b};
    use pipeline::v1::frame::Content;

    fn frame(codec: Codec, format: PixelFormat, bytes: &'static [u8]) -> (Frame, Bytes) {
        let content = Bytes::from_static(bytes);
        let frame = Frame {
            codec: codec.into(),
            pixel_format: format.into(),
            width: 2,
            height: 1,
            content: Some(Content::Inline(content.clone())),
            ..Frame::default()
        };
        (frame, content)
    }

    #[test]
    fn raw_pixels_of_every_format_become_blue_green_red() {
        for (format, bytes) in [
            (PixelFormat::Bgr24, &[1, 2, 3, 9, 9, 9][..]),
            (PixelFormat::Rgb24, &[3, 2, 1, 9, 9, 9]),
            (PixelFormat::Gray8, &[7, 9]),
        ] {
            let (frame, content) = frame(Codec::Raw, format, bytes);
            let picture = decode(&frame, &content).expect("valid");
            assert_eq!((picture.cols(), picture.rows()), (2, 1));
            let first = picture.data_typed::<Vec3b>().unwrap()[0];
            let expected = if format == PixelFormat::Gray8 {
                [7, 7, 7]
            } else {
                [1, 2, 3]
            };
            assert_eq!(first.0, expected, "{format:?}");
        }
    }

    #[test]
    fn a_picture_too_long_for_a_jpeg_is_refused_rather_than_failing_the_sink() {
        let content = Bytes::from(vec![7; 65_501]);
        let frame = Frame {
            codec: Codec::Raw.into(),
            pixel_format: PixelFormat::Gray8.into(),
            width: 65_501,
            height: 1,
            ..Frame::default()
        };
        let Undecodable(why) = decode(&frame, &content).expect_err("too long");
        assert_eq!(why, "65501x1 pixels");
    }

    #[test]
    fn a_picture_that_is_cut_off_is_refused_rather_than_shown_grey() {
        let whole =
            to_jpeg(&Mat::new_rows_cols_with_default(16, 16, core::CV_8UC3, 9.into()).unwrap());
        let whole = whole.unwrap();
        let frame = Frame {
            codec: Codec::Jpeg.into(),
            ..Frame::default()
        };
        assert!(decode(&frame, &whole).is_ok());
        let cut = whole.slice(..whole.len() - 4);
        let Undecodable(why) = decode(&frame, &cut).expect_err("cut off");
        assert!(why.contains("cut off"), "{why}");
    }

    #[test]
    fn what_is_no_picture_is_refused_with_a_reason() {
        let (frame, content) = frame(Codec::Jpeg, PixelFormat::Bgr24, b"no jpeg at all");
        let Undecodable(why) = decode(&frame, &content).expect_err("not a JPEG");
        assert!(!why.is_empty());
    }
}
