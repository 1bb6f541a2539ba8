//! What the detectors see in pictures: drawn here, or real.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what tests call

use bytes::Bytes;
use opencv::{
    core::{self, CV_8UC3, Mat, Point, Rect, Scalar, Size, Vector},
    imgcodecs, imgproc,
    prelude::*,
};
use processor_proto::{
    BlockingProcessor, ProcessError,
    v1::{Codec, Detection, Frame, FrameId, PixelFormat, frame::Content},
};
use processors::{
    blur::Blur,
    faces::Faces,
    hardware::Hardware,
    motion::{MAX_SOURCES, Motion},
    people::People,
    picture::{DEFAULT_MAX_PIXELS, Decoder},
    resize::{LABEL, Resize, Target},
};

const DECODER: Decoder = Decoder {
    max_pixels: DEFAULT_MAX_PIXELS,
};

fn frame(sequence: u64, (width, height): (u32, u32), jpeg: impl Into<Bytes>) -> Frame {
    Frame {
        id: Some(FrameId::new("cam0", 1, sequence)),
        codec: Codec::Jpeg.into(),
        pixel_format: PixelFormat::Bgr24.into(),
        width,
        height,
        content: Some(Content::Inline(jpeg.into())),
        ..Frame::default()
    }
}

fn jpeg_of(mat: &Mat) -> Vec<u8> {
    let mut jpeg = Vector::new();
    imgcodecs::imencode(".jpg", mat, &mut jpeg, &Vector::new()).unwrap();
    jpeg.into()
}

fn grey(width: i32, height: i32, level: f64) -> Mat {
    Mat::new_rows_cols_with_default(height, width, CV_8UC3, Scalar::all(level)).unwrap()
}

/// The real photograph; people stand at about these places (centre, pixels).
fn street() -> (Frame, [(f32, f32); 4]) {
    let jpeg = include_bytes!("../testdata/people.jpg");
    let people = [
        (616.0, 256.0),
        (664.0, 240.0),
        (409.0, 372.0),
        (656.0, 360.0),
    ];
    (frame(0, (768, 576), &jpeg[..]), people)
}

fn detections(processor: &impl BlockingProcessor, frame: &Frame) -> Vec<Detection> {
    let mut seen = vec![];
    let processed = processor.process(frame).unwrap();
    seen.extend_from_slice(processed.seen());
    seen
}

fn holds(detection: &Detection, (x, y): (f32, f32)) -> bool {
    let b = detection.r#box.unwrap();
    (b.x..b.x + b.width).contains(&x) && (b.y..b.y + b.height).contains(&y)
}

#[test]
fn people_on_a_street_are_found_and_little_else() {
    let (frame, people) = street();
    let found = detections(&People::new(768, DECODER).unwrap(), &frame);
    for person in people {
        assert!(
            found.iter().any(|f| holds(f, person)),
            "{person:?}: {found:#?}"
        );
    }
    assert!(found.len() <= people.len() + 1, "{found:#?}");
    assert!(
        found
            .iter()
            .all(|f| f.label == "person" && (0.5..=1.0).contains(&f.confidence))
    );
}

#[test]
fn the_same_picture_always_gets_the_same_people() {
    let people = People::new(768, DECODER).unwrap();
    let (frame, _) = street();
    assert_eq!(
        people.process(&frame).unwrap().seen(),
        people.process(&frame).unwrap().seen()
    );
}

#[test]
fn people_in_a_picture_smaller_than_the_detector_are_none() {
    let people = People::new(768, DECODER).unwrap();
    let tiny = frame(0, (40, 300), jpeg_of(&grey(40, 300, 90.0)));
    assert!(detections(&people, &tiny).is_empty());
}

fn ellipse(mat: &mut Mat, centre: (i32, i32), axes: (i32, i32), level: f64) {
    let (centre, axes) = (Point::new(centre.0, centre.1), Size::new(axes.0, axes.1));
    let colour = Scalar::all(level);
    imgproc::ellipse(
        mat,
        centre,
        axes,
        0.0,
        0.0,
        360.0,
        colour,
        -1,
        imgproc::LINE_8,
        0,
    )
    .unwrap();
}

/// A face as the cascade knows faces: dark hair, eyes and mouth, a bright nose and cheeks.
fn drawn_face(x: i32, y: i32) -> Mat {
    let mut mat = grey(640, 480, 90.0);
    ellipse(&mut mat, (x, y - 20), (62, 70), 40.0);
    ellipse(&mut mat, (x, y + 5), (50, 66), 190.0);
    for side in [-1, 1] {
        ellipse(&mut mat, (x + side * 20, y - 12), (13, 8), 110.0);
        ellipse(&mut mat, (x + side * 20, y - 10), (9, 5), 50.0);
        ellipse(&mut mat, (x + side * 20, y - 26), (12, 3), 60.0);
    }
    ellipse(&mut mat, (x, y + 5), (6, 16), 220.0);
    ellipse(&mut mat, (x, y + 20), (10, 4), 130.0);
    ellipse(&mut mat, (x, y + 40), (20, 6), 90.0);
    let mut soft = Mat::default();
    imgproc::gaussian_blur_def(&mat, &mut soft, Size::new(7, 7), 0.0).unwrap();
    soft
}

#[test]
fn a_face_is_found_where_it_is() {
    let faces = Faces::new(None, 640, DECODER).unwrap();
    let found = detections(
        &faces,
        &frame(0, (640, 480), jpeg_of(&drawn_face(400, 200))),
    );
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(holds(&found[0], (400.0, 200.0)));
    assert_eq!(found[0].label, "face");
    assert!((0.5..1.0).contains(&found[0].confidence));
}

fn blur() -> Blur {
    Blur {
        faces: Faces::new(None, 640, DECODER).unwrap(),
        quality: 95,
        decoder: DECODER,
    }
}

/// The largest difference of two pictures in any channel of a pixel here.
fn difference(one: &Mat, other: &Mat, place: Rect) -> f64 {
    let parts = [one, other].map(|mat| Mat::roi(mat, place).unwrap());
    opencv::core::norm2(
        &parts[0],
        &parts[1],
        opencv::core::NORM_INF,
        &Mat::default(),
    )
    .unwrap()
}

#[test]
fn a_blurred_face_is_found_no_more_and_the_rest_of_the_picture_stays() {
    let before = drawn_face(400, 200);
    let processed = blur()
        .process(&frame(0, (640, 480), jpeg_of(&before)))
        .unwrap();
    assert_eq!(processed.seen().len(), 1, "where it was is told");
    let picture = processed.new_picture().unwrap();
    assert_eq!((picture.width, picture.height), (640, 480));
    let after = frame(0, (640, 480), picture.content.clone());
    let faces = Faces::new(None, 640, DECODER).unwrap();
    assert!(detections(&faces, &after).is_empty());

    let content: Vector<u8> = picture.content.to_vec().into();
    let after = imgcodecs::imdecode(&content, imgcodecs::IMREAD_COLOR).unwrap();
    // Blurred cells keep their mean: eyes are as good as gone, the yard beside the head is as it was.
    let (left_eye, beside) = (Rect::new(372, 185, 16, 12), Rect::new(0, 0, 250, 480));
    assert!(difference(&before, &after, left_eye) > 30.0);
    assert!(difference(&before, &after, beside) < 8.0);
}

#[test]
fn a_face_at_the_edge_is_blurred_as_far_as_it_is_in_the_picture() {
    let whole = drawn_face(400, 200);
    let window = Rect::new(0, 130, 452, 140); // cuts hair, chin and an ear off
    let cut = Mat::roi(&whole, window).unwrap().try_clone().unwrap();
    let seen = frame(0, (452, 140), jpeg_of(&cut));
    let processed = blur().process(&seen).unwrap();
    let found = processed.seen().len();
    assert_eq!(processed.new_picture().is_some(), found > 0);
    assert_eq!(found, 1, "the test's face is still one to the cascade");
}

#[test]
fn a_picture_without_faces_stays_as_it_is() {
    let empty = frame(0, (640, 480), jpeg_of(&grey(640, 480, 90.0)));
    assert!(blur().process(&empty).unwrap().new_picture().is_none());
}

#[test]
fn a_file_that_is_no_cascade_is_named_with_the_next_step() {
    for path in ["/nowhere/face.xml", file!(), env!("CARGO_MANIFEST_DIR")] {
        let error = Faces::new(Some(path.into()), 640, DECODER);
        let error = error.err().unwrap().to_string();
        assert!(
            error.contains(path) && error.contains("--cascade"),
            "{error}"
        );
    }
}

/// A grey yard, and a bright square that walks through it from the left.
fn yard(sequence: u64, at: Option<i32>) -> Frame {
    let mut mat = grey(640, 480, 80.0);
    if let Some(x) = at {
        let square = Rect::new(x, 200, 60, 90);
        imgproc::rectangle(
            &mut mat,
            square,
            Scalar::all(220.0),
            imgproc::FILLED,
            imgproc::LINE_8,
            0,
        )
        .unwrap();
    }
    frame(sequence, (640, 480), jpeg_of(&mat))
}

#[test]
fn what_moves_is_found_once_the_background_is_known() {
    let motion = Motion::new(320, DECODER);
    for sequence in 0..20 {
        assert!(detections(&motion, &yard(sequence, None)).is_empty());
    }
    for (step, x) in [100, 200, 300].into_iter().enumerate() {
        let found = detections(&motion, &yard(20 + step as u64, Some(x)));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(holds(&found[0], (x as f32 + 30.0, 245.0)));
    }
}

#[test]
fn a_late_frame_and_a_retry_teach_the_background_nothing() {
    let runs = [1, 40].map(|times| {
        let motion = Motion::new(320, DECODER);
        for sequence in 0..10 {
            detections(&motion, &yard(sequence, None));
        }
        for _ in 0..times {
            detections(&motion, &yard(5, Some(100)));
        }
        detections(&motion, &yard(10, Some(100)))
    });
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[0].len(), 1);
}

#[test]
fn each_source_has_its_own_background_and_the_oldest_are_forgotten() {
    let motion = Motion::new(320, DECODER);
    let of_source = |number: usize, sequence, at| {
        let mut frame = yard(sequence, at);
        frame.id = Some(FrameId::new(format!("cam{number}"), 1, sequence));
        motion.process(&frame).unwrap()
    };
    let is_new = |processed: processor_proto::Processed| processed.seen().is_empty();
    assert!(is_new(of_source(0, 0, None)));
    assert!(!is_new(of_source(0, 1, Some(100))));
    for number in 1..=MAX_SOURCES.get() {
        assert!(is_new(of_source(number, 0, Some(100))));
    }
    // Forgotten: the square is part of the new background.
    assert!(is_new(of_source(0, 2, Some(100))));
}

#[test]
fn a_resized_picture_has_the_size_asked_for() {
    let (street, _) = street();
    for (target, size) in [
        (
            Target::Size {
                width: 100,
                height: 50,
            },
            (100, 50),
        ),
        (Target::Scale(0.5), (384, 288)),
        (Target::Scale(1.5), (1152, 864)),
    ] {
        let resize = Resize {
            target,
            quality: 80,
            decoder: DECODER,
            hardware: Hardware::Cpu,
        };
        let processed = resize.process(&street).unwrap();
        let picture = processed.new_picture().unwrap();
        assert_eq!((picture.width, picture.height), size);
        assert_eq!(picture.codec(), Codec::Jpeg);
        let back = frame(0, size, picture.content.clone());
        let again = Resize {
            target: Target::Scale(1.0),
            ..resize.clone()
        };
        assert!(again.process(&back).is_ok());
    }
}

/// Differences of pixels between two JPEGs of one size: mean and largest.
fn byte_differences(one: &[u8], other: &[u8]) -> (f64, f64) {
    let decode = |jpeg: &[u8]| imgcodecs::imdecode(&jpeg, imgcodecs::IMREAD_COLOR).unwrap();
    let (one, other) = (decode(one), decode(other));
    let mut difference = Mat::default();
    core::absdiff(&one, &other, &mut difference).unwrap();
    let mean: f64 = core::mean_def(&difference)
        .unwrap()
        .iter()
        .take(3)
        .sum::<f64>()
        / 3.0;
    let largest = difference.data_bytes().unwrap().iter().max().copied();
    (mean, f64::from(largest.unwrap()))
}

/// Where there is no OpenCL device there is nothing to compare: `OPENCV_OPENCL_DEVICE=:CPU:` with the package
/// pocl-opencl-icd makes one of any machine.
#[test]
fn opencl_makes_the_same_picture_as_the_cpu() {
    let cpu = Resize {
        target: Target::Scale(0.3),
        quality: 95,
        decoder: DECODER,
        hardware: Hardware::Cpu,
    };
    let opencl = Resize {
        hardware: Hardware::find().unwrap(),
        ..cpu.clone()
    };
    if opencl.hardware == Hardware::Cpu {
        eprintln!("SKIPPED: there is no OpenCL device here");
        return;
    }
    for scale in [0.3, 0.7, 1.5] {
        let picture = |resize: &Resize| {
            let resize = Resize {
                target: Target::Scale(scale),
                ..resize.clone()
            };
            let processed = resize.process(&street().0).unwrap();
            processed.new_picture().unwrap().content.clone()
        };
        let (mean, largest) = byte_differences(&picture(&cpu), &picture(&opencl));
        assert!(mean < 0.5 && largest < 16.0, "{scale}: {mean} {largest}");
    }
}

#[test]
fn a_raw_frame_is_resized_as_its_jpeg_is() {
    let resize = Resize {
        target: Target::Scale(0.5),
        quality: 95,
        decoder: DECODER,
        hardware: Hardware::Cpu,
    };
    let jpeg = street().0;
    let pixels = imgcodecs::imdecode(&jpeg.inline().unwrap().as_ref(), imgcodecs::IMREAD_COLOR);
    let pixels = Bytes::copy_from_slice(pixels.unwrap().data_bytes().unwrap());
    let raw = Frame {
        codec: Codec::Raw.into(),
        ..frame(0, (768, 576), pixels)
    };
    let picture = |frame: &Frame| {
        let processed = resize.process(frame).unwrap();
        processed.new_picture().unwrap().content.clone()
    };
    // Decoding to half the size in the transform is no exact mean of the pixels.
    let (mean, _) = byte_differences(&picture(&jpeg), &picture(&raw));
    assert!(mean < 2.0, "{mean}");
}

#[test]
fn a_frame_may_ask_for_its_own_size_by_a_label() {
    let resize = Resize {
        target: Target::Scale(0.5),
        quality: 80,
        decoder: DECODER,
        hardware: Hardware::Cpu,
    };
    let wish = |text: &str| {
        let mut frame = street().0;
        frame.labels.insert(LABEL.into(), text.into());
        resize.process(&frame)
    };
    for (text, size) in [("100x50", (100, 50)), ("0.25", (192, 144))] {
        let processed = wish(text).unwrap();
        let picture = processed.new_picture().unwrap();
        assert_eq!((picture.width, picture.height), size, "{text}");
    }
    for text in [
        "",
        "small",
        "0",
        "-1",
        "17",
        "10x0",
        "nan",
        &"9".repeat(1000),
    ] {
        let error = wish(text).unwrap_err();
        assert!(matches!(error, ProcessError::InvalidFrame(_)), "{error}");
        let said = error.to_string();
        assert!(said.contains("label resize") && said.len() < 200, "{said}");
    }
}

#[test]
fn a_scale_that_would_make_a_giant_is_refused() {
    let resize = Resize {
        target: Target::Scale(16.0),
        quality: 80,
        decoder: DECODER,
        hardware: Hardware::Cpu,
    };
    let error = resize.process(&street().0).unwrap_err();
    assert!(matches!(error, ProcessError::InvalidFrame(_)), "{error}");
}

#[test]
fn a_broken_picture_is_invalid_for_every_detector() {
    let (mut street, _) = street();
    let whole = street.inline().unwrap().clone();
    street.content = Some(Content::Inline(whole.slice(..whole.len() / 2)));
    let refused =
        |processor: &dyn Fn(&Frame) -> Result<processor_proto::Processed, ProcessError>| {
            let error = processor(&street).unwrap_err();
            assert!(matches!(error, ProcessError::InvalidFrame(_)), "{error}");
        };
    let people = People::new(640, DECODER).unwrap();
    let faces = Faces::new(None, 640, DECODER).unwrap();
    let motion = Motion::new(320, DECODER);
    refused(&|frame| people.process(frame));
    refused(&|frame| faces.process(frame));
    refused(&|frame| motion.process(frame));
    refused(&|frame| blur().process(frame));
}
