//! A picture in place of one that is not there: it says why.

use crate::delivery::{Content, Delivery};
use crate::overlay;
use opencv::core::{CV_8UC3, Mat, Point, Scalar};
use opencv::imgproc;
use pipeline::envelope::Kind;
use pipeline::v1::Gap;

/// What a record without a frame stands for, in words.
pub fn reason(delivery: &Delivery) -> String {
    match &delivery.content {
        Content::Message(message) => match &**message {
            Kind::Gap(gap) => describe(gap),
            Kind::Frame(_) | Kind::End(_) => String::new(),
        },
        Content::Undecodable(why) => format!("not a frame: {why}"),
        Content::Absent { why, .. } => why.clone(),
    }
}

fn describe(gap: &Gap) -> String {
    let reason = gap.reason().word();
    match gap.count {
        0 => format!("frames missing: {reason}"),
        1 => format!("1 frame missing: {reason}"),
        count => format!("{count} frames missing: {reason}"),
    }
}

/// A dark picture of the frame's size with the reason on it.
pub fn draw(delivery: &Delivery, why: &str) -> opencv::Result<Mat> {
    const DEFAULT: (u32, u32) = (640, 480);
    let (width, height) = delivery
        .frame()
        .map(|frame| (frame.width, frame.height))
        .filter(|&(width, height)| (64..=8192).contains(&width) && (64..=8192).contains(&height))
        .unwrap_or(DEFAULT);
    let (rows, cols) = (height as i32, width as i32);
    let background = Scalar::new(40.0, 40.0, 40.0, 0.0);
    let mut picture = Mat::new_rows_cols_with_default(rows, cols, CV_8UC3, background)?;
    let who = match &delivery.content {
        Content::Absent { source, .. } => source.to_string(),
        _ => {
            let id = delivery.message().and_then(Kind::id);
            id.map_or_else(|| delivery.place(), ToString::to_string)
        }
    };
    for (line, text) in [who.as_str(), why].into_iter().enumerate() {
        write_centred(&mut picture, text, (cols, rows), line as i32)?;
    }
    Ok(picture)
}

/// Shrinks the text to the width of the picture.
fn write_centred(
    picture: &mut Mat,
    text: &str,
    (cols, rows): (i32, i32),
    line: i32,
) -> opencv::Result<()> {
    const FONT: i32 = imgproc::FONT_HERSHEY_SIMPLEX;
    let text = overlay::drawable(text);
    let mut baseline = 0;
    let natural = imgproc::get_text_size(&text, FONT, 1.0, 1, &mut baseline)?;
    let scale = (f64::from(cols) * 0.9 / f64::from(natural.width.max(1))).min(0.8);
    let size = imgproc::get_text_size(&text, FONT, scale, 1, &mut baseline)?;
    let at = Point::new((cols - size.width) / 2, rows / 2 + line * 30);
    let red = Scalar::new(80.0, 80.0, 255.0, 0.0);
    imgproc::put_text(
        picture,
        &text,
        at,
        FONT,
        scale,
        red,
        1,
        imgproc::LINE_AA,
        false,
    )
}
