//! One picture: decoded, scaled, drawn on, encoded.

use super::Variant;
use super::draw;
use crate::shot::{Picture, Shot};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use jpeg_encoder::{ColorType, Encoder};
use pipeline::v1::{Codec, PixelFormat};
use std::sync::Arc;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_core::result::DecodingResult;
use zune_jpeg::JpegDecoder;
use zune_png::PngDecoder;

/// 8K at 4:3. A picture of more would keep a thread busy for a second, and take 200 MB.
const MAX_PIXELS: u64 = 50_000_000;
/// What pictures are encoded with here: they are looked at, not processed.
const JPEG_QUALITY: u8 = 75;

/// Rows of red, green and blue, from the top, without padding.
pub(super) struct Pixels {
    pub data: Vec<u8>,
    pub width: u32,
    pub height: u32,
}

/// Keeps what is of use for the next picture. Keeps a core busy, too.
#[derive(Default)]
pub struct Renderer {
    resizer: Resizer,
}

impl Renderer {
    /// The record with its picture as the variant wants it, or with the reason why there is none.
    pub fn shot(&mut self, shot: &Arc<Shot>, variant: Variant) -> Arc<Shot> {
        let Some(picture) = shot.picture().filter(|_| !variant.leaves(shot)) else {
            return Arc::clone(shot);
        };
        let made = self.picture(shot, picture, variant);
        Arc::new(shot.with_picture(made))
    }

    fn picture(
        &mut self,
        shot: &Shot,
        picture: &Picture,
        variant: Variant,
    ) -> Result<Picture, String> {
        let pixels = decode(picture)?;
        let full = (pixels.width, pixels.height);
        let mut pixels = self.scale(pixels, variant.size_of(full))?;
        if let Some(frame) = shot.frame().filter(|_| variant.has_overlay()) {
            // Boxes count in pixels of the frame, whatever its picture has.
            let across = f64::from(pixels.width) / f64::from(frame.width.max(1));
            let down = f64::from(pixels.height) / f64::from(frame.height.max(1));
            draw::results(&mut pixels, frame, (across, down));
        }
        encode(&pixels)
    }

    fn scale(&mut self, pixels: Pixels, (width, height): (u32, u32)) -> Result<Pixels, String> {
        if (pixels.width, pixels.height) == (width, height) {
            return Ok(pixels);
        }
        let failed = |why: String| format!("it cannot be scaled: {why}");
        let full = ImageRef::new(pixels.width, pixels.height, &pixels.data, PixelType::U8x3)
            .map_err(|why| failed(why.to_string()))?;
        let mut small = Image::new(width, height, PixelType::U8x3);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        self.resizer
            .resize(&full, &mut small, &options)
            .map_err(|why| failed(why.to_string()))?;
        Ok(Pixels {
            data: small.into_vec(),
            width,
            height,
        })
    }
}

/// A stranger's picture: neither its size nor its form can be trusted.
fn decode(picture: &Picture) -> Result<Pixels, String> {
    let failed = |why: String| format!("it cannot be decoded: {why}");
    pipeline::check_whole(picture.codec, &picture.bytes).map_err(|why| failed(why.to_string()))?;
    match picture.codec {
        Codec::Jpeg => decode_jpeg(&picture.bytes).map_err(failed),
        Codec::Png => decode_png(&picture.bytes).map_err(failed),
        Codec::Raw => decode_raw(picture).map_err(failed),
        other => Err(failed(format!("the codec is {}", other.word()))),
    }
}

fn check_size(width: usize, height: usize) -> Result<(u32, u32), String> {
    let (w, h) = (u32::try_from(width), u32::try_from(height));
    match (w, h) {
        (Ok(w), Ok(h)) if (1..=MAX_PIXELS).contains(&(u64::from(w) * u64::from(h))) => Ok((w, h)),
        _ => Err(format!(
            "{width}x{height} pixels, at most {MAX_PIXELS} are taken"
        )),
    }
}

fn decode_jpeg(bytes: &[u8]) -> Result<Pixels, String> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|why| why.to_string())?;
    let info = decoder.info().ok_or("no header")?;
    let (width, height) = check_size(info.width.into(), info.height.into())?;
    let data = decoder.decode().map_err(|why| why.to_string())?;
    whole(data, width, height)
}

fn decode_png(bytes: &[u8]) -> Result<Pixels, String> {
    let options = DecoderOptions::default().png_set_strip_to_8bit(true);
    let mut decoder = PngDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|why| why.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("no header")?;
    let (width, height) = check_size(width, height)?;
    let space = decoder.colorspace().ok_or("no colour space")?;
    let DecodingResult::U8(data) = decoder.decode().map_err(|why| why.to_string())? else {
        return Err("more than 8 bits a channel".to_owned());
    };
    let data = match space {
        ColorSpace::RGB => data,
        ColorSpace::RGBA => data
            .chunks_exact(4)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect(),
        ColorSpace::Luma => data.iter().flat_map(|&y| [y; 3]).collect(),
        ColorSpace::LumaA => data.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        other => return Err(format!("the colour space {other:?}")),
    };
    whole(data, width, height)
}

fn decode_raw(picture: &Picture) -> Result<Pixels, String> {
    let (width, height) = check_size(picture.width as usize, picture.height as usize)?;
    let bytes = &picture.bytes;
    let data = match picture.pixel_format {
        PixelFormat::Rgb24 => bytes.to_vec(),
        PixelFormat::Bgr24 => bytes
            .chunks_exact(3)
            .flat_map(|p| [p[2], p[1], p[0]])
            .collect(),
        PixelFormat::Gray8 => bytes.iter().flat_map(|&y| [y; 3]).collect(),
        PixelFormat::Unspecified => return Err("no pixel format".to_owned()),
    };
    whole(data, width, height)
}

fn whole(data: Vec<u8>, width: u32, height: u32) -> Result<Pixels, String> {
    let expected = u64::from(width) * u64::from(height) * 3;
    match data.len() as u64 == expected {
        true => Ok(Pixels {
            data,
            width,
            height,
        }),
        false => Err(format!(
            "{} bytes of pixels instead of {expected}",
            data.len()
        )),
    }
}

fn encode(pixels: &Pixels) -> Result<Picture, String> {
    let failed = |why: String| format!("it cannot be encoded: {why}");
    let side =
        |side: u32| u16::try_from(side).map_err(|_| failed(format!("{side} pixels wide or high")));
    let (width, height) = (side(pixels.width)?, side(pixels.height)?);
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, JPEG_QUALITY)
        .encode(&pixels.data, width, height, ColorType::Rgb)
        .map_err(|why| failed(why.to_string()))?;
    Ok(Picture {
        codec: Codec::Jpeg,
        bytes: bytes.into(),
        width: pixels.width,
        height: pixels.height,
        pixel_format: PixelFormat::Rgb24,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Content;
    use bytes::Bytes;
    use pipeline::envelope::Kind;
    use pipeline::kafka::TopicPartition;
    use pipeline::picture_code::{self, PictureCode};
    use pipeline::v1::{Box, Detection, Frame, FrameId, Result as StageResult, frame};

    fn render(shot: &Arc<Shot>, variant: Variant) -> Arc<Shot> {
        Renderer::default().shot(shot, variant)
    }

    /// A grey picture that says whose it is, with one box in its results.
    fn shot(codec: Codec, bytes: Vec<u8>, (width, height): (u32, u32)) -> Arc<Shot> {
        let mut frame = Frame {
            id: Some(FrameId::new("cam0", 1, 77)),
            width,
            height,
            content: Some(frame::Content::Inline(bytes.into())),
            results: vec![StageResult {
                detections: vec![Detection {
                    r#box: Some(Box {
                        x: 160.0,
                        y: 120.0,
                        width: 160.0,
                        height: 120.0,
                    }),
                    label: "person".to_owned(),
                    ..Detection::default()
                }],
                ..StageResult::default()
            }],
            ..Frame::default()
        };
        frame.set_codec(codec);
        frame.set_pixel_format(PixelFormat::Bgr24);
        let content = Content::Message(Kind::Frame(frame));
        Arc::new(Shot::new(&TopicPartition::new("t", 0), 0, content))
    }

    fn raw(width: usize, height: usize) -> Vec<u8> {
        let mut data = vec![90; width * height * 3];
        let code = PictureCode::of(&FrameId::new("cam0", 1, 77));
        code.draw(&mut picture_code::Pixels {
            data: &mut data[..],
            width,
            height,
            channels: 3,
        });
        data
    }

    fn jpeg(width: u32, height: u32) -> Vec<u8> {
        let pixels = Pixels {
            data: raw(width as usize, height as usize),
            width,
            height,
        };
        encode(&pixels).unwrap().bytes.to_vec()
    }

    fn code_in(shot: &Shot) -> Option<PictureCode> {
        let picture = shot.picture().expect("a picture");
        assert_eq!(picture.codec, Codec::Jpeg);
        let pixels = decode(picture).expect("what was encoded can be decoded");
        PictureCode::read(&picture_code::Pixels {
            data: &pixels.data[..],
            width: pixels.width as usize,
            height: pixels.height as usize,
            channels: 3,
        })
    }

    fn variant(size: &str, overlay: bool) -> Variant {
        Variant::parse(Some(size), overlay).unwrap()
    }

    #[test]
    fn a_smaller_picture_is_the_same_picture() {
        let expected = Some(PictureCode::of(&FrameId::new("cam0", 1, 77)));
        let full = shot(Codec::Jpeg, jpeg(640, 480), (640, 480));
        for size in ["160", "320"] {
            let small = render(&full, variant(size, false));
            let width = small.picture().map(|picture| picture.width.to_string());
            assert_eq!(width.as_deref(), Some(size));
            assert_eq!(code_in(&small), expected, "{size}");
        }
        let same = render(&full, variant("1280", false));
        assert!(
            Arc::ptr_eq(&same, &full),
            "nothing is done to what fits already"
        );
    }

    #[test]
    fn raw_pixels_become_something_that_browsers_show() {
        let made = render(
            &shot(Codec::Raw, raw(320, 240), (320, 240)),
            Variant::ORIGINAL,
        );
        assert_eq!(
            code_in(&made),
            Some(PictureCode::of(&FrameId::new("cam0", 1, 77)))
        );
    }

    #[test]
    fn boxes_are_drawn_where_they_are_at_every_size() {
        let full = shot(Codec::Jpeg, jpeg(640, 480), (640, 480));
        for (size, across) in [("640", 1.0), ("320", 0.5)] {
            let made = render(&full, variant(size, true));
            let pixels = decode(made.picture().unwrap()).unwrap();
            let colour_at = |x: f64, y: f64| {
                let (x, y) = ((x * across) as usize, (y * across) as usize);
                let at = (y * pixels.width as usize + x) * 3;
                [pixels.data[at], pixels.data[at + 1], pixels.data[at + 2]]
            };
            let is_grey = |[r, g, b]: [u8; 3]| r.abs_diff(g) < 25 && g.abs_diff(b) < 25;
            assert!(!is_grey(colour_at(161.0, 200.0)), "the left edge at {size}");
            assert!(is_grey(colour_at(240.0, 200.0)), "the middle at {size}");
        }
    }

    #[test]
    fn hostile_pictures_are_refused_with_the_reason() {
        let mut cut = jpeg(64, 64);
        cut.truncate(cut.len() / 2);
        for (codec, bytes, size) in [
            (Codec::Jpeg, cut, (64, 64)),
            (Codec::Jpeg, b"\xff\xd8\xff\xd9".to_vec(), (64, 64)),
            (Codec::Png, b"\x89PNG\r\n\x1a\n".to_vec(), (64, 64)),
            (Codec::Raw, vec![0; 12], (64, 64)),
            (Codec::Raw, vec![0; 12], (100_000, 100_000)),
            (Codec::H264, vec![0; 12], (64, 64)),
        ] {
            let picture = Picture {
                codec,
                bytes: Bytes::from(bytes),
                width: size.0,
                height: size.1,
                pixel_format: PixelFormat::Bgr24,
            };
            assert!(decode(&picture).is_err(), "{codec:?}");
        }
    }
}
