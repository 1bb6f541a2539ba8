//! The values of options: places, times, rates, names.
//!
//! Input: the kind of value in the first byte, its text behind it.

use consumer::range::{Begin, Rate, Until};
use consumer::sinks::SinkSpec;
use pipeline::kafka::Position;
use producer::options::{
    Fps, Label, Overload, Pace, PatternSpec, PictureCodec, Quality, Size, Span,
};
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// What is accepted keeps what its type promises; what is written is read again; what is refused says why.
pub fn run(data: &[u8]) {
    let Some((&kind, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match kind % 15 {
        0 => check_position(text),
        1 => drop(read::<Begin>(text)),
        2 => check_until(text),
        3 => check_rate(text),
        4 => check_round_trip::<SinkSpec>(text),
        5 => check_round_trip::<Size>(text),
        6 => read::<Fps>(text)
            .into_iter()
            .for_each(crate::sources::check_rate),
        7 => read::<PatternSpec>(text)
            .into_iter()
            .for_each(|pattern| crate::sources::check_rate(pattern.fps)),
        8 => check_round_trip::<Overload>(text),
        9 => drop(read::<Pace>(text)),
        10 => drop(read::<PictureCodec>(text)),
        11 => read::<Quality>(text)
            .into_iter()
            .for_each(|quality| assert!((1..=100).contains(&quality.get()))),
        12 => read::<Label>(text)
            .into_iter()
            .for_each(|label| assert_eq!(format!("{}={}", label.key, label.value), text)),
        13 => read::<Span>(text)
            .into_iter()
            .for_each(|span| assert!(!span.0.is_zero())),
        _ => read::<Fps>(text)
            .into_iter()
            .for_each(|fps| check_round_trip::<Fps>(&fps.to_string())),
    }
}

fn read<T: FromStr<Err = String>>(text: &str) -> Option<T> {
    let result = text.parse::<T>();
    if let Err(error) = &result {
        assert!(!error.is_empty(), "{text:?} was refused without a reason");
    }
    result.ok()
}

fn check_round_trip<T: FromStr<Err = String> + Display + PartialEq + Debug>(text: &str) {
    if let Some(value) = read::<T>(text) {
        let again = value.to_string().parse();
        assert_eq!(again, Ok(value), "{text:?} is written in another way");
    }
}

fn check_position(text: &str) {
    if let Some(Position::Offset(offset)) = read(text) {
        assert!(offset >= 0, "{text:?}");
    }
}

fn check_until(text: &str) {
    match read(text) {
        Some(Until::Offset(offset)) => assert!(offset >= 0, "{text:?}"),
        Some(Until::Count(count)) => assert!(count > 0, "{text:?}"),
        _ => {}
    }
}

fn check_rate(text: &str) {
    if let Some(Rate::Times(factor)) = read(text) {
        assert!(factor.is_finite() && factor > 0.0, "{text:?}");
    }
}
