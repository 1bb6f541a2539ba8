//! Draws a frame's results into its picture: boxes, what is in them, whose frame it is, and what went wrong.

use crate::track::sources;
use crate::trails::Trail;
use opencv::core::{Mat, MatTraitConst, Point, Rect, Scalar};
use opencv::imgproc;
use pipeline::overlay::{
    Area, Captions, MAX_DETECTIONS, ascii, caption_of, colour_of, colour_of_number, ink_on,
};
use pipeline::v1::{Detection, Frame, Result as StageResult, Status};

const FONT: i32 = imgproc::FONT_HERSHEY_SIMPLEX;
const WHITE: Scalar = Scalar::new(255.0, 255.0, 255.0, 0.0);
const BLACK: Scalar = Scalar::new(0.0, 0.0, 0.0, 0.0);
const RED: Scalar = Scalar::new(60.0, 60.0, 255.0, 0.0);

/// What is written of a frame at most. Nobody reads more, and a hostile record holds millions.
const MAX_LINES: usize = 100;
const MAX_CHARACTERS: usize = 120;
/// What is said of the whole picture, of one result.
const MAX_OF_ALL: usize = 3;

/// Sizes that fit the picture.
struct Pen {
    scale: f64,
    thickness: i32,
    line_px: i32,
}

impl Pen {
    fn for_picture(picture: &Mat) -> Self {
        let factor = (f64::from(picture.rows()) / 720.0).clamp(0.5, 3.0);
        Self {
            scale: 0.6 * factor,
            thickness: (2.0 * factor).round() as i32,
            line_px: (26.0 * factor) as i32,
        }
    }

    /// How thick letters are, and with their dark edge.
    fn strokes(&self) -> (i32, i32) {
        let inner = (self.thickness / 2).max(1);
        (inner, inner + 2)
    }
}

/// Draws everything that is known of the frame.
pub fn draw(picture: &mut Mat, frame: &Frame) -> opencv::Result<()> {
    let pen = Pen::for_picture(picture);
    let id = frame.id.as_ref().map(ToString::to_string);
    let title = format!("{}  {}", id.unwrap_or_default(), time_of(frame));
    let mut lines = vec![(title, WHITE)];
    lines.extend(frame.results.iter().take(MAX_LINES).map(describe));
    let mut captions = Captions::new(picture.cols().into(), picture.rows().into());
    let mut written = Vec::new();
    for (number, (text, colour)) in (0..).zip(lines) {
        let line = Line::new(&text, &pen)?;
        let area = line.area_at(8, pen.line_px * number, &pen);
        captions.keep_free(area);
        written.push((line, area, colour));
    }
    let detections = frame.results.iter().flat_map(|result| &result.detections);
    for detection in detections.take(MAX_DETECTIONS) {
        draw_detection(picture, detection, &mut captions, &pen)?;
    }
    for (line, area, colour) in written {
        line.write(picture, area, colour, Edge::Dark, &pen)?;
    }
    Ok(())
}

/// Draws where tracked objects came from; older parts are thinner. Call it before [`draw`], so that boxes lie above.
pub fn draw_trails(picture: &mut Mat, trails: &[Trail]) -> opencv::Result<()> {
    let thickness = Pen::for_picture(picture).thickness;
    for trail in trails {
        let colour = scalar(colour_of_number(trail.track_id));
        let newer = trail.places.iter().skip(1);
        for (at, (from, to)) in trail.places.iter().zip(newer).enumerate() {
            let (Some(from), Some(to)) = (point_at(*from), point_at(*to)) else {
                continue;
            };
            let is_older_half = at < trail.places.len() / 2;
            let width = if is_older_half {
                (thickness / 2).max(1)
            } else {
                thickness
            };
            imgproc::line(picture, from, to, colour, width, imgproc::LINE_AA, 0)?;
        }
    }
    Ok(())
}

/// None for places out of reach of any picture (OpenCV counts in 32 bits).
fn point_at((x, y): (f32, f32)) -> Option<Point> {
    let is_sane = [x, y].iter().all(|v| v.is_finite() && v.abs() < 1e6);
    is_sane.then(|| Point::new(x as i32, y as i32))
}

fn time_of(frame: &Frame) -> String {
    jiff::Timestamp::from_nanosecond(frame.capture_time_unix_ns.into())
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string())
        .unwrap_or_default()
}

/// One line a stage; what is not OK is red.
fn describe(result: &StageResult) -> (String, Scalar) {
    if result.status() == Status::Ok {
        // A tracker sees nothing itself: it says how many it follows.
        let followed = sources::followed(result).map(|count| count as usize);
        let found = followed.unwrap_or(result.detections.len());
        let of_all: Vec<String> = (result.detections.iter())
            .filter(|detection| detection.r#box.is_none())
            .map(caption_of)
            .take(MAX_OF_ALL)
            .collect();
        let text = match of_all.is_empty() {
            true => format!("{}: {found}", result.processor),
            false => format!("{}: {}", result.processor, of_all.join(", ")),
        };
        return (text, WHITE);
    }
    let (processor, status) = (&result.processor, result.status().word());
    let text = match result.error.lines().next() {
        None | Some("") => format!("{processor}: {status}"),
        Some(error) => {
            let error: String = error.chars().take(80).collect();
            format!("{processor}: {status}: {error}")
        }
    };
    (text, RED)
}

fn draw_detection(
    picture: &mut Mat,
    detection: &Detection,
    captions: &mut Captions,
    pen: &Pen,
) -> opencv::Result<()> {
    let own = colour_of(detection);
    let colour = scalar(own);
    let Some(rect) = rect_of(detection) else {
        return Ok(()); // a detection of the whole picture, or one whose box is no box
    };
    imgproc::rectangle(picture, rect, colour, pen.thickness, imgproc::LINE_8, 0)?;
    let caption = Line::new(&caption_of(detection), pen)?;
    let of = Area {
        left: rect.x.into(),
        top: rect.y.into(),
        right: i64::from(rect.x) + i64::from(rect.width),
        bottom: i64::from(rect.y) + i64::from(rect.height),
    };
    let size = (caption.width_px.into(), pen.line_px.into());
    if !caption.text.is_empty()
        && let Some(area) = captions.place(of, size)
    {
        let bar = Rect::new(
            area.left as i32,
            area.top as i32,
            caption.width_px,
            pen.line_px,
        );
        imgproc::rectangle(picture, bar, colour, imgproc::FILLED, imgproc::LINE_8, 0)?;
        caption.write(picture, area, scalar(ink_on(own)), Edge::None, pen)?;
    }
    Ok(())
}

/// None for boxes that are empty or not in reach of any picture (OpenCV counts in 32 bits).
fn rect_of(detection: &Detection) -> Option<Rect> {
    let b = detection.r#box.as_ref()?;
    let is_sane = [b.x, b.y, b.width, b.height]
        .iter()
        .all(|v| v.is_finite() && v.abs() < 1e6);
    let rect = Rect::new(b.x as i32, b.y as i32, b.width as i32, b.height as i32);
    (is_sane && rect.width > 0 && rect.height > 0).then_some(rect)
}

/// As OpenCV takes it: blue, green, red.
fn scalar([red, green, blue]: [u8; 3]) -> Scalar {
    Scalar::new(blue.into(), green.into(), red.into(), 0.0)
}

/// Text as it can be drawn: ASCII, no control characters (OpenCV takes no text with a NUL in it), and not without end.
pub fn drawable(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let short: String = text.chars().take(MAX_CHARACTERS).map(visible).collect();
    let mut text = ascii(&short);
    text.truncate(MAX_CHARACTERS);
    text
}

/// What is around letters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    None,
    /// To be read on any background.
    Dark,
}

/// A text that can be drawn.
struct Line {
    text: String,
    width_px: i32,
}

impl Line {
    fn new(text: &str, pen: &Pen) -> opencv::Result<Self> {
        let text = drawable(text);
        let (_, edge) = pen.strokes();
        let size = imgproc::get_text_size(&text, FONT, pen.scale, edge, &mut 0)?;
        Ok(Self {
            text,
            width_px: size.width,
        })
    }

    fn area_at(&self, left: i32, top: i32, pen: &Pen) -> Area {
        Area {
            left: left.into(),
            top: top.into(),
            right: i64::from(left) + i64::from(self.width_px),
            bottom: i64::from(top + pen.line_px),
        }
    }

    fn write(
        &self,
        picture: &mut Mat,
        area: Area,
        colour: Scalar,
        edge: Edge,
        pen: &Pen,
    ) -> opencv::Result<()> {
        let (text, scale) = (&self.text, pen.scale);
        let (inner, outer) = pen.strokes();
        // The letters stand on a line at three quarters of theirs.
        let at = Point::new(area.left as i32, area.top as i32 + pen.line_px * 3 / 4);
        let line = imgproc::LINE_AA;
        if edge == Edge::Dark {
            imgproc::put_text(picture, text, at, FONT, scale, BLACK, outer, line, false)?;
        }
        imgproc::put_text(picture, text, at, FONT, scale, colour, inner, line, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencv::core::{CV_8UC3, MatTraitConstManual};
    use pipeline::v1::{Box, FrameId};

    fn picture() -> Mat {
        Mat::new_rows_cols_with_default(240, 320, CV_8UC3, Scalar::all(90.0)).unwrap()
    }

    fn detection(x: f32, width: f32) -> Detection {
        Detection {
            r#box: Some(Box {
                x,
                y: 100.0,
                width,
                height: 50.0,
            }),
            label: "person".to_owned(),
            confidence: 0.5,
            track_id: 3,
            text: "A1".to_owned(),
        }
    }

    #[test]
    fn boxes_are_drawn_where_they_are_and_mad_ones_do_no_harm() {
        let mut result = StageResult {
            processor: "people".to_owned(),
            status: Status::Ok.into(),
            ..StageResult::default()
        };
        let mad = [f32::NAN, f32::INFINITY, -1e30, 1e30, -500.0, 5_000.0];
        result.detections = mad.iter().map(|&x| detection(x, 100.0)).collect();
        result.detections.push(detection(50.0, -3.0));
        result.detections.push(detection(50.0, 100.0));
        let frame = Frame {
            id: Some(FrameId::new("cam0", 1, 2)),
            results: vec![result],
            ..Frame::default()
        };
        let mut picture = picture();
        draw(&mut picture, &frame).unwrap();
        let bytes = picture.data_bytes().unwrap();
        let at = (125 * 320 + 50) * 3; // the left edge of the sane box
        let [red, green, blue] = colour_of_number(3);
        assert_eq!(&bytes[at..at + 3], &[blue, green, red]);
    }

    #[test]
    fn text_of_a_stranger_is_drawn_as_far_as_it_can_be() {
        assert_eq!(drawable("a\0b\nc"), "a b c");
        assert_eq!(drawable(&"x".repeat(1 << 20)).len(), MAX_CHARACTERS);
        let mut result = StageResult {
            processor: "a\0b".to_owned(),
            status: Status::Ok.into(),
            ..StageResult::default()
        };
        let mut labelled = detection(1.0, 9.0);
        labelled.label = "\0".to_owned();
        result.detections = vec![labelled; 3];
        let frame = Frame {
            results: vec![result],
            ..Frame::default()
        };
        draw(&mut picture(), &frame).unwrap();
    }

    #[test]
    fn what_is_said_of_the_whole_picture_is_written() {
        let mut result = StageResult {
            processor: "bright".to_owned(),
            status: Status::Ok.into(),
            ..StageResult::default()
        };
        assert_eq!(describe(&result).0, "bright: 0");
        result.detections = vec![Detection {
            label: "day".to_owned(),
            confidence: 0.75,
            ..Detection::default()
        }];
        assert_eq!(describe(&result).0, "bright: day 0.75");
        result.detections = vec![detection(1.0, 9.0); 4];
        assert_eq!(describe(&result).0, "bright: 4");
    }

    #[test]
    fn what_is_not_ok_is_red_and_says_why() {
        let result = StageResult {
            processor: "people".to_owned(),
            status: Status::Timeout.into(),
            error: "no answer\nin time".to_owned(),
            ..StageResult::default()
        };
        let (text, colour) = describe(&result);
        assert_eq!((text.as_str(), colour), ("people: timeout: no answer", RED));
    }
}
