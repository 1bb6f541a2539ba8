//! Is a JPEG whole? Walks its markers without decoding.

use memchr::memchr;

use super::NotWhole;

/// Encoders make about 10 scans of a progressive picture. Each one more costs the decoder a pass over all pixels.
const MAX_SCANS: usize = 64;

const PREFIX: u8 = 0xFF;
const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;

/// Finds the end marker, and no more scans than a decoder should be asked to take. What follows the end is
/// ignored: some cameras pad.
pub(super) fn check(jpeg: &[u8]) -> Result<(), NotWhole> {
    let cut_off = || NotWhole::CutOff("the JPEG has no end marker");
    let mut at = 2;
    let mut scans = 0;
    loop {
        let marker = next_marker(jpeg, &mut at).ok_or_else(cut_off)?;
        match marker {
            END_OF_IMAGE => return Ok(()),
            START_OF_IMAGE | 0x01 | 0xD0..=0xD7 => continue, // these have no body
            START_OF_SCAN => scans += 1,
            _ => {}
        }
        if scans > MAX_SCANS {
            return Err(NotWhole::TooManyScans(MAX_SCANS));
        }
        // The body's length counts its own two bytes. A scan's compressed data follows and holds no marker but
        // restarts, so `next_marker` passes over it.
        let length = jpeg.get(at..at + 2).ok_or_else(cut_off)?;
        at += usize::from(u16::from_be_bytes([length[0], length[1]]).max(2));
    }
}

/// The next marker at or after `at`, which then points behind it. `FF 00` is a data byte, `FF FF` is padding.
fn next_marker(jpeg: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let rest = jpeg.get(*at..)?;
        *at += memchr(PREFIX, rest)? + 1;
        match *jpeg.get(*at)? {
            0x00 => *at += 1,
            PREFIX => {}
            marker => {
                *at += 1;
                return Some(marker);
            }
        }
    }
}
