//! What was written without a branch. If the branch comes with it after all, the branches have the same records in
//! different orders: nobody could say so before, and writing it again would double it.

use super::key::{Key, Place};
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// Epochs that are remembered of each branch, the latest ones. One is forgotten as soon as the branch has a later record of
/// it, so more than the sources of a partition are only there if branches lost the ends of many epochs.
const MAX_EPOCHS: usize = 1024;

/// Of one branch: the last place of each epoch that was written without it, the latest last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed(VecDeque<Key>);

impl Passed {
    /// From before a restart.
    pub fn new(places: impl IntoIterator<Item = Key>) -> Self {
        Self(places.into_iter().collect())
    }

    pub fn places(&self) -> impl DoubleEndedIterator<Item = &Key> {
        self.0.iter()
    }

    /// Whether this, or what comes behind it in its epoch, was written without the branch.
    pub fn has(&self, key: &Key) -> bool {
        let is_at_or_before =
            |place: &Key| place == key || key.before_in_epoch(place) == Some(true);
        self.0.iter().any(is_at_or_before)
    }

    /// It was written, with the branch or without it.
    pub fn written(&mut self, key: &Key, is_with_branch: bool) {
        if matches!(key, Key::Own) || (is_with_branch && self.0.is_empty()) {
            return;
        }
        let is_other = |place: &Key| place != key && place.before_in_epoch(key).is_none();
        self.0.retain(is_other);
        if !is_with_branch {
            self.0.push_back(key.clone());
        }
        if self.0.len() > MAX_EPOCHS {
            self.0.pop_front();
        }
    }
}

/// A place as a note has it: `cam0/7/57`, `cam0/7/57+3` for a longer Gap, `cam0/7/end`. Only places in epochs are written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written(pub Key);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key::At {
            source,
            epoch,
            place,
        } = &self.0
        else {
            return Ok(());
        };
        write!(f, "{source}/{epoch}/")?;
        match place {
            Place::One(at) => write!(f, "{at}"),
            Place::Gap { first, count } => write!(f, "{first}+{count}"),
            Place::End => f.write_str("end"),
        }
    }
}

/// The text is no place.
#[derive(Debug, PartialEq, Eq)]
pub struct NoPlace;

impl FromStr for Written {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| NoPlace);
        let mut parts = text.split('/');
        let (Some(source), Some(epoch), Some(place), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoPlace);
        };
        let place = match (place, place.split_once('+')) {
            ("end", _) => Place::End,
            (_, Some((first, count))) => Place::Gap {
                first: number(first)?,
                count: number(count)?,
            },
            (at, None) => Place::One(number(at)?),
        };
        Ok(Self(Key::At {
            source: source.to_owned(),
            epoch: number(epoch)?,
            place,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        let Written(key) = text.parse().unwrap();
        key
    }

    #[test]
    fn a_branch_that_comes_with_what_was_written_without_it_is_noticed() {
        let mut passed = Passed::default();
        passed.written(&key("a/1/5"), false);
        passed.written(&key("a/1/6"), false);
        assert!(passed.has(&key("a/1/5")) && passed.has(&key("a/1/6")));
        for other in ["a/1/7", "a/1/end", "a/2/0", "b/1/5"] {
            assert!(!passed.has(&key(other)), "{other}");
        }
        passed.written(&key("a/1/7"), true);
        assert_eq!(passed, Passed::default(), "it has a later one");
        passed.written(&Key::Own, false);
        assert_eq!(passed, Passed::default(), "no other branch can have that");
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["a/1/5", "a.b-c/18446744073709551615/0+3", "a/1/end"] {
            assert_eq!(Written(key(text)).to_string(), text);
        }
        for text in ["", "a", "a/1", "a/1/x", "a/x/1", "a/1/1+", "a/1/2/3"] {
            assert_eq!(text.parse::<Written>(), Err(NoPlace), "{text:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut passed = Passed::default();
        for epoch in 0..2 * MAX_EPOCHS {
            passed.written(&key(&format!("a/{epoch}/0")), false);
        }
        assert_eq!(passed.places().count(), MAX_EPOCHS);
        assert!(passed.has(&key(&format!("a/{}/0", 2 * MAX_EPOCHS - 1))));
    }
}
