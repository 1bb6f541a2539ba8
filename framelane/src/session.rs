//! What every command begins with, and how it speaks.

use crate::args::Access;
use anyhow::Context;
use pipeline::kafka::KafkaConfig;
use pipeline::say;
use pipeline::service::ConfigError;
use registry::yaml::{self, Document};
use registry::{Registry, RegistryError};
use std::io::Read;
use std::path::Path;

/// The registry, read to its end.
pub async fn open(access: Access) -> anyhow::Result<Registry> {
    let kafka = KafkaConfig::try_from(access.kafka)?;
    let opened = Registry::open(&kafka, &access.registry.registry).await;
    opened.map_err(plain)
}

/// Errors that more than another try is needed for end with the exit code of wrong settings.
pub fn plain(error: RegistryError) -> anyhow::Error {
    match error {
        RegistryError::Kafka(fault) => fault.into(),
        RegistryError::Refused(_) | RegistryError::Twice(_) => {
            ConfigError(error.to_string()).into()
        }
        other => other.into(),
    }
}

pub fn wrong(text: impl Into<String>) -> anyhow::Error {
    ConfigError(text.into()).into()
}

/// The documents of these files, each with the name of its file.
pub fn documents(files: &[impl AsRef<Path>]) -> anyhow::Result<Vec<(String, Document)>> {
    let mut all = Vec::new();
    for file in files {
        let (name, text) = read(file.as_ref())?;
        let documents =
            yaml::parse_documents(&text, &name).map_err(|cause| wrong(cause.to_string()))?;
        all.extend(documents.into_iter().map(|one| (name.clone(), one)));
    }
    Ok(all)
}

fn read(file: &Path) -> anyhow::Result<(String, String)> {
    if file == Path::new("-") {
        let mut text = String::new();
        let limit = yaml::MAX_TEXT_BYTES as u64 + 1;
        let read = std::io::stdin()
            .lock()
            .take(limit)
            .read_to_string(&mut text);
        read.context("reading standard input")?;
        return Ok(("standard input".to_owned(), text));
    }
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|cause| wrong(format!("cannot read {name}: {cause}")))?;
    Ok((name, text))
}

/// Prints to standard output. Whoever listened may have gone (`| head`): that is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    pipeline::print(text).context("writing to standard output")
}

/// Names what is in Kafka of these kinds, or of one name, and is not shown as it is there.
pub fn warn_if_unreadable(view: &registry::View, kinds: &[registry::Kind], name: Option<&str>) {
    for (key, one) in &view.objects().unreadable {
        let (kind, of) = key.split_once('/').unwrap_or((key, ""));
        let is_asked =
            kinds.iter().any(|one| one.word() == kind) && name.is_none_or(|name| name == of);
        let is_foreign = kinds.len() == registry::Kind::ALL.len() && name.is_none();
        if is_asked || is_foreign {
            say(format_args!(
                "warning: {key}: its newest record (version {}) cannot be read by this release: {}; services go on with what \
                 they knew of it before",
                one.version, one.why
            ));
        }
    }
}

/// Said beside every answer that may be old.
pub fn warn_if_away(view: &registry::View) {
    if let Some(since) = view.away_since() {
        say(format_args!(
            "warning: Kafka has not answered since {since}: this is what was known then"
        ));
    }
}
