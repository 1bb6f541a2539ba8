//! A declared source as the producer's own settings: checked as a file of sources is, by the same code.

use super::slot::Declared;
use crate::args::SourceArgs;
use crate::config::SourceConfig;
use registry::model::{Source, Versioned};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// What the source asks for, or why that cannot be run; the options are named as in a file of sources.
pub fn declared(source: &Versioned<Source>) -> Result<Declared, String> {
    let spec = &source.spec;
    let mut options: Map<String, Value> = Map::new();
    for (name, value) in spec.options.iter() {
        options.insert(name.to_owned(), value.clone());
    }
    let (input, place) = spec.input.option();
    let place = match place.parse::<u32>() {
        Ok(index) if input == "camera" => index.into(),
        _ => Value::String(place),
    };
    options.insert(input.to_owned(), place);
    options.insert("topic".to_owned(), source.topic().as_str().into());
    let named = || source.name.as_str().into();
    options.entry("source-id").or_insert_with(named);
    let args = SourceArgs::deserialize(Value::Object(options))
        .map_err(|cause| format!("options: {cause}"))?;
    let config = SourceConfig::try_from(args).map_err(|cause| cause.to_string())?;
    Ok(Declared {
        config: Arc::new(config),
        opening: spec.opening.clone(),
    })
}
