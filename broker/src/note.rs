//! What a stage keeps with its committed offsets: committed with them, so both are always of the same moment.

use pipeline::kafka::MAX_NOTE_BYTES;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// How far one branch of a join is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BranchPosition {
    /// The offset of the next record.
    pub next_offset: i64,
    /// It has had a record in common with the others.
    pub is_aligned: bool,
}

/// The note beside an offset. Empty (and so written as nothing) where nobody needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    /// The registry's revision that the work was done under; 0 without a registry. It only grows in a partition.
    pub revision: u64,
    /// Of a join: all its branches by topic.
    pub branches: BTreeMap<String, BranchPosition>,
}

impl Note {
    /// The note beside an offset that was committed before; an empty one if it is none of ours.
    pub fn read(text: &str) -> Self {
        text.parse().unwrap_or_default()
    }

    /// Whether a join of these topics can always be written down.
    pub fn fits(topics: &[String]) -> bool {
        let largest = BranchPosition {
            next_offset: i64::MAX,
            is_aligned: false,
        };
        let note = Self {
            revision: u64::MAX,
            branches: topics
                .iter()
                .map(|topic| (topic.clone(), largest))
                .collect(),
        };
        note.to_string().len() <= MAX_NOTE_BYTES
    }
}

/// `revision=7 cam0.people=120 cam0.faces=118~`, with ~ for a branch that has not begun.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return Ok(());
        }
        write!(f, "revision={}", self.revision)?;
        for (topic, position) in &self.branches {
            let mark = if position.is_aligned { "" } else { "~" };
            write!(f, " {topic}={}{mark}", position.next_offset)?;
        }
        Ok(())
    }
}

/// The text is no note of a stage.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no note of a stage")]
pub struct NoNote;

impl FromStr for Note {
    type Err = NoNote;

    fn from_str(text: &str) -> Result<Self, NoNote> {
        let mut words = text.split_whitespace();
        let revision = match words.next() {
            None => 0,
            Some(first) => {
                let number = first.strip_prefix("revision=").ok_or(NoNote)?;
                number.parse().map_err(|_| NoNote)?
            }
        };
        let branch = |word: &str| {
            let (topic, at) = word.split_once('=').ok_or(NoNote)?;
            let offset = at.trim_end_matches('~');
            let position = BranchPosition {
                next_offset: offset.parse().map_err(|_| NoNote)?,
                is_aligned: offset.len() == at.len(),
            };
            Ok((topic.to_owned(), position))
        };
        Ok(Self {
            revision,
            branches: words.map(branch).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_are_written_and_other_text_is_none() {
        let position = |next_offset, is_aligned| BranchPosition {
            next_offset,
            is_aligned,
        };
        let branches = [
            ("cam0.faces".to_owned(), position(118, false)),
            ("cam0.people".to_owned(), position(120, true)),
        ];
        let note = Note {
            revision: 7,
            branches: branches.into(),
        };
        let text = "revision=7 cam0.faces=118~ cam0.people=120";
        assert_eq!(note.to_string(), text);
        assert_eq!(Note::read(text), note);
        assert_eq!(Note::default().to_string(), "");
        for other in [
            "",
            "a note of somebody else's",
            "revision=x",
            "revision=1 a=b",
        ] {
            assert_eq!(Note::read(other), Note::default());
        }
    }

    #[test]
    fn only_what_can_always_be_written_down_fits() {
        let topic = |n: usize| format!("{n:0>200}");
        let topics = |count| (0..count).map(topic).collect::<Vec<_>>();
        assert!(Note::fits(&topics(15)));
        assert!(!Note::fits(&topics(25)));
    }
}
