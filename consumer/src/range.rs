//! Which records are shown, and how fast: `--from`, `--until`, `--rate`.

use pipeline::kafka::Position;
use std::str::FromStr;

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Where the group stopped; from the earliest record if it never read the partition.
    Committed,
    /// A place; with a group only for partitions that it never read.
    At(Position),
}

impl Begin {
    /// Where a partition begins that no group and no sink knows.
    pub fn unknown_partition(self) -> Position {
        match self {
            Self::Committed => Position::Earliest,
            Self::At(position) => position,
        }
    }
}

impl FromStr for Begin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "committed" => Ok(Self::Committed),
            _ => text
                .parse()
                .map(Self::At)
                .map_err(|cause| format!("{cause}, or committed")),
        }
    }
}

/// Where reading ends, if it is not stopped before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When a signal comes.
    Stopped,
    /// After everything that was committed at the start.
    End,
    /// Before this offset of each partition.
    Offset(i64),
    /// Before the first record of each partition that was captured at or after this time (Unix milliseconds).
    Time(i64),
    /// After this many records in all.
    Count(u64),
    /// When every source seen has sent its end and nothing is left to read.
    EndOfStreams,
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let forms = "expected end, eos, offset:N, time:RFC3339 or count:N";
        match text.split_once(':') {
            None if text == "end" => Ok(Self::End),
            None if text == "eos" => Ok(Self::EndOfStreams),
            Some(("count", n)) => match n.parse() {
                Ok(n) if n > 0 => Ok(Self::Count(n)),
                _ => Err(format!("{n:?} is not a positive number; {forms}")),
            },
            Some(("offset" | "time", _)) => match text.parse::<Position>() {
                Ok(Position::Offset(offset)) => Ok(Self::Offset(offset)),
                Ok(Position::Time(ms)) => Ok(Self::Time(ms)),
                Ok(_) => Err(forms.to_owned()),
                Err(cause) => Err(cause),
            },
            _ => Err(forms.to_owned()),
        }
    }
}

/// How fast records are shown, relative to the speed at which they were captured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// As fast as the slowest sink takes them.
    Max,
    /// 1.0: at the speed of the capture.
    Times(f64),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        text.strip_suffix('x')
            .and_then(|factor| factor.parse::<f64>().ok())
            .filter(|factor| factor.is_finite() && *factor > 0.0)
            .map(Self::Times)
            .ok_or_else(|| "expected max, or a speed such as 1x, 2x or 0.5x".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_are_read_as_people_write_them() {
        assert_eq!("committed".parse(), Ok(Begin::Committed));
        assert_eq!("offset:3".parse(), Ok(Begin::At(Position::Offset(3))));
        let error = "yesterday".parse::<Begin>().expect_err("no such place");
        assert!(
            error.contains("committed") && error.contains("latest"),
            "{error}"
        );
    }

    #[test]
    fn ends_are_read_as_people_write_them() {
        assert_eq!("end".parse(), Ok(Until::End));
        assert_eq!("eos".parse(), Ok(Until::EndOfStreams));
        assert_eq!("count:7".parse(), Ok(Until::Count(7)));
        assert_eq!("offset:7".parse(), Ok(Until::Offset(7)));
        assert_eq!("time:1970-01-01T00:00:02Z".parse(), Ok(Until::Time(2_000)));
        for bad in [
            "",
            "count:0",
            "count:x",
            "latest",
            "offset:-1",
            "time:never",
        ] {
            assert!(bad.parse::<Until>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn rates_are_factors_or_max() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("0.5x".parse(), Ok(Rate::Times(0.5)));
        for bad in ["2", "0x", "-1x", "x", "nanx", "infx"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad:?} was accepted");
        }
    }
}
