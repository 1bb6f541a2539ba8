//! What a run found: for people as a table, for programs as JSON, for the repository as BENCHMARKS.md.

use crate::lab::Machine;
use crate::measure::Spread;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Between these lines of BENCHMARKS.md stand the figures; everything else there is written by people.
const BEGIN: &str = "<!-- figures: written by cargo xtask bench --write -->";
const END: &str = "<!-- end of figures -->";

/// One case's outcome.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaseReport {
    /// Its name.
    pub case: String,
    /// What was measured.
    pub what: String,
    /// What it is compared with.
    pub baseline: String,
    /// Framelane over the baseline, run by run. None where there is no baseline.
    pub ratio: Option<Spread>,
    /// In words.
    pub aim: String,
    /// Whether the median meets the aim.
    pub met: bool,
    /// What the ratio was made of.
    pub figures: Vec<Figure>,
    /// How many times it was run.
    pub runs: usize,
    /// When it ended (UTC).
    pub at: String,
    /// Made with few frames, only to see that it works.
    pub quick: bool,
    /// Where, if not on the report's machine and tree: cases may be measured one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
}

/// A value with its unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub unit: String,
    #[serde(flatten)]
    pub spread: Spread,
}

/// Everything that was measured, and on which machine the last of it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub cases: Vec<CaseReport>,
}

impl Figure {
    pub fn new(name: &str, unit: &str, values: &[f64]) -> Self {
        Self {
            name: name.to_owned(),
            unit: unit.to_owned(),
            spread: Spread::of(values),
        }
    }
}

impl Report {
    /// What an earlier run wrote, with the cases of this one in the place of the same ones.
    pub fn merged_into(self, path: &Path) -> Self {
        let earlier = fs::read_to_string(path)
            .ok()
            .and_then(|text| serde_json::from_str::<Self>(&text).ok());
        let mut cases = earlier.map_or_else(Vec::new, |report| {
            let Self { machine, mut cases } = report;
            for case in &mut cases {
                case.machine.get_or_insert_with(|| machine.clone());
            }
            cases
        });
        for case in self.cases {
            match cases.iter_mut().find(|old| old.case == case.case) {
                Some(old) => *old = case,
                None => cases.push(case),
            }
        }
        Self {
            machine: self.machine,
            cases,
        }
    }

    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        fs::write(path, json + "\n").with_context(|| format!("writing {}", path.display()))
    }

    /// Puts the figures into BENCHMARKS.md, between their marks.
    ///
    /// # Errors
    /// The file is not there, or has no marks.
    pub fn write_into(&self, path: &Path) -> Result<()> {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let text = replace_between(&text, &self.markdown())
            .with_context(|| format!("{} has no lines {BEGIN:?} and {END:?}", path.display()))?;
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// A table and what stands behind it.
    pub fn markdown(&self) -> String {
        let Machine {
            cores,
            model,
            memory_gib,
            kernel,
            java,
            librdkafka,
            load_before,
            ..
        } = &self.machine;
        let mut text = format!(
            "**Machine:** {cores} cores ({model}), {memory_gib} GiB of memory, Linux {kernel}, Java {java}, \
             librdkafka {librdkafka}. Load before the first case of the last run: {load_before:.2}.\n\n\
             | case | ratio: median (min - max) | aim | met | figures: median (min - max) | tree, Apache Kafka |\n\
             |---|---|---|---|---|---|\n"
        );
        for case in &self.cases {
            let figures: Vec<_> = case.figures.iter().map(Figure::to_text).collect();
            let _ = writeln!(
                text,
                "| `{}`: {} / {} | {} | {} | {} | {} | {}, {} |",
                case.case,
                case.what,
                case.baseline,
                case.ratio
                    .map_or_else(|| "-".to_owned(), |ratio| shown(&ratio, 2)),
                case.aim,
                case.verdict(),
                figures.join("; "),
                case.machine.as_ref().unwrap_or(&self.machine).commit,
                case.machine.as_ref().unwrap_or(&self.machine).kafka,
            );
        }
        text
    }
}

impl CaseReport {
    fn verdict(&self) -> &'static str {
        match (self.quick, self.met) {
            (true, _) => "quick run",
            (false, true) => "yes",
            (false, false) => "**no**",
        }
    }

    /// For the terminal.
    pub fn lines(&self) -> String {
        let ratio = self
            .ratio
            .map_or_else(String::new, |ratio| format!("  ratio {}", shown(&ratio, 3)));
        let mut text = format!(
            "{:<14}{ratio}  aim {}: {}\n",
            self.case,
            self.aim,
            self.verdict()
        );
        for figure in &self.figures {
            let _ = writeln!(text, "{:<14}  {}", "", figure.to_text());
        }
        text
    }
}

impl Figure {
    fn to_text(&self) -> String {
        let digits = if self.spread.median.abs() >= 100.0 {
            0
        } else {
            2
        };
        format!(
            "{} {} {}",
            self.name,
            shown(&self.spread, digits),
            self.unit
        )
    }
}

fn shown(spread: &Spread, digits: usize) -> String {
    let Spread { min, median, max } = spread;
    format!("{median:.digits$} ({min:.digits$} - {max:.digits$})")
}

fn replace_between(text: &str, figures: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{figures}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let replaced = replace_between(&text, "new\n").unwrap();
        assert_eq!(replaced, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(replace_between("no marks", "new"), None);
    }

    #[test]
    fn a_case_that_is_not_measured_again_keeps_its_tree() {
        let report = |case: &str, commit: &str| {
            let mut machine = Machine::here();
            machine.commit = commit.to_owned();
            let case = CaseReport {
                case: case.to_owned(),
                what: String::new(),
                baseline: String::new(),
                ratio: None,
                aim: String::new(),
                met: true,
                figures: vec![],
                runs: 1,
                at: String::new(),
                quick: false,
                machine: None,
            };
            let cases = vec![case];
            Report { machine, cases }
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        for (case, commit) in [("a", "one"), ("b", "one"), ("b", "two")] {
            let merged = report(case, commit).merged_into(file.path());
            merged.save(file.path()).unwrap();
        }
        let text = report("c", "three").merged_into(file.path()).markdown();
        let trees = ["| one, ", "| two, ", "| three, "].map(|tree| text.matches(tree).count());
        assert_eq!(trees, [1, 1, 1], "{text}");
    }

    #[test]
    fn the_repositorys_page_has_the_marks() {
        let page = include_str!("../../BENCHMARKS.md");
        assert!(replace_between(page, "").is_some());
    }
}
