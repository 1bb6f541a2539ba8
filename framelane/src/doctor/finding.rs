//! What was found.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// It loses frames, or stands still, or will when something fails.
    Wrong,
    /// Worth knowing.
    Note,
}

/// One thing, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    pub level: Level,
    /// Which check found it: `topics`, `groups`, ...
    pub check: &'static str,
    /// The topic, group, node or instance.
    pub about: String,
    pub what: String,
    pub mend: String,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn wrong_with(
        &mut self,
        check: &'static str,
        about: impl Into<String>,
        what: String,
        mend: String,
    ) {
        self.push(Level::Wrong, check, about.into(), what, mend);
    }

    pub fn note(
        &mut self,
        check: &'static str,
        about: impl Into<String>,
        what: String,
        mend: String,
    ) {
        self.push(Level::Note, check, about.into(), what, mend);
    }

    fn push(
        &mut self,
        level: Level,
        check: &'static str,
        about: String,
        what: String,
        mend: String,
    ) {
        self.0.push(Finding {
            level,
            check,
            about,
            what,
            mend,
        });
    }

    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The bad ones first, else as they were found.
    pub fn list(&self) -> Vec<&Finding> {
        let mut list: Vec<&Finding> = self.0.iter().collect();
        list.sort_by_key(|finding| finding.level);
        list
    }

    /// How many are wrong.
    pub fn wrong(&self) -> usize {
        self.0
            .iter()
            .filter(|finding| finding.level == Level::Wrong)
            .count()
    }
}
