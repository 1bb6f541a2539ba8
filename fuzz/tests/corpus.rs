//! Every input that is remembered, through its target, without the fuzzer.

use framelane_fuzz::TARGETS;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|cause| panic!("{}: {cause}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    files.sort();
    files
}

/// One test for all, one input after the other: the bound on memory is the process's.
#[test]
fn every_remembered_input_keeps_its_targets_promises() {
    framelane_fuzz::lift_on_panic();
    let mut broken = Vec::new();
    for target in TARGETS {
        let files = files(&corpus().join(target.name));
        assert!(!files.is_empty(), "{} has no corpus", target.name);
        for file in files {
            let input = std::fs::read(&file).unwrap();
            if std::panic::catch_unwind(|| target.take(&input)).is_err() {
                broken.push(file);
            }
        }
    }
    assert!(broken.is_empty(), "promises are broken by {broken:#?}");
}

#[test]
fn every_folder_of_the_corpus_has_a_target() {
    for folder in files(&corpus()) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            TARGETS.iter().any(|target| target.name == name),
            "{name} is no target"
        );
    }
}
