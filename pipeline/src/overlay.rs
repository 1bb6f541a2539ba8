//! How a detection looks wherever it is drawn: its caption and its colour. Whoever draws keeps to what it can draw.

use crate::v1::Detection;

/// What is drawn of a frame at most. Nobody looks at more, and a hostile record holds millions.
pub const MAX_DETECTIONS: usize = 1_000;

/// Colours that stay apart on most backgrounds (red, green, blue). The gateway's page uses the same.
const COLOURS: [[u8; 3]; 8] = [
    [230, 25, 75],
    [60, 180, 75],
    [255, 225, 25],
    [0, 130, 200],
    [245, 130, 48],
    [240, 50, 240],
    [70, 240, 240],
    [145, 30, 180],
];

/// Label, track, confidence and text, as far as they are known. As long as its sender made it.
pub fn caption_of(detection: &Detection) -> String {
    let mut caption = detection.label.clone();
    if detection.track_id != 0 {
        caption = format!("{caption} #{}", detection.track_id);
    }
    if detection.confidence > 0.0 {
        caption = format!("{caption} {:.2}", detection.confidence);
    }
    if !detection.text.is_empty() {
        caption = format!("{caption} \"{}\"", detection.text);
    }
    caption
}

/// Red, green and blue: the same for all boxes of a track; of a label where nothing is tracked.
pub fn colour_of(detection: &Detection) -> [u8; 3] {
    match detection.track_id {
        0 => {
            let add = |sum: u64, byte: u8| sum.wrapping_mul(31).wrapping_add(byte.into());
            colour_of_number(detection.label.bytes().fold(7, add))
        }
        track => colour_of_number(track),
    }
}

/// Red, green and blue of a track.
pub fn colour_of_number(number: u64) -> [u8; 3] {
    COLOURS[(number % COLOURS.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_say_label_track_confidence_and_text() {
        let detection = Detection {
            label: "person".to_owned(),
            confidence: 0.5,
            track_id: 3,
            text: "A1".to_owned(),
            ..Detection::default()
        };
        assert_eq!(caption_of(&detection), "person #3 0.50 \"A1\"");
    }

    #[test]
    fn a_track_keeps_its_colour_whatever_its_label() {
        let detection = |label: &str, track_id| Detection {
            label: label.to_owned(),
            track_id,
            ..Detection::default()
        };
        assert_eq!(colour_of(&detection("a", 11)), colour_of_number(11));
        assert_eq!(colour_of(&detection("b", 11)), COLOURS[3]);
        // 7 * 31 + 97 = 314 for the label alone.
        assert_eq!(colour_of(&detection("a", 0)), COLOURS[314 % 8]);
        colour_of(&detection(&"\u{ff}".repeat(100), 0)); // no overflow
    }
}
