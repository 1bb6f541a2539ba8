//! Is a PNG whole? Walks its chunks without decoding.

use super::NotWhole;

const SIGNATURE_BYTES: usize = 8;
/// Length and type before a chunk's data, checksum behind it.
const AROUND_DATA_BYTES: usize = 4 + 4 + 4;

/// Finds the end chunk.
pub(super) fn check(png: &[u8]) -> Result<(), NotWhole> {
    let mut rest = png.get(SIGNATURE_BYTES..).unwrap_or_default();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some(next) = rest.get(AROUND_DATA_BYTES.saturating_add(length)..) else {
            break;
        };
        if after.starts_with(b"IEND") {
            return Ok(());
        }
        rest = next;
    }
    Err(NotWhole::CutOff("the PNG has no end chunk"))
}
