//! The words for our enums in headers, JSON lines, metrics and messages. They are part of the contract: scripts match them.

use crate::v1::{Codec, PixelFormat, Status, end_of_stream, gap, missing};

impl Codec {
    /// `jpeg`, `png`, `raw`, `h264` or `unspecified`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Raw => "raw",
            Self::H264 => "h264",
        }
    }
}

impl PixelFormat {
    /// `bgr24`, `rgb24`, `gray8` or `unspecified`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Bgr24 => "bgr24",
            Self::Rgb24 => "rgb24",
            Self::Gray8 => "gray8",
        }
    }

    /// Bytes a pixel of RAW content; `None` if the format is not said.
    pub fn bytes_per_pixel(self) -> Option<u32> {
        match self {
            Self::Unspecified => None,
            Self::Bgr24 | Self::Rgb24 => Some(3),
            Self::Gray8 => Some(1),
        }
    }
}

impl Status {
    /// `ok`, `error`, `timeout`, `skipped` or `unspecified`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Skipped => "skipped",
        }
    }
}

impl end_of_stream::Reason {
    /// `finished`, `stopped`, `failed` or `unspecified`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl gap::Reason {
    /// `overload`, `processing-failed`, `undecodable`, `expired`, `source-stalled` or `unspecified`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Overload => "overload",
            Self::ProcessingFailed => "processing-failed",
            Self::Undecodable => "undecodable",
            Self::Expired => "expired",
            Self::SourceStalled => "source-stalled",
        }
    }
}

impl missing::Reason {
    /// `expired`, `omitted` or `unspecified`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Expired => "expired",
            Self::Omitted => "omitted",
        }
    }
}
