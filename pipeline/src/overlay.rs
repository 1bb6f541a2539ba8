//! How detections look wherever they are drawn: captions, where these go, and colours. Whoever draws keeps to what it can draw.

use crate::v1::Detection;

/// What is drawn of a frame at most. Nobody looks at more, and a hostile record holds millions.
pub const MAX_DETECTIONS: usize = 1_000;

/// Colours that stay apart on most backgrounds (red, green, blue). The gateway's page uses the same.
const COLOURS: [[u8; 3]; 16] = [
    [230, 25, 75],
    [60, 180, 75],
    [255, 225, 25],
    [0, 130, 200],
    [245, 130, 48],
    [240, 50, 240],
    [70, 240, 240],
    [145, 30, 180],
    [210, 245, 60],
    [250, 190, 212],
    [0, 128, 128],
    [220, 190, 255],
    [170, 110, 40],
    [170, 255, 195],
    [128, 128, 0],
    [255, 215, 180],
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

/// Black or white, whichever is read better on this colour.
pub fn ink_on([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let brightness = 3 * u32::from(red) + 6 * u32::from(green) + u32::from(blue);
    if brightness > 1_300 { [0; 3] } else { [255; 3] }
}

/// A text as a font of ASCII can show it: other letters as they sound, and `?` for what has no sound.
pub fn ascii(text: &str) -> String {
    text.chars().map(ascii_of).collect()
}

/// As [`ascii`], of one character.
pub fn ascii_of(character: char) -> &'static str {
    deunicode::deunicode_char(character).unwrap_or("?")
}

/// A rectangle of a picture, in pixels from its upper left corner. What lies at `right` and `bottom` is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    pub left: i64,
    pub top: i64,
    pub right: i64,
    pub bottom: i64,
}

impl Area {
    fn covers(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

/// Where captions go, so that they lie in the picture and cover each other only if it cannot be helped.
#[derive(Debug)]
pub struct Captions {
    width: i64,
    height: i64,
    taken: Vec<Area>,
}

impl Captions {
    /// For a picture of this size.
    pub fn new(width: i64, height: i64) -> Self {
        Self {
            width,
            height,
            taken: Vec::new(),
        }
    }

    /// No caption is to lie here.
    pub fn keep_free(&mut self, area: Area) {
        self.taken.push(area);
    }

    /// The place of a caption of this width and height: above its box, else inside it or below it, else near it. None if
    /// nothing of the box is in the picture.
    pub fn place(&mut self, of: Area, (width, height): (i64, i64)) -> Option<Area> {
        let picture = Area {
            left: 0,
            top: 0,
            right: self.width,
            bottom: self.height,
        };
        if !picture.covers(&of) {
            return None;
        }
        let left = of.left.min(self.width - width).max(0);
        let lines = [
            of.top - height,
            of.top,
            of.bottom,
            of.top - 2 * height,
            of.top + height,
            of.bottom + height,
            of.top - 3 * height,
            of.top + 2 * height,
        ];
        let area = |top: i64| Area {
            left,
            top,
            right: left + width,
            bottom: top + height,
        };
        let lowest = (self.height - height).max(0);
        let mut places = lines.map(|top| top.clamp(0, lowest)).map(area).into_iter();
        let first = area((of.top - height).clamp(0, lowest));
        let is_free = |place: &Area| !self.taken.iter().any(|taken| taken.covers(place));
        let place = places.find(is_free).unwrap_or(first);
        self.taken.push(place);
        Some(place)
    }
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
        assert_eq!(colour_of(&detection("b", 27)), COLOURS[11]);
        // 7 * 31 + 97 = 314 for the label alone.
        assert_eq!(colour_of(&detection("a", 0)), COLOURS[314 % 16]);
        colour_of(&detection(&"\u{ff}".repeat(100), 0)); // no overflow
    }

    fn area(left: i64, top: i64, right: i64, bottom: i64) -> Area {
        Area {
            left,
            top,
            right,
            bottom,
        }
    }

    #[test]
    fn captions_lie_in_the_picture_and_beside_each_other() {
        let mut captions = Captions::new(100, 80);
        let size = (40, 10);
        assert_eq!(
            captions.place(area(20, 30, 50, 60), size).unwrap(),
            area(20, 20, 60, 30)
        );
        // The same box again, and one at each edge of the picture.
        for of in [
            area(20, 30, 50, 60),
            area(90, 40, 120, 60),
            area(-9, -5, 30, 70),
            area(70, 75, 90, 95),
        ] {
            let before = captions.taken.clone();
            let place = captions.place(of, size).unwrap();
            let is_inside =
                place.left >= 0 && place.top >= 0 && place.right <= 100 && place.bottom <= 80;
            assert!(is_inside, "{of:?}: {place:?}");
            assert!(
                !before.iter().any(|taken| taken.covers(&place)),
                "{place:?}"
            );
        }
    }

    #[test]
    fn what_is_kept_free_stays_so_and_where_there_is_no_room_captions_still_are_drawn() {
        let mut captions = Captions::new(100, 80);
        captions.keep_free(area(0, 0, 100, 20));
        assert_eq!(
            captions.place(area(10, 2, 30, 60), (40, 10)).unwrap(),
            area(10, 60, 50, 70)
        );
        let mut small = Captions::new(5, 5);
        let size = (40, 10);
        let place = small.place(area(1, 1, 3, 3), size).unwrap();
        assert_eq!((place.left, place.top), (0, 0));
        assert_eq!(small.place(area(1, 1, 3, 3), size), Some(place));
        assert_eq!(
            small.place(area(6, 1, 9, 3), size),
            None,
            "out of the picture"
        );
    }

    #[test]
    fn letters_that_a_font_lacks_are_written_as_they_sound() {
        assert_eq!(ascii("Grüße 2\u{20ac}"), "Grusse 2EUR");
        assert_eq!(ascii("\u{6f22}"), "Han ");
        assert!(ascii("\u{e000}\u{10ffff}").is_ascii());
    }
}
