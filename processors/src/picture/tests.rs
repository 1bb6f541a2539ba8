use bytes::Bytes;
use opencv::{
    core::{CV_8UC3, Scalar},
    prelude::MatTraitConstManual,
};
use processor_proto::v1::{FrameId, frame::Content};
use proptest::prelude::*;

use super::*;

const DECODER: Decoder = Decoder {
    max_pixels: DEFAULT_MAX_PIXELS,
};
const WIDTH: u32 = 64;
const HEIGHT: u32 = 48;

fn frame(codec: Codec, content: impl Into<Bytes>) -> Frame {
    Frame {
        id: Some(FrameId::new("cam0", 1, 0)),
        codec: codec.into(),
        pixel_format: PixelFormat::Bgr24.into(),
        width: WIDTH,
        height: HEIGHT,
        content: Some(Content::Inline(content.into())),
        ..Frame::default()
    }
}

/// Blue, with a red upper left quarter.
fn image() -> Mat {
    let (rows, columns) = (HEIGHT.cast_signed(), WIDTH.cast_signed());
    let blue = Scalar::new(200.0, 0.0, 0.0, 0.0);
    let mut image = Mat::new_rows_cols_with_default(rows, columns, CV_8UC3, blue).unwrap();
    let quarter = opencv::core::Rect::new(0, 0, columns / 2, rows / 2);
    let red = Scalar::new(0.0, 0.0, 200.0, 0.0);
    imgproc::rectangle(
        &mut image,
        quarter,
        red,
        imgproc::FILLED,
        imgproc::LINE_8,
        0,
    )
    .unwrap();
    image
}

fn file(extension: &str, parameters: &[i32]) -> Vec<u8> {
    let mut bytes = Vector::new();
    imgcodecs::imencode(
        extension,
        &image(),
        &mut bytes,
        &Vector::from_slice(parameters),
    )
    .unwrap();
    bytes.into()
}

fn jpeg() -> Vec<u8> {
    file(".jpg", &[])
}

fn progressive_jpeg() -> Vec<u8> {
    file(".jpg", &[imgcodecs::IMWRITE_JPEG_PROGRESSIVE, 1])
}

fn decode(frame: &Frame) -> Result<Mat, PictureError> {
    DECODER.decode(frame, Channels::Bgr, Reduce::No)
}

fn pixel(mat: &Mat, x: i32, y: i32) -> [u8; 3] {
    mat.at_2d::<opencv::core::Vec3b>(y, x).unwrap().0
}

#[test]
fn jpeg_png_and_raw_give_their_pixels() {
    let raw = image().data_bytes().unwrap().to_vec();
    let frames = [
        frame(Codec::Jpeg, jpeg()),
        frame(Codec::Jpeg, progressive_jpeg()),
        frame(Codec::Png, file(".png", &[])),
        frame(Codec::Raw, raw),
    ];
    for frame in frames {
        let mat = decode(&frame).unwrap();
        assert_eq!((mat.cols(), mat.rows(), mat.channels()), (64, 48, 3));
        let [_, _, red] = pixel(&mat, 5, 5);
        let [blue, _, _] = pixel(&mat, 60, 40);
        assert!(red > 180 && blue > 180, "{:?}: {red} {blue}", frame.codec());
        let gray = DECODER.decode(&frame, Channels::Gray, Reduce::No).unwrap();
        assert_eq!(gray.channels(), 1);
    }
}

#[test]
fn raw_pixels_in_another_order_are_put_right() {
    let mut frame = frame(Codec::Raw, image().data_bytes().unwrap().to_vec());
    frame.pixel_format = PixelFormat::Rgb24.into();
    assert_eq!(pixel(&decode(&frame).unwrap(), 5, 5), [200, 0, 0]);
    frame.pixel_format = PixelFormat::Gray8.into();
    frame.content = Some(Content::Inline(vec![9; 64 * 48].into()));
    assert_eq!(pixel(&decode(&frame).unwrap(), 5, 5), [9, 9, 9]);
}

#[test]
fn a_reduced_picture_stays_at_least_as_large_as_asked_for() {
    let frame = frame(Codec::Jpeg, jpeg());
    for (least, expected) in [
        ((64, 48), 64),
        ((33, 0), 64),
        ((32, 24), 32),
        ((32, 25), 64),
        ((9, 0), 16),
        ((1, 1), 8),
    ] {
        let (width, height) = least;
        let reduce = Reduce::DownTo { width, height };
        let mat = DECODER.decode(&frame, Channels::Bgr, reduce).unwrap();
        assert_eq!(mat.cols(), expected, "{least:?}");
    }
}

#[test]
fn a_picture_cut_off_anywhere_is_refused() {
    let files = [
        (Codec::Jpeg, jpeg()),
        (Codec::Jpeg, progressive_jpeg()),
        (Codec::Png, file(".png", &[])),
    ];
    for (codec, file) in files {
        for length in 1..file.len() {
            let result = decode(&frame(codec, file[..length].to_vec()));
            assert!(
                result.is_err(),
                "{codec:?}: {length} of {} bytes",
                file.len()
            );
        }
    }
    let raw = vec![0; 64 * 48 * 3 - 1];
    assert!(matches!(
        decode(&frame(Codec::Raw, raw)),
        Err(PictureError::NotWhole(NotWhole::CutOff(_)))
    ));
}

#[test]
fn a_jpeg_cut_off_in_its_pixels_is_named_so_although_its_thumbnail_is_whole() {
    let whole = jpeg();
    // An APP1 segment that holds another JPEG, with an end marker of its own.
    let mut tagged = whole[..2].to_vec();
    tagged.extend([0xFF, 0xE1]);
    tagged.extend(u16::try_from(whole.len() + 2).unwrap().to_be_bytes());
    tagged.extend(&whole);
    tagged.extend(&whole[2..]);
    assert!(decode(&frame(Codec::Jpeg, tagged.clone())).is_ok());
    tagged.truncate(tagged.len() - 40);
    let error = decode(&frame(Codec::Jpeg, tagged)).unwrap_err();
    assert!(
        matches!(error, PictureError::NotWhole(NotWhole::CutOff(_))),
        "{error}"
    );
}

#[test]
fn padding_behind_the_end_is_no_harm() {
    let mut padded = jpeg();
    padded.extend([0; 100]);
    assert!(decode(&frame(Codec::Jpeg, padded)).is_ok());
}

#[test]
fn a_header_of_100_megapixels_is_refused_before_the_decoder_sees_it() {
    // A PNG's first 33 bytes; a JPEG's start, frame header and nothing else.
    let mut png = file(".png", &[])[..33].to_vec();
    png[16..24].copy_from_slice(&[0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10]);
    let jpeg = [
        0xFF, 0xD8, 0xFF, 0xC0, 0, 17, 8, 0x27, 0x10, 0x27, 0x10, 3, 1, 0x11, 0, 2, 0x11, 0, 3,
        0x11, 0, 0xFF, 0xD9,
    ];
    for (codec, content) in [(Codec::Png, png), (Codec::Jpeg, jpeg.to_vec())] {
        let mut bomb = frame(codec, content);
        (bomb.width, bomb.height) = (10_000, 10_000);
        let error = decode(&bomb).unwrap_err();
        assert!(matches!(error, PictureError::TooLarge { .. }), "{error}");
    }
    let mut raw = frame(Codec::Raw, vec![0]);
    (raw.width, raw.height) = (u32::MAX, u32::MAX);
    assert!(matches!(decode(&raw), Err(PictureError::TooLarge { .. })));
}

#[test]
fn a_progressive_jpeg_of_endless_scans_is_refused() {
    let whole = progressive_jpeg();
    let scan = [0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 0, 0x10, 0x55];
    let mut endless = whole[..whole.len() - 2].to_vec();
    endless.extend(scan.repeat(100));
    endless.extend([0xFF, 0xD9]);
    let error = decode(&frame(Codec::Jpeg, endless)).unwrap_err();
    assert!(
        matches!(error, PictureError::NotWhole(NotWhole::TooManyScans(_))),
        "{error}"
    );
}

#[test]
fn what_the_frame_says_must_be_so() {
    let mut other_size = frame(Codec::Jpeg, jpeg());
    other_size.height += 1;
    assert!(matches!(
        decode(&other_size),
        Err(PictureError::OtherSize { .. })
    ));
    let not_the_codec = [
        frame(Codec::Png, jpeg()),
        frame(Codec::Jpeg, file(".png", &[])),
        frame(Codec::Jpeg, file(".bmp", &[])),
        frame(Codec::Jpeg, &b"hello, world"[..]),
        frame(Codec::Jpeg, &b""[..]),
    ];
    for frame in not_the_codec {
        let error = decode(&frame).unwrap_err();
        assert!(matches!(error, PictureError::NotTheCodec { .. }), "{error}");
    }
    assert!(matches!(
        decode(&frame(Codec::H264, jpeg())),
        Err(PictureError::Codec("h264"))
    ));
    let mut missing = frame(Codec::Jpeg, jpeg());
    missing.content = Some(Content::Missing(Default::default()));
    assert!(matches!(
        decode(&missing),
        Err(PictureError::NoContent("missing"))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn damaged_pictures_give_pixels_of_the_frames_size_or_an_error(
        progressive in any::<bool>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut content = if progressive { progressive_jpeg() } else { jpeg() };
        for (at, byte) in damage {
            let at = at.index(content.len());
            content[at] = byte;
        }
        if let Ok(mat) = decode(&frame(Codec::Jpeg, content)) {
            prop_assert_eq!((mat.cols(), mat.rows()), (64, 48));
        }
    }
}

#[test]
fn libjpeg_decodes_nothing_of_another_size_than_the_header_was_found_to_say() {
    for size in [(200, 200), (0, 0)] {
        let decoded = jpeg::decode(&jpeg(), size, Channels::Bgr, 1);
        assert!(matches!(decoded, Err(JpegError::OtherSize((64, 48)))));
    }
}
