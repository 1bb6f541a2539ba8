//! What is published: every byte follows from the plan and the frame's id, so that the checker can make it again.

use crate::dice::{drawn, of_text};
use crate::plan::Workload;
use bytes::Bytes;
use processor_proto::envelope::{self, Kind};
use processor_proto::v1::frame::Content;
use processor_proto::v1::{
    Codec, EndOfStream, Frame, FrameId, PixelFormat, Stamp, TimeBase, end_of_stream,
};
use serde::{Deserialize, Serialize};

/// The first bytes of a record that is no Envelope; what follows tells them apart.
const GARBAGE: &[u8] = b"\xff\xff no envelope ";

/// A source whose frames are only published in transactions that commit.
pub const COMMITTED: &str = "committed";
/// A source whose frames are only published in transactions that abort: nobody may ever see them.
pub const DOOMED: &str = "doomed";

/// What one send is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Item {
    Frame {
        source: String,
        epoch: u64,
        sequence: u64,
        picture: Picture,
    },
    /// The sequence is that of the last frame.
    End {
        source: String,
        epoch: u64,
        sequence: u64,
    },
    /// A record that is no Envelope.
    Garbage { number: u64 },
}

/// What is in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Picture {
    /// Rows of gray pixels.
    Sound,
    /// A JPEG whose header claims 100 megapixels.
    Bomb,
    /// A JPEG that ends in its header.
    Truncated,
}

/// What the bytes of all frames of a run follow from.
#[derive(Debug, Clone)]
pub struct Studio {
    pub seed: u64,
    pub largest_picture_bytes: u64,
    /// The capture time of frame 0, nanoseconds since the Unix epoch.
    pub begin_unix_ns: i64,
}

/// A record to be published, but for its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    pub key: String,
    pub timestamp_ms: i64,
    /// In the order of `frame.proto`.
    pub headers: Vec<(&'static str, String)>,
    pub payload: Bytes,
}

impl Item {
    /// None for garbage.
    pub fn id(&self) -> Option<FrameId> {
        match self {
            Self::Frame {
                source,
                epoch,
                sequence,
                ..
            }
            | Self::End {
                source,
                epoch,
                sequence,
            } => Some(FrameId::new(source, *epoch, *sequence)),
            Self::Garbage { .. } => None,
        }
    }
}

impl Studio {
    /// The studio of a run that began at this time.
    pub fn new(seed: u64, workload: &Workload, begin_unix_ns: i64) -> Self {
        Self {
            seed,
            largest_picture_bytes: workload.largest_picture_bytes,
            begin_unix_ns,
        }
    }

    /// The record of an item.
    pub fn make(&self, item: &Item) -> Made {
        let (message, source, captured) = match item {
            Item::Frame {
                source, picture, ..
            } => {
                let id = item.id().expect("a frame has an id");
                let frame = self.frame(id, *picture);
                let captured = frame.capture_time_unix_ns;
                (Kind::Frame(frame), source, captured)
            }
            Item::End { source, .. } => {
                let end = EndOfStream {
                    last: item.id(),
                    empty: false,
                    reason: end_of_stream::Reason::Finished.into(),
                    detail: String::new(),
                };
                (Kind::End(end), source, self.begin_unix_ns)
            }
            Item::Garbage { number } => return self.garbage(*number),
        };
        let id = item.id().unwrap_or_default();
        Made {
            key: source.clone(),
            timestamp_ms: captured / 1_000_000,
            headers: vec![
                ("framelane-kind", message.word().to_owned()),
                ("framelane-source", id.source_id.clone()),
                ("framelane-epoch", id.epoch.to_string()),
                ("framelane-sequence", id.sequence.to_string()),
                ("traceparent", self.trace(&id)),
            ],
            payload: envelope::encode(&message),
        }
    }

    fn garbage(&self, number: u64) -> Made {
        let mut payload = GARBAGE.to_vec();
        payload.extend(self.noise(64, &[number, 5]));
        Made {
            key: "s0".to_owned(),
            timestamp_ms: self.begin_unix_ns / 1_000_000,
            headers: Vec::new(),
            payload: payload.into(),
        }
    }

    fn frame(&self, id: FrameId, picture: Picture) -> Frame {
        let parts = [of_text(&id.source_id), id.epoch, id.sequence];
        let bits = drawn(self.seed, &parts);
        let width = 16 + bits % 49;
        let most = (self.largest_picture_bytes / width).max(8);
        let height = 8 + (bits >> 8) % (most - 7);
        // By itself a source's clock runs backwards now and then: order is by sequence alone.
        let captured = self.begin_unix_ns + (id.sequence as i64) * 7_000_000
            - ((bits >> 20) % 60) as i64 * 60_000_000_000;
        let (codec, content) = match picture {
            Picture::Sound => (
                Codec::Raw,
                self.noise((width * height) as usize, &[bits, 1]),
            ),
            Picture::Bomb => (Codec::Jpeg, jpeg(10_000, 10_000, true)),
            Picture::Truncated => (Codec::Jpeg, jpeg(width as u16, height as u16, false)),
        };
        let sequence = id.sequence;
        let mut frame = Frame {
            id: Some(id),
            capture_time_unix_ns: captured,
            pts: sequence as i64,
            time_base: Some(TimeBase { num: 1, den: 30 }),
            width: width as u32,
            height: height as u32,
            keyframe: true,
            content: Some(Content::Inline(content.into())),
            stamps: vec![Stamp {
                stage: "prove".to_owned(),
                entered_unix_ns: captured,
                left_unix_ns: captured,
            }],
            labels: [("seed".to_owned(), self.seed.to_string())].into(),
            ..Frame::default()
        };
        frame.set_codec(codec);
        frame.set_pixel_format(PixelFormat::Gray8);
        frame
    }

    fn noise(&self, bytes: usize, parts: &[u64]) -> Vec<u8> {
        let start = drawn(self.seed, parts);
        let words = (0..bytes.div_ceil(8) as u64).flat_map(|at| drawn(start, &[at]).to_le_bytes());
        words.take(bytes).collect()
    }

    /// A W3C trace context that belongs to the frame.
    fn trace(&self, id: &FrameId) -> String {
        let parts = [of_text(&id.source_id), id.epoch, id.sequence];
        let (high, low) = (drawn(self.seed, &parts), drawn(!self.seed, &parts));
        format!("00-{:016x}{:016x}-{:016x}-01", high | 1, low, low | 1)
    }
}

/// The head of a baseline JPEG of these measures, with or without the rest that makes it one.
fn jpeg(width: u16, height: u16, whole: bool) -> Vec<u8> {
    let [w1, w0] = width.to_be_bytes();
    let [h1, h0] = height.to_be_bytes();
    let mut bytes = vec![
        0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, h1, h0, w1, w0, 1, 1, 0x11, 0,
    ];
    if whole {
        bytes.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0, 0x55, 0xFF, 0xD9]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn studio() -> Studio {
        Studio {
            seed: 7,
            largest_picture_bytes: 3_000,
            begin_unix_ns: 1_700_000_000_000_000_000,
        }
    }

    #[test]
    fn frames_are_valid_and_the_same_each_time() {
        for (sequence, picture) in [
            (0, Picture::Sound),
            (1, Picture::Bomb),
            (2, Picture::Truncated),
        ] {
            let item = Item::Frame {
                source: "s1".to_owned(),
                epoch: 2,
                sequence,
                picture,
            };
            let made = studio().make(&item);
            assert_eq!(made, studio().make(&item));
            let kind = envelope::decode(made.payload).unwrap();
            assert_eq!(kind.id(), item.id().as_ref());
        }
    }

    #[test]
    fn garbage_is_no_envelope_and_no_two_are_alike() {
        let made = |number| studio().make(&Item::Garbage { number }).payload;
        assert!(envelope::decode(made(1)).is_err());
        assert_ne!(made(1), made(2));
    }
}
