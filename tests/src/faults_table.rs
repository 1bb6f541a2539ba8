//! `docs/faults.md` says which test is for which fault: the tests must exist, and every fault must have one.

use std::path::Path;

const ROWS: usize = 30;

/// All of these tests' sources, and the unit tests that the table names by their file.
fn sources(root: &Path) -> String {
    let files = std::fs::read_dir(root.join("tests/src")).expect("the tests");
    files
        .flatten()
        .filter(|file| file.path().is_file())
        .map(|file| std::fs::read_to_string(file.path()).expect("a text"))
        .collect()
}

/// Tests have long names; nothing else in the table has so many underscores.
fn is_test_name(word: &str) -> bool {
    word.matches('_').count() >= 4
}

#[test]
fn every_fault_has_a_test_and_every_test_named_for_it_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the root");
    let table = std::fs::read_to_string(root.join("docs/faults.md")).expect("the table");
    let sources = sources(root);
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
        .collect();
    assert_eq!(rows.len(), ROWS);
    for (number, row) in (1..).zip(rows) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells[0].trim(), number.to_string());
        let words = cells[3].split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let tests: Vec<&str> = words.filter(|word| is_test_name(word)).collect();
        for test in &tests {
            assert!(
                sources.contains(&format!("fn {test}()")),
                "row {number}: no test {test}"
            );
        }
        let refers = cells[3].contains("the same") || cells[3].contains("`security_");
        assert!(refers || !tests.is_empty(), "row {number} names no test");
    }
}
