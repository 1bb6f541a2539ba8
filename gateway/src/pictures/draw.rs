//! Results drawn into a picture: a box and its caption for each detection.

use super::render::Pixels;
use font8x8::UnicodeFonts;
use pipeline::overlay::{Area, Captions, MAX_DETECTIONS, ascii_of, caption_of, colour_of, ink_on};
use pipeline::v1::Frame;

/// A longer caption covers the picture.
const MAX_CHARACTERS: usize = 60;
/// Pixels of a character's side in the font.
const FONT: i64 = 8;

/// Draws every detection; boxes count in pixels of the frame and are scaled by these factors.
pub(super) fn results(pixels: &mut Pixels, frame: &Frame, (across, down): (f64, f64)) {
    let detections = frame.results.iter().flat_map(|result| &result.detections);
    let pen = i64::from(pixels.height / 360).clamp(1, 6) + 1;
    let mut captions = Captions::new(pixels.width.into(), pixels.height.into());
    for detection in detections.take(MAX_DETECTIONS) {
        let Some(b) = &detection.r#box else { continue };
        let edges = [
            f64::from(b.x) * across,
            f64::from(b.y) * down,
            f64::from(b.x + b.width) * across,
            f64::from(b.y + b.height) * down,
        ];
        // A box that is no box, or out of reach of any picture.
        if !edges
            .iter()
            .all(|edge| edge.is_finite() && edge.abs() < 1e6)
        {
            continue;
        }
        let [left, top, right, bottom] = edges.map(|edge| edge as i64);
        if right <= left || bottom <= top {
            continue;
        }
        let colour = colour_of(detection);
        fill(pixels, (left, top), (right, top + pen), colour);
        fill(pixels, (left, bottom - pen), (right, bottom), colour);
        fill(pixels, (left, top), (left + pen, bottom), colour);
        fill(pixels, (right - pen, top), (right, bottom), colour);
        let of = Area {
            left,
            top,
            right,
            bottom,
        };
        caption(pixels, &mut captions, of, &caption_of(detection), colour);
    }
}

/// On a bar of the box's colour.
fn caption(pixels: &mut Pixels, captions: &mut Captions, of: Area, text: &str, colour: [u8; 3]) {
    let glyphs: Vec<_> = text
        .chars()
        .flat_map(glyphs_of)
        .take(MAX_CHARACTERS)
        .collect();
    if glyphs.is_empty() {
        return;
    }
    let scale = i64::from(pixels.height / 480).clamp(1, 4);
    let width = (glyphs.len() as i64 * FONT + 2) * scale;
    let Some(bar) = captions.place(of, (width, (FONT + 2) * scale)) else {
        return; // the box is out of the picture
    };
    fill(pixels, (bar.left, bar.top), (bar.right, bar.bottom), colour);
    let ink = ink_on(colour);
    for (number, glyph) in (0_i64..).zip(glyphs) {
        let x = bar.left + scale + number * FONT * scale;
        for (row, bits) in (0_i64..).zip(glyph) {
            for column in (0..FONT).filter(|column| bits >> column & 1 == 1) {
                let at = (x + column * scale, bar.top + (row + 1) * scale);
                fill(pixels, at, (at.0 + scale, at.1 + scale), ink);
            }
        }
    }
}

/// Rows of bits, the leftmost pixel first; of a letter that the font lacks, those that it sounds like.
fn glyphs_of(character: char) -> Vec<[u8; 8]> {
    let own = font8x8::BASIC_FONTS
        .get(character)
        .or_else(|| font8x8::LATIN_FONTS.get(character));
    let sound = || ascii_of(character).chars();
    match own {
        Some(glyph) => vec![glyph],
        None => sound()
            .filter_map(|one| font8x8::BASIC_FONTS.get(one))
            .collect(),
    }
}

/// A rectangle, as far as it lies in the picture.
fn fill(pixels: &mut Pixels, from: (i64, i64), to: (i64, i64), colour: [u8; 3]) {
    let (width, height) = (i64::from(pixels.width), i64::from(pixels.height));
    let columns = from.0.clamp(0, width) as usize..to.0.clamp(0, width) as usize;
    let rows = from.1.clamp(0, height) as usize..to.1.clamp(0, height) as usize;
    let stride = pixels.width as usize * 3;
    for row in rows {
        let row = &mut pixels.data[row * stride..(row + 1) * stride];
        if columns.start < columns.end {
            row[columns.start * 3..columns.end * 3]
                .chunks_exact_mut(3)
                .for_each(|pixel| pixel.copy_from_slice(&colour));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::v1::{Box, Detection, Result as StageResult};

    #[test]
    fn mad_boxes_and_strange_texts_do_no_harm() {
        let mad = [f32::NAN, f32::INFINITY, -1e30, 1e30, -500.0, 0.0, 5_000.0];
        let detection = |x: f32, width: f32| Detection {
            r#box: Some(Box {
                x,
                y: x,
                width,
                height: width,
            }),
            label: "a\0ä\u{1F600}".repeat(1_000),
            confidence: f32::NAN,
            ..Detection::default()
        };
        let all = mad
            .iter()
            .flat_map(|&x| mad.iter().map(move |&w| detection(x, w)));
        let frame = Frame {
            results: vec![StageResult {
                detections: all.collect(),
                ..StageResult::default()
            }],
            ..Frame::default()
        };
        for (width, height) in [(1, 1), (64, 48), (1, 2_000)] {
            let mut pixels = Pixels {
                data: vec![90; (width * height * 3) as usize],
                width,
                height,
            };
            results(&mut pixels, &frame, (1.0, 1.0));
            assert_eq!(pixels.data.len(), (width * height * 3) as usize);
        }
    }
}
