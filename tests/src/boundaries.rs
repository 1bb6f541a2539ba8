//! The house rules that a compiler does not check: who may name whom.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
}

/// All Rust files and manifests below the crates' folders.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)
        .expect("a readable folder")
        .flatten()
    {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") || name == "Cargo.toml" {
            found.push(path);
        }
    }
    found
}

/// Asserts that only files below these places use the crate (in paths or as a dependency).
fn assert_only(places: &[&str], krate: &str) {
    let uses = [
        format!("use {krate}::"),
        format!("{krate}::"),
        format!("{krate}.workspace"),
        format!("{krate} = {{ workspace"),
    ];
    let files = sources(root());
    assert!(files.len() > 50, "the sources were not found");
    for file in files {
        let name = file
            .strip_prefix(root())
            .expect("below the root")
            .to_string_lossy()
            .into_owned();
        if name == "Cargo.toml"
            || name == "tests/src/boundaries.rs"
            || places.iter().any(|place| name.starts_with(place))
        {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a text");
        let found = uses.iter().find(|word| text.contains(word.as_str()));
        assert_eq!(found, None, "{name} names {krate}; only {places:?} may");
    }
}

#[test]
fn only_the_kafka_module_names_the_kafka_client() {
    // And the benchmarks: what is measured there is what others would write, with the client as it is. And the proof,
    // which must not share a mistake with what it proves.
    let places = [
        "pipeline/src/kafka/",
        "pipeline/Cargo.toml",
        "bench/",
        "prove/",
    ];
    assert_only(&places, "rdkafka");
}

#[test]
fn opencv_stays_out_of_the_wire_the_pipeline_and_the_broker() {
    // And the resize service's test clients: they read a video as anybody would, and are no part of a pipeline. And the
    // benchmarks, as with the Kafka client.
    let places = [
        "producer/",
        "consumer/",
        "processors/",
        "resize-clients/",
        "bench/",
    ];
    assert_only(&places, "opencv");
}

#[test]
fn services_do_not_depend_on_each_other() {
    let services = [
        "producer",
        "broker",
        "consumer",
        "processors",
        "resize-clients",
        "gateway",
    ];
    for service in services {
        let manifest = root().join(service).join("Cargo.toml");
        let text = std::fs::read_to_string(manifest).expect("every service has a manifest");
        let (_, dependencies) = text
            .split_once("[dependencies]")
            .expect("it depends on something");
        for line in dependencies.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(!services.contains(&name), "{service} depends on {name}");
        }
    }
}
