//! The bar code in a picture that someone else drew.
//!
//! Input: width and height (two bytes each, big endian), bytes of a pixel, then the picture, which may be cut off.

use pipeline::picture_code::{PictureCode, Pixels};
use pipeline::v1::FrameId;

/// The smallest picture that takes a code.
const SMALLEST: usize = 64;

/// Reading takes any picture; a code drawn into any picture that is large enough is read back.
pub fn run(data: &[u8]) {
    let Some((&[w1, w0, h1, h0, channels], picture)) = data.split_first_chunk() else {
        return;
    };
    let width = usize::from(u16::from_be_bytes([w1, w0]));
    let height = usize::from(u16::from_be_bytes([h1, h0]));
    let channels = usize::from(channels);
    let found = PictureCode::read(&Pixels {
        data: picture,
        width,
        height,
        channels,
    });
    if let Some(code) = found {
        check_drawn(code, width, height);
    }
    let (width, height) = (width % 512, height % 512);
    if width >= SMALLEST && height >= SMALLEST {
        let code = PictureCode::of(&FrameId::new("s", u64::from(w0), u64::MAX / 3));
        check_drawn(code, width, height);
    }
}

fn check_drawn(code: PictureCode, width: usize, height: usize) {
    let (width, height) = (width.max(SMALLEST), height.max(SMALLEST));
    let mut data = vec![77; width * height];
    code.draw(&mut Pixels {
        data: &mut data[..],
        width,
        height,
        channels: 1,
    });
    let read = PictureCode::read(&Pixels {
        data: &data[..],
        width,
        height,
        channels: 1,
    });
    assert_eq!(read, Some(code), "{width}x{height}");
}
