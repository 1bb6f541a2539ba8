//! The values of options, read from the text that people write, on the command line and in files alike.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

/// Pixels: `640x480`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Larger pictures than this do not come from cameras; they come from typing errors.
const MAX_SIDE: u32 = 16_384;

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| {
            text.parse::<u32>()
                .ok()
                .filter(|side| (1..=MAX_SIDE).contains(side))
        };
        text.split_once('x')
            .and_then(|(width, height)| {
                Some(Self {
                    width: side(width)?,
                    height: side(height)?,
                })
            })
            .ok_or_else(|| {
                format!("{text:?} is not WIDTHxHEIGHT in pixels up to {MAX_SIDE}, e.g. 640x480")
            })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Frames a second: more than 0, up to 1000.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fps(f64);

impl Fps {
    /// Ten frames a second.
    pub const TEN: Self = Self(10.0);

    /// None unless it is a rate that can be kept.
    pub fn new(frames_per_second: f64) -> Option<Self> {
        (frames_per_second > 0.0 && frames_per_second <= 1000.0).then_some(Self(frames_per_second))
    }

    /// Frames a second.
    pub fn get(self) -> f64 {
        self.0
    }

    /// When frame `n` is due after frame 0. Computed from `n` each time, so that rounding does not add up. What lies
    /// beyond all time (a file may claim any number of frames) is due at [`Fps::NEVER`].
    pub fn time_of(self, n: u64) -> Duration {
        Duration::try_from_secs_f64(n as f64 / self.0)
            .map_or(Self::NEVER, |time| time.min(Self::NEVER))
    }

    /// Later than any frame, and small enough to be added to another time.
    pub const NEVER: Duration = Duration::from_secs(u64::MAX / 4);
}

impl FromStr for Fps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| format!("{text:?} is not a rate: write frames a second, up to 1000"))
    }
}

impl fmt::Display for Fps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A test picture: `1280x720@30`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PatternSpec {
    /// Of each picture.
    pub size: Size,
    /// How many a second.
    pub fps: Fps,
}

/// The bar code needs cells of some pixels to survive JPEG.
const MIN_PATTERN: Size = Size {
    width: 160,
    height: 96,
};

impl FromStr for PatternSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (size, fps) = text
            .split_once('@')
            .ok_or_else(|| format!("{text:?} is not WIDTHxHEIGHT@FPS, e.g. 1280x720@30"))?;
        let (size, fps): (Size, Fps) = (size.parse()?, fps.parse()?);
        if size.width < MIN_PATTERN.width || size.height < MIN_PATTERN.height {
            return Err(format!(
                "a pattern of {size} is too small for its bar code: at least {MIN_PATTERN}"
            ));
        }
        Ok(Self { size, fps })
    }
}

/// What happens to a frame when the stages behind the source are slower than the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// The source waits. The only policy for files: they lose nothing.
    Wait,
    /// The frame that has waited longest goes.
    DropOldest,
    /// All waiting frames go: the lowest latency.
    Latest,
    /// From when the queue is full until it is empty only every nth frame is taken: an even thinning.
    EveryNth(NonZeroU64),
}

impl FromStr for Overload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "wait" => Ok(Self::Wait),
            "drop-oldest" => Ok(Self::DropOldest),
            "latest" => Ok(Self::Latest),
            _ => text
                .strip_prefix("every-nth=")
                .and_then(|n| n.parse().ok())
                .map(Self::EveryNth)
                .ok_or_else(|| format!("{text:?} is not wait, drop-oldest, latest or every-nth=N")),
        }
    }
}

impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait => f.write_str("wait"),
            Self::DropOldest => f.write_str("drop-oldest"),
            Self::Latest => f.write_str("latest"),
            Self::EveryNth(n) => write!(f, "every-nth={n}"),
        }
    }
}

/// How fast frames are taken from a source that has no pace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As the source's timestamps say.
    Realtime,
    /// As fast as the stages behind can take them.
    Max,
}

impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "realtime" => Ok(Self::Realtime),
            "max" => Ok(Self::Max),
            _ => Err(format!("{text:?} is not realtime or max")),
        }
    }
}

/// How pictures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureCodec {
    /// Small; loses a little.
    Jpeg,
    /// Larger; loses nothing.
    Png,
    /// The pixels themselves, BGR.
    Raw,
}

impl FromStr for PictureCodec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "jpeg" => Ok(Self::Jpeg),
            "png" => Ok(Self::Png),
            "raw" => Ok(Self::Raw),
            _ => Err(format!("{text:?} is not jpeg, png or raw")),
        }
    }
}

/// JPEG quality, 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality(u8);

impl Quality {
    /// Hardly to be told from the original; about half the bytes of OpenCV's own default, 95.
    pub const DEFAULT: Self = Self(85);

    /// 1 to 100.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl FromStr for Quality {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .filter(|quality| (1..=100).contains(quality))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a JPEG quality from 1 to 100"))
    }
}

/// Free text on every frame of a source: `site=north`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Not empty.
    pub key: String,
    /// May be empty.
    pub value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(format!("{text:?} is not a label: write KEY=VALUE")),
        }
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A duration as people write it: `10s`, `24h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text) {
            Ok(duration) if !duration.is_zero() => Ok(Self(duration)),
            _ => Err(format!(
                "{text:?} is not a duration: write e.g. 500ms, 10s, 24h"
            )),
        }
    }
}

/// Reads an optional value of a file with the same rules as on the command line, be it text or a number there.
pub(crate) fn optional_text<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    from.deserialize_any(Scalar(PhantomData)).map(Some)
}

struct Scalar<T>(PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        let spec: PatternSpec = "1280x720@29.97".parse().unwrap();
        assert_eq!(spec.size.to_string(), "1280x720");
        assert_eq!(spec.fps.get(), 29.97);
        assert_eq!(
            "every-nth=3".parse::<Overload>().unwrap().to_string(),
            "every-nth=3"
        );
        let label: Label = "site=a=b".parse().unwrap();
        assert_eq!((label.key.as_str(), label.value.as_str()), ("site", "a=b"));
    }

    #[test]
    fn no_rate_and_no_frame_is_beyond_time() {
        let slow = Fps::new(f64::MIN_POSITIVE).unwrap();
        assert_eq!(slow.time_of(0), Duration::ZERO);
        assert_eq!(slow.time_of(1), Fps::NEVER);
        assert!(Fps::new(30.0).unwrap().time_of(u64::MAX) < Fps::NEVER);
        assert!(slow.time_of(u64::MAX) + Fps::NEVER < Duration::MAX);
    }

    #[test]
    fn errors_say_what_to_write_instead() {
        let refused = |error: Option<String>, hint: &str| {
            let error = error.expect("it was accepted");
            assert!(error.contains(hint), "{error}");
        };
        refused("640*480".parse::<Size>().err(), "640x480");
        refused("0x480".parse::<Size>().err(), "640x480");
        refused("640x480".parse::<PatternSpec>().err(), "@FPS");
        refused("64x48@30".parse::<PatternSpec>().err(), "160x96");
        refused("-1".parse::<Fps>().err(), "frames a second");
        refused("NaN".parse::<Fps>().err(), "frames a second");
        refused("every-nth=0".parse::<Overload>().err(), "drop-oldest");
        refused("0".parse::<Quality>().err(), "1 to 100");
        refused("=x".parse::<Label>().err(), "KEY=VALUE");
        refused("10".parse::<Span>().err(), "10s");
    }
}
