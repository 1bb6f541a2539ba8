//! What a stage keeps with its committed offsets: committed with them, so both are always of the same moment.

use crate::join::passed::Written;
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
    /// Of a join: what was written without a branch, by the branch's topic, the latest last. As much of it is written down
    /// as there is room for.
    pub passed: Vec<(String, Written)>,
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
            passed: Vec::new(),
        };
        note.to_string().len() <= MAX_NOTE_BYTES
    }
}

/// `revision=7 cam0.people=120 cam0.faces=118~ cam0.faces!cam0/3/57`, with ~ for a branch that has not begun, and ! for what
/// was written without one.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return Ok(());
        }
        let mut text = format!("revision={}", self.revision);
        for (topic, position) in &self.branches {
            let mark = if position.is_aligned { "" } else { "~" };
            text += &format!(" {topic}={}{mark}", position.next_offset);
        }
        let passed = self.passed.iter().rev();
        let words = passed.map(|(topic, place)| format!(" {topic}!{place}"));
        let mut room = MAX_NOTE_BYTES.saturating_sub(text.len());
        let fitting: Vec<String> = words
            .take_while(|word| {
                let fits = word.len() <= room;
                room = room.saturating_sub(word.len());
                fits
            })
            .collect();
        text.extend(fitting.into_iter().rev());
        f.write_str(&text)
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
        let (passed, branches): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('!'));
        let place = |word: &str| {
            let (topic, place) = word.split_once('!').ok_or(NoNote)?;
            Ok((topic.to_owned(), place.parse().map_err(|_| NoNote)?))
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
            branches: branches.into_iter().map(branch).collect::<Result<_, _>>()?,
            passed: passed.into_iter().map(place).collect::<Result<_, _>>()?,
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
            passed: vec![("cam0.faces".to_owned(), "cam0/3/57".parse().unwrap())],
        };
        let text = "revision=7 cam0.faces=118~ cam0.people=120 cam0.faces!cam0/3/57";
        assert_eq!(note.to_string(), text);
        assert_eq!(Note::read(text), note);
        assert_eq!(Note::default().to_string(), "");
        for other in [
            "",
            "a note of somebody else's",
            "revision=x",
            "revision=1 a=b",
            "revision=1 a=1 a!b",
        ] {
            assert_eq!(Note::read(other), Note::default());
        }
    }

    #[test]
    fn of_what_was_written_without_a_branch_the_latest_is_written_down() {
        let place = |n: u64| ("b".to_owned(), format!("cam{n}/1/0").parse().unwrap());
        let note = Note {
            passed: (0..1000).map(place).collect(),
            ..Note::default()
        };
        let text = note.to_string();
        assert!(text.len() <= MAX_NOTE_BYTES, "{}", text.len());
        let read = Note::read(&text);
        assert!(read.passed.len() > 200, "{}", read.passed.len());
        assert_eq!(read.passed.last(), Some(&place(999)));
    }

    #[test]
    fn only_what_can_always_be_written_down_fits() {
        let topic = |n: usize| format!("{n:0>200}");
        let topics = |count| (0..count).map(topic).collect::<Vec<_>>();
        assert!(Note::fits(&topics(15)));
        assert!(!Note::fits(&topics(25)));
    }
}
