//! The frame id as a bar code of bits in the picture, so that anyone can check that pixels and ids belong together.
//!
//! The top eighth of the picture holds 4 rows of 32 cells, black (0) or white (1), most significant bit first:
//! `0xA5` (8 bits), epoch (24), sequence (48), FNV-1a of the source id (32), CRC-16/CCITT-FALSE of the 14 bytes
//! before it (16). It survives JPEG and scaling down to about 160 pixels of width.

use crate::v1::FrameId;

const COLUMNS: usize = 32;
const ROWS: usize = 4;
const MAGIC: u8 = 0xA5;
/// The part of the picture's height that the code takes.
const HEIGHT_SHARE: usize = 8;

/// Pixels in rows from the top, without padding.
#[derive(Debug)]
pub struct Pixels<T> {
    /// `width * height * channels` bytes.
    pub data: T,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes of a pixel.
    pub channels: usize,
}

/// What a picture says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureCode {
    /// The lower 24 bits of the epoch.
    pub epoch: u32,
    /// The lower 48 bits of the sequence.
    pub sequence: u64,
    /// FNV-1a of the source id.
    pub source_hash: u32,
}

impl PictureCode {
    /// The code of a frame.
    pub fn of(id: &FrameId) -> Self {
        Self {
            epoch: (id.epoch & 0x00ff_ffff) as u32,
            sequence: id.sequence & 0xffff_ffff_ffff,
            source_hash: fnv1a(id.source_id.as_bytes()),
        }
    }

    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[0] = MAGIC;
        bytes[1..4].copy_from_slice(&self.epoch.to_be_bytes()[1..]);
        bytes[4..10].copy_from_slice(&self.sequence.to_be_bytes()[2..]);
        bytes[10..14].copy_from_slice(&self.source_hash.to_be_bytes());
        let crc = crc16(&bytes[..14]);
        bytes[14..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let crc = u16::from_be_bytes([bytes[14], bytes[15]]);
        if bytes[0] != MAGIC || crc != crc16(&bytes[..14]) {
            return None;
        }
        let mut sequence = [0; 8];
        sequence[2..].copy_from_slice(&bytes[4..10]);
        Some(Self {
            epoch: u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]),
            sequence: u64::from_be_bytes(sequence),
            source_hash: u32::from_be_bytes([bytes[10], bytes[11], bytes[12], bytes[13]]),
        })
    }

    /// Draws the code over the top of a picture of at least 64x64 pixels.
    pub fn draw(self, pixels: &mut Pixels<&mut [u8]>) {
        let bytes = self.to_bytes();
        let code_height = pixels.height / HEIGHT_SHARE;
        let stride = pixels.width * pixels.channels;
        for (y, row) in pixels
            .data
            .chunks_exact_mut(stride)
            .take(code_height)
            .enumerate()
        {
            let cell_row = (y * ROWS / code_height.max(1)).min(ROWS - 1);
            for (x, pixel) in row.chunks_exact_mut(pixels.channels).enumerate() {
                let bit = cell_row * COLUMNS + x * COLUMNS / pixels.width;
                pixel.fill(if is_set(&bytes, bit) { 255 } else { 0 });
            }
        }
    }

    /// Reads the code at the top of a picture; None if there is none or it is damaged.
    pub fn read(pixels: &Pixels<&[u8]>) -> Option<Self> {
        let code_height = pixels.height / HEIGHT_SHARE;
        if code_height < ROWS || pixels.width < COLUMNS {
            return None;
        }
        let mut bytes = [0_u8; 16];
        for bit in 0..ROWS * COLUMNS {
            // The middle of the cell, where neither JPEG's ringing nor scaling reaches.
            let x = (2 * (bit % COLUMNS) + 1) * pixels.width / (2 * COLUMNS);
            let y = (2 * (bit / COLUMNS) + 1) * code_height / (2 * ROWS);
            let at = (y * pixels.width + x) * pixels.channels;
            let pixel = pixels.data.get(at..at + pixels.channels)?;
            let sum: usize = pixel.iter().map(|&value| usize::from(value)).sum();
            if sum > 127 * pixels.channels {
                bytes[bit / 8] |= 0x80 >> (bit % 8);
            }
        }
        Self::from_bytes(bytes)
    }
}

fn is_set(bytes: &[u8; 16], bit: usize) -> bool {
    bytes[bit / 8] & (0x80 >> (bit % 8)) != 0
}

/// FNV-1a, 32 bits (RFC 9923).
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// CRC-16/CCITT-FALSE: polynomial 0x1021, initial value 0xFFFF.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones() {
        assert_eq!(crc16(b"123456789"), 0x29b1);
        assert_eq!(fnv1a(b"a"), 0xe40c_292c);
    }

    #[test]
    fn a_drawn_code_is_read_back_at_any_size() {
        let code = PictureCode::of(&FrameId::new("cam0", 3, 0x1234_5678_9abc));
        for (width, height, channels) in [(1280, 720, 3), (640, 480, 1), (161, 97, 3), (64, 64, 3)]
        {
            let mut data = vec![90; width * height * channels];
            code.draw(&mut Pixels {
                data: &mut data[..],
                width,
                height,
                channels,
            });
            let read = PictureCode::read(&Pixels {
                data: &data[..],
                width,
                height,
                channels,
            });
            assert_eq!(read, Some(code), "{width}x{height}");
        }
    }

    #[test]
    fn a_picture_without_a_code_or_with_a_flipped_cell_gives_none() {
        let (width, height, channels) = (320, 240, 3);
        let mut data = vec![128; width * height * channels];
        assert_eq!(
            PictureCode::read(&Pixels {
                data: &data[..],
                width,
                height,
                channels
            }),
            None
        );
        PictureCode::of(&FrameId::new("cam0", 1, 7)).draw(&mut Pixels {
            data: &mut data[..],
            width,
            height,
            channels,
        });
        for row in data.chunks_exact_mut(width * channels).take(7) {
            row[50 * channels..60 * channels]
                .iter_mut()
                .for_each(|value| *value = 255 - *value);
        }
        assert_eq!(
            PictureCode::read(&Pixels {
                data: &data[..],
                width,
                height,
                channels
            }),
            None
        );
    }
}
