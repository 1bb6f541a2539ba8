//! Pictures of a hostile producer, on their way into a processor.
//!
//! Input: how to decode in the first byte, the content behind it. RAW content has its width, height (two bytes each,
//! big endian) and pixel format before its pixels.

use bytes::Bytes;
use processor_proto::v1::{Codec, Frame, FrameId, frame::Content};
use processors::picture::{Channels, Decoder, PictureError, Reduce};
use producer::jpeg::soundness;

/// The limit that the decoder is given: a smaller one than the default, so that reaching it is quick.
const MAX_PIXELS: u64 = 1_000_000;
/// A pixel takes 3 bytes decoded and 6 more as the coefficients of a progressive JPEG; RAW content is copied. What is
/// left is for the libraries' own tables and this process.
pub const MEMORY_BYTES: u64 = MAX_PIXELS * 12 + (64 << 20);

/// How the libraries call it when the system gives no memory.
const OUT_OF_MEMORY: [&str; 3] = ["Insufficient memory", "Failed to allocate", "Out of memory"];

/// A picture is decoded to the size that its header says, or refused; never by running out of memory.
pub fn run(data: &[u8]) {
    let Some((&how, content)) = data.split_first() else {
        return;
    };
    // A camera's JPEGs are looked at before they are sent.
    let _ = soundness(content);
    let frame = frame_of(how, content);
    let decoder = Decoder {
        max_pixels: MAX_PIXELS,
    };
    let channels = match how & 4 {
        0 => Channels::Bgr,
        _ => Channels::Gray,
    };
    let reduce = match how & 8 {
        0 => Reduce::No,
        _ => Reduce::DownTo {
            width: 32,
            height: 32,
        },
    };
    match decoder.decode(&frame, channels, reduce) {
        Ok(_) => {
            let pixels = u64::from(frame.width) * u64::from(frame.height);
            assert!(pixels <= MAX_PIXELS, "{pixels} pixels were decoded");
        }
        Err(PictureError::Decoder(said)) => {
            let is_bounded = !OUT_OF_MEMORY.iter().any(|words| said.contains(words));
            assert!(is_bounded, "it took more memory than its limit: {said}");
        }
        Err(_) => {}
    }
}

/// A frame that says what the content's header says: anything else is refused early.
fn frame_of(how: u8, content: &[u8]) -> Frame {
    let codec = [Codec::Jpeg, Codec::Png, Codec::Raw, Codec::Jpeg][usize::from(how & 3)];
    let mut frame = Frame {
        id: Some(FrameId::new("hostile", 1, 0)),
        codec: codec.into(),
        ..Frame::default()
    };
    let mut content = content;
    if codec == Codec::Raw {
        if let Some((&[w1, w0, h1, h0, format], pixels)) = content.split_first_chunk() {
            frame.width = u16::from_be_bytes([w1, w0]).into();
            frame.height = u16::from_be_bytes([h1, h0]).into();
            frame.pixel_format = format.into();
            content = pixels;
        }
    } else if let Ok(size) = imagesize::blob_size(content) {
        frame.width = u32::try_from(size.width).unwrap_or(u32::MAX);
        frame.height = u32::try_from(size.height).unwrap_or(u32::MAX);
    }
    frame.content = Some(Content::Inline(Bytes::copy_from_slice(content)));
    frame
}
