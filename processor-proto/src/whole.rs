//! Is an encoded picture whole, and no trap for its decoder? Walks its markers or chunks; decodes nothing.
//!
//! Decoders paint the missing half of a cut-off JPEG grey and say nothing, and work for as long as they are given scans.

mod jpeg;
mod png;

use crate::v1::Codec;
use thiserror::Error;

/// Why a picture should not be given to a decoder.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotWhole {
    #[error("the picture is cut off: {0}")]
    CutOff(&'static str),
    #[error("a progressive JPEG of more than {0} scans, made to keep a decoder busy")]
    TooManyScans(usize),
}

/// Checks content that is a JPEG or a PNG by its first bytes. Other codecs have no end of their own: they pass.
pub fn check_whole(codec: Codec, content: &[u8]) -> Result<(), NotWhole> {
    match codec {
        Codec::Jpeg => jpeg::check(content),
        Codec::Png => png::check(content),
        Codec::Unspecified | Codec::Raw | Codec::H264 => Ok(()),
    }
}
