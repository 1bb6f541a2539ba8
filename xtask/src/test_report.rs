//! What a run of `cargo test` came to, from its own lines.
//!
//! A test that cannot run here says so with `kafka_node::skipped`, which prints `SKIPPED NAME: REASON` past the test
//! harness's capture; the harness counts it as passed, this report does not.

use std::fmt;

use crate::check::Findings;

/// Checks whose failures were counted one by one already.
const RUNS: [&str; 2] = ["tests: ", "Python tests: "];

/// Fed with every line of the output; shown, it ends with the one line that says it all.
#[derive(Debug, Default)]
pub struct Report {
    /// `test result: ...` lines, as they were.
    summaries: Vec<String>,
    /// `NAME: REASON` of what said that it cannot run here.
    skipped: Vec<String>,
    /// Reasons and places of pytest's, which counts them apart from those that passed.
    python_skipped: Vec<String>,
    /// Names of tests marked `#[ignore]`.
    ignored: Vec<String>,
    /// Checks and tests that failed or could not run, see [`Findings`].
    findings: Findings,
    passed: usize,
    failed: usize,
}

impl Report {
    /// What was found around the tests; a failed check counts as one failure.
    pub fn add(&mut self, findings: Findings) {
        // Failed tests are counted one by one; a run that failed without any (it did not compile) counts as one.
        self.failed += findings
            .failed
            .iter()
            .filter(|what| !RUNS.iter().any(|run| what.starts_with(run)) || self.failed == 0)
            .count();
        self.findings = findings;
    }

    /// A line of pytest's output. A test that fails before or after its own code is an error there.
    pub fn read_pytest(&mut self, line: &str) {
        let summary = line.trim_matches(['=', ' ']);
        if is_pytest_summary(summary) {
            self.passed += count(summary, "passed");
            self.failed += ["failed", "error", "errors"]
                .map(|word| count(summary, word))
                .iter()
                .sum::<usize>();
            self.summaries.push(format!("pytest: {summary}"));
        } else if let Some(skipped) = line.strip_prefix("SKIPPED ") {
            self.python_skipped.push(skipped.to_owned());
        }
    }

    pub fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.summaries.push(line.to_owned());
        } else if let Some(at) = line.find("SKIPPED ") {
            let skipped = line[at + "SKIPPED ".len()..].to_owned();
            if !self.skipped.contains(&skipped) {
                self.skipped.push(skipped);
            }
        } else if let Some((test, reason)) = line
            .strip_prefix("test ")
            .and_then(|line| line.split_once(" ... ignored"))
        {
            self.ignored
                .push(format!("{test}{}", reason.replacen(", ", ": ", 1)));
        }
    }
}

/// As in `1 failed, 58 passed, 2 skipped in 25.70s`; without `=` around it, as pytest frames it.
fn is_pytest_summary(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    matches!(words[..], [number, word, .., "in", time]
        if number.parse::<usize>().is_ok()
            && ["passed", "failed", "skipped", "error", "errors"].contains(&word.trim_end_matches(','))
            && time.ends_with('s'))
}

/// The number before `word` in `ok. 12 passed; 0 failed; ...`.
fn count(counts: &str, word: &str) -> usize {
    let mut words = counts
        .split_whitespace()
        .map(|part| part.trim_end_matches([';', '.', ',']));
    let mut before = "";
    words
        .find_map(|this| {
            if this == word {
                before.parse().ok()
            } else {
                before = this;
                None
            }
        })
        .unwrap_or(0)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for what in &self.findings.failed {
            writeln!(out, "FAILED {what}")?;
        }
        for what in &self.findings.not_run {
            writeln!(out, "NOT RUN {what}")?;
        }
        let not_run = self.ignored.iter().chain(&self.python_skipped);
        for name in self.skipped.iter().chain(not_run) {
            writeln!(out, "SKIPPED {name}")?;
        }
        for summary in &self.summaries {
            writeln!(out, "{summary}")?;
        }
        let passed = self.passed.saturating_sub(self.skipped.len());
        let skipped = self.skipped.len() + self.ignored.len() + self.python_skipped.len();
        writeln!(
            out,
            "{passed} passed, {} failed, {skipped} skipped",
            self.failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_is_a_failure_and_a_missing_one_is_named() {
        let mut report = Report::default();
        report.read("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.16s");
        let failed = vec!["lints: cargo clippy ended with 101".to_owned()];
        report.add(Findings {
            failed,
            not_run: vec!["known vulnerabilities: no network".to_owned()],
        });
        let text = report.to_string();
        assert!(text.starts_with(
            "FAILED lints: cargo clippy ended with 101\nNOT RUN known vulnerabilities: no network\n"
        ));
        assert!(text.ends_with("\n5 passed, 1 failed, 0 skipped\n"));
    }

    #[test]
    fn pytests_own_summary_is_counted_with_the_others() {
        let mut report = Report::default();
        for line in [
            "tests/test_serving.py ......F... [ 40%]",
            "SKIPPED [1] tests/test_stubs.py:12: no compiler",
            "====== 1 failed, 58 passed, 1 skipped in 25.70s ======",
        ] {
            report.read_pytest(line);
        }
        report.add(Findings {
            failed: vec!["Python tests: python -m pytest ended with exit status: 1".to_owned()],
            not_run: Vec::new(),
        });
        let text = report.to_string();
        assert!(text.contains("pytest: 1 failed, 58 passed, 1 skipped in 25.70s"));
        assert!(
            text.ends_with("\n58 passed, 1 failed, 1 skipped\n"),
            "{text}"
        );
    }

    #[test]
    fn all_binaries_are_summed_and_skips_are_named_once() {
        let mut report = Report::default();
        for line in [
            "running 3 tests",
            "test lane::order ... ok",
            "SKIPPED docker: no engine",
            "test docker ... SKIPPED docker: no engine",
            "test long ... ignored, takes an hour",
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.16s",
            "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            report.read(line);
        }
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..2],
            ["SKIPPED docker: no engine", "SKIPPED long: takes an hour"]
        );
        assert_eq!(lines[3].split('.').next(), Some("test result: FAILED"));
        assert_eq!(lines[4], "4 passed, 1 failed, 2 skipped");
    }
}
