//! What the tests of the registry need: registries of their own, objects, and the command.

use crate::harness::{Process, name, program};
use pipeline::kafka::KafkaConfig;
use registry::{Change, Key, Object, Registry, RegistryError, Version, Written};
use std::process::Command;

/// The topic of a registry that nobody else has.
pub fn registry_name() -> String {
    format!("registry-{}", name())
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

pub async fn open(servers: &str, topic: &str) -> Registry {
    let kafka = KafkaConfig::new(servers).expect("a usable address");
    Registry::open(&kafka, topic).await.expect("a registry")
}

/// The objects of a YAML text.
pub fn objects(text: &str) -> Vec<Object> {
    registry::yaml::parse(text, "test").expect("good documents")
}

/// The only object of a YAML text.
pub fn object(text: &str) -> Object {
    let mut all = objects(text);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// A source of a test picture.
pub fn source(name: &str, fps: u32) -> Object {
    object(&format!(
        "{{kind: Source, name: {name}, spec: {{host: h, pattern: 160x120@30, options: {{fps: {fps}}}}}}}"
    ))
}

pub fn key(text: &str) -> Key {
    text.parse().expect("KIND/NAME")
}

/// Writes one object; returns its version.
pub async fn put(
    registry: &Registry,
    object: Object,
    seen: Version,
) -> Result<Version, RegistryError> {
    let written = registry.write(&[Change::put(object, seen)]).await?;
    let [Written { version, .. }] = written.as_slice() else {
        panic!("one answer for one change: {written:?}");
    };
    Ok(*version)
}

/// Starts `framelane` on this registry, without waiting for its end.
pub fn start(servers: &str, topic: &str, args: &[&str]) -> Process {
    let mut command = Command::new(program("framelane"));
    command
        .args(args)
        .env("KAFKA_BOOTSTRAP_SERVERS", servers)
        .env("FRAMELANE_REGISTRY", topic);
    Process::spawn(&format!("framelane {}", args.join(" ")), command)
}

/// Runs `framelane` to its end: exit code and all that it printed.
pub fn framelane(servers: &str, topic: &str, args: &[&str]) -> (Option<i32>, String) {
    start(servers, topic, args).outcome()
}

/// Runs a command that must succeed; returns what it printed.
pub fn framelane_ok(servers: &str, topic: &str, args: &[&str]) -> String {
    let (code, said) = framelane(servers, topic, args);
    assert_eq!(code, Some(0), "framelane {}\n{said}", args.join(" "));
    said
}

/// A file with this text, as long as the folder lives.
pub fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a readable path").to_owned()
}
