//! From a picture to the numbers that a model takes.

use opencv::{
    core::{CV_8UC1, CV_8UC3, Mat, Rect, Scalar, Size},
    prelude::*,
};

use super::config::{Colours, Datatype, Fit, Input, Layout};
use crate::picture::{Channels, Reduce, scaled};

/// What fills a letterbox: the gray that models of this kind are trained with.
const FILL: f64 = 114.0;

/// Where the picture lies in the model's input: from there, places lead back to the frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// Pixels of the input for one of the frame.
    pub scale_x: f32,
    pub scale_y: f32,
    /// The picture's upper left corner in the input.
    pub left: f32,
    pub top: f32,
}

/// How the frame is to be decoded.
pub fn channels(input: &Input) -> Channels {
    match input.channels {
        Colours::Gray => Channels::Gray,
        Colours::Rgb | Colours::Bgr => Channels::Bgr,
    }
}

/// How small the decoder may make the frame for this input.
pub fn reduce(input: &Input, (width, height): (u32, u32)) -> Reduce {
    match input.fit {
        Fit::Stretch => Reduce::DownTo {
            width: input.width,
            height: input.height,
        },
        Fit::Letterbox => {
            let size = inside(input, (width, height));
            Reduce::DownTo {
                width: size.width.unsigned_abs(),
                height: size.height.unsigned_abs(),
            }
        }
    }
}

/// The size at which a frame of this size fits into the input.
fn inside(input: &Input, (width, height): (u32, u32)) -> Size {
    let by = |to: u32, from: u32| f64::from(to) / f64::from(from.max(1));
    let scale = by(input.width, width).min(by(input.height, height));
    let side = |from: u32, most: u32| ((f64::from(from) * scale).round() as u32).clamp(1, most);
    Size::new(
        side(width, input.width).cast_signed(),
        side(height, input.height).cast_signed(),
    )
}

/// The model's numbers for a picture of a frame of this size, little-endian, and where the picture lies in them.
///
/// Errors are OpenCV's (out of memory).
pub fn tensor(
    input: &Input,
    picture: &Mat,
    frame: (u32, u32),
) -> opencv::Result<(Vec<u8>, Placed)> {
    let whole = Size::new(input.width.cast_signed(), input.height.cast_signed());
    let size = match input.fit {
        Fit::Stretch => whole,
        Fit::Letterbox => inside(input, frame),
    };
    let fitted = scaled(picture, size)?;
    let (left, top) = (
        (whole.width - size.width) / 2,
        (whole.height - size.height) / 2,
    );
    let filled = if size == whole {
        fitted
    } else {
        let kind = if picture.channels() == 1 {
            CV_8UC1
        } else {
            CV_8UC3
        };
        let fill = Scalar::all(FILL);
        let mut filled = Mat::new_size_with_default(whole, kind, fill)?;
        let place = Rect::new(left, top, size.width, size.height);
        fitted.copy_to(&mut filled.roi_mut(place)?)?;
        filled
    };
    let placed = Placed {
        scale_x: size.width as f32 / frame.0.max(1) as f32,
        scale_y: size.height as f32 / frame.1.max(1) as f32,
        left: left as f32,
        top: top as f32,
    };
    Ok((numbers(input, filled.data_bytes()?), placed))
}

/// The pixels (interleaved, BGR or gray) in the order, the scale and the type that the model takes.
fn numbers(input: &Input, pixels: &[u8]) -> Vec<u8> {
    let count = input.channels.count();
    // Where channel `c` of the model lies in a pixel.
    let source = |c: usize| match input.channels {
        Colours::Rgb => 2 - c,
        Colours::Bgr | Colours::Gray => c,
    };
    // (pixel * scale - mean) / std, for each channel and each of the 256 values a pixel can have.
    let tables: Vec<[f32; 256]> = (0..count)
        .map(|c| {
            let of = |list: &[f32], default: f32| list.get(c).copied().unwrap_or(default);
            let (mean, std) = (of(&input.mean, 0.0), of(&input.std, 1.0));
            std::array::from_fn(|value| (value as f32 * input.scale - mean) / std)
        })
        .collect();
    let mut numbers = Vec::with_capacity(
        pixels.len()
            * if input.datatype == Datatype::Fp32 {
                4
            } else {
                1
            },
    );
    let mut put = |c: usize, pixel: &[u8]| {
        let value = pixel[source(c)];
        match input.datatype {
            Datatype::Uint8 => numbers.push(value),
            Datatype::Fp32 => numbers.extend(tables[c][usize::from(value)].to_le_bytes()),
        }
    };
    match input.layout {
        Layout::Nhwc => {
            for pixel in pixels.chunks_exact(count) {
                (0..count).for_each(|c| put(c, pixel));
            }
        }
        Layout::Nchw => {
            for c in 0..count {
                pixels.chunks_exact(count).for_each(|pixel| put(c, pixel));
            }
        }
    }
    numbers
}

/// As the protocol writes it: one picture.
pub fn shape(input: &Input) -> Vec<i64> {
    let (height, width) = (i64::from(input.height), i64::from(input.width));
    let channels = input.channels.count() as i64;
    match input.layout {
        Layout::Nchw => vec![1, channels, height, width],
        Layout::Nhwc => vec![1, height, width, channels],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(more: &str) -> Input {
        serde_saphyr::from_str(&format!("{{width: 4, height: 4, {more}}}")).unwrap()
    }

    /// 2 x 1 pixels, the left one blue, the right one red.
    fn blue_and_red() -> Mat {
        let bytes = [200u8, 0, 0, 0, 0, 100];
        let row = Mat::from_slice(&bytes).unwrap();
        row.reshape(3, 1).unwrap().try_clone().unwrap()
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        let number = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        bytes.chunks_exact(4).map(number).collect()
    }

    #[test]
    fn a_letterbox_keeps_the_ratio_and_centres_the_picture() {
        let (numbers, placed) = tensor(
            &input("datatype: uint8, layout: nhwc"),
            &blue_and_red(),
            (2, 1),
        )
        .unwrap();
        assert_eq!(
            placed,
            Placed {
                scale_x: 2.0,
                scale_y: 2.0,
                left: 0.0,
                top: 1.0
            }
        );
        let rows: Vec<&[u8]> = numbers.chunks_exact(4 * 3).collect();
        assert!([0, 3].iter().all(|row| rows[*row] == [114; 12]));
        // The left end is blue, the right one red, as RGB.
        assert_eq!(
            (&rows[1][..3], &rows[2][9..]),
            (&[0, 0, 200][..], &[100, 0, 0][..])
        );
    }

    #[test]
    fn planes_follow_each_other_in_the_models_order_scaled_and_shifted() {
        let input =
            input("channels: bgr, fit: stretch, scale: 0.5, mean: [1, 0, 0], std: [2, 1, 1]");
        let (numbers, placed) = tensor(&input, &blue_and_red(), (2, 1)).unwrap();
        assert_eq!((placed.scale_x, placed.scale_y), (2.0, 4.0));
        let numbers = floats(&numbers);
        assert_eq!(numbers.len(), 3 * 16);
        assert_eq!(numbers[0], (200.0 * 0.5 - 1.0) / 2.0);
        assert_eq!(numbers[16], 0.0);
        assert_eq!(numbers[32 + 3], 100.0 * 0.5);
    }

    #[test]
    fn the_decoder_makes_nothing_smaller_than_the_model_needs() {
        let input = input("fit: letterbox");
        assert_eq!(
            reduce(&input, (400, 100)),
            Reduce::DownTo {
                width: 4,
                height: 1
            }
        );
    }
}
