//! One picture to the bytes that are sent: passed on as it is, or scaled and compressed.

use crate::config::Encoding;
use crate::input::Picture;
use crate::jpeg::{self, Soundness};
use crate::options::{PictureCodec, Quality};
use bytes::Bytes;
use opencv::core::{Mat, Size as CvSize, Vector};
use opencv::prelude::*;
use opencv::{imgcodecs, imgproc};
use pipeline::v1::Codec;

#[derive(Debug)]
pub(super) struct Content {
    pub codec: Codec,
    pub width: u32,
    pub height: u32,
    pub bytes: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum EncodeError {
    #[error("{name} is not a picture that OpenCV can decode: is it damaged?")]
    Undecodable { name: String },
    #[error("{name} is cut off: its end is missing")]
    CutOff { name: String },
    #[error("OpenCV refuses it: {0}")]
    OpenCv(#[from] opencv::Error),
}

/// The bytes to be sent for a picture.
pub(super) fn content_of(picture: Picture, encoding: Encoding) -> Result<Content, EncodeError> {
    let pixels = match picture {
        Picture::Pixels(pixels) => pixels,
        Picture::Encoded { bytes, name } => {
            if let Some(content) = passed_through(&bytes, encoding) {
                return Ok(content);
            }
            decode(&bytes, name)?
        }
    };
    write(&resize(pixels, encoding)?, encoding)
}

/// The source's own encoding, if it is what is asked for: no second loss, no work.
fn passed_through(bytes: &Bytes, encoding: Encoding) -> Option<Content> {
    if !encoding.takes_jpegs() || jpeg::soundness(bytes) != Some(Soundness::Whole) {
        return None;
    }
    let size = imagesize::blob_size(bytes).ok()?;
    Some(Content {
        codec: Codec::Jpeg,
        width: u32::try_from(size.width).ok()?,
        height: u32::try_from(size.height).ok()?,
        bytes: bytes.clone(),
    })
}

fn decode(bytes: &[u8], name: String) -> Result<Mat, EncodeError> {
    if jpeg::soundness(bytes) == Some(Soundness::CutOff) {
        return Err(EncodeError::CutOff { name });
    }
    let pixels = imgcodecs::imdecode(&bytes, imgcodecs::IMREAD_COLOR);
    match pixels {
        Ok(pixels) if !pixels.empty() => Ok(pixels),
        _ => Err(EncodeError::Undecodable { name }),
    }
}

fn resize(pixels: Mat, encoding: Encoding) -> Result<Mat, EncodeError> {
    let Some(size) = encoding.resize else {
        return Ok(pixels);
    };
    let wanted = CvSize::new(size.width as i32, size.height as i32);
    let given = pixels.size()?;
    if given == wanted {
        return Ok(pixels);
    }
    // AREA averages what a smaller picture cannot show; when enlarging it would only repeat pixels.
    let method = if wanted.area() < given.area() {
        imgproc::INTER_AREA
    } else {
        imgproc::INTER_LINEAR
    };
    let mut resized = Mat::default();
    imgproc::resize(&pixels, &mut resized, wanted, 0.0, 0.0, method)?;
    Ok(resized)
}

fn write(pixels: &Mat, encoding: Encoding) -> Result<Content, EncodeError> {
    /// OpenCV's default, 3, takes twice as long for a few percent.
    const PNG_COMPRESSION: i32 = 1;
    let (codec, bytes) = match encoding.codec {
        PictureCodec::Jpeg => {
            let quality = i32::from(encoding.quality.unwrap_or(Quality::DEFAULT).get());
            let options = [imgcodecs::IMWRITE_JPEG_QUALITY, quality];
            (Codec::Jpeg, compress(".jpg", pixels, &options)?)
        }
        PictureCodec::Png => {
            let options = [imgcodecs::IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION];
            (Codec::Png, compress(".png", pixels, &options)?)
        }
        PictureCodec::Raw if pixels.is_continuous() => {
            (Codec::Raw, Bytes::copy_from_slice(pixels.data_bytes()?))
        }
        PictureCodec::Raw => {
            let whole = pixels.try_clone()?;
            (Codec::Raw, Bytes::copy_from_slice(whole.data_bytes()?))
        }
    };
    Ok(Content {
        codec,
        width: pixels.cols() as u32,
        height: pixels.rows() as u32,
        bytes,
    })
}

fn compress(extension: &str, pixels: &Mat, options: &[i32]) -> Result<Bytes, EncodeError> {
    let mut compressed = Vector::<u8>::new();
    imgcodecs::imencode(
        extension,
        pixels,
        &mut compressed,
        &Vector::from_slice(options),
    )?;
    Ok(Bytes::from_owner(Compressed(compressed)))
}

/// OpenCV's own buffer, not copied.
struct Compressed(Vector<u8>);

impl AsRef<[u8]> for Compressed {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencv::core::{CV_8UC3, Scalar};

    const JPEG: Encoding = Encoding {
        codec: PictureCodec::Jpeg,
        quality: None,
        resize: None,
    };

    fn pixels(width: i32, height: i32) -> Mat {
        Mat::new_rows_cols_with_default(height, width, CV_8UC3, Scalar::all(90.0)).unwrap()
    }

    fn encoded(bytes: Bytes) -> Picture {
        Picture::Encoded {
            bytes,
            name: "shot.jpg".to_owned(),
        }
    }

    #[test]
    fn a_whole_jpeg_passes_untouched_unless_something_else_is_asked_for() {
        let original = content_of(Picture::Pixels(pixels(64, 48)), JPEG).unwrap();
        let passed = content_of(encoded(original.bytes.clone()), JPEG).unwrap();
        assert_eq!(passed.bytes, original.bytes);
        assert_eq!((passed.width, passed.height), (64, 48));
        let smaller = Encoding {
            resize: Some("32x24".parse().unwrap()),
            ..JPEG
        };
        let resized = content_of(encoded(original.bytes.clone()), smaller).unwrap();
        assert_eq!((resized.width, resized.height), (32, 24));
        let coarse = Encoding {
            quality: Some("5".parse().unwrap()),
            ..JPEG
        };
        assert_ne!(
            content_of(encoded(original.bytes.clone()), coarse)
                .unwrap()
                .bytes,
            original.bytes
        );
    }

    #[test]
    fn a_broken_picture_is_named() {
        let original = content_of(Picture::Pixels(pixels(64, 48)), JPEG).unwrap();
        for length in [4, 100, original.bytes.len() - 1] {
            let error = content_of(encoded(original.bytes.slice(..length)), JPEG).unwrap_err();
            assert!(error.to_string().contains("shot.jpg is cut off"), "{error}");
        }
        let error = content_of(encoded(Bytes::from_static(b"text")), JPEG).unwrap_err();
        assert!(error.to_string().contains("shot.jpg"), "{error}");
    }

    #[test]
    fn raw_is_the_pixels_and_png_loses_nothing() {
        let raw = Encoding {
            codec: PictureCodec::Raw,
            ..JPEG
        };
        let content = content_of(Picture::Pixels(pixels(31, 17)), raw).unwrap();
        assert_eq!(content.bytes, vec![90; 31 * 17 * 3]);
        let png = Encoding {
            codec: PictureCodec::Png,
            ..JPEG
        };
        let content = content_of(Picture::Pixels(pixels(31, 17)), png).unwrap();
        let back = decode(&content.bytes, String::new()).unwrap();
        assert_eq!(back.data_bytes().unwrap(), vec![90; 31 * 17 * 3]);
    }
}
