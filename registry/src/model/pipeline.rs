//! Pipelines: stages that take frames from topics and leave them, with one more result, in others.

use super::processor::{first_version, version_schema, version_text};
use super::{Labels, Name, Options, options};
use schemars::JsonSchema;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Stages that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pipeline {
    pub stages: Vec<Stage>,
}

/// One step: what it reads, what it does, where it writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "StageText", into = "StageText")]
#[schemars(with = "StageText")]
pub struct Stage {
    /// Its own within the pipeline.
    pub name: Name,
    pub work: Work,
    /// The output topic; None: INPUT.STAGE, one for each input.
    pub to: Option<Name>,
    /// The broker's.
    pub options: Options,
    /// A change of it rolls the stage over without a gap.
    pub version: String,
}

/// What a stage does.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Each frame goes through a processor.
    Process { from: Inputs, processor: Name },
    /// Each frame collects the results that it has in all of these; they go back to one source.
    Join { inputs: Vec<Name> },
}

/// What a stage reads.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Inputs {
    /// Names of sources or of stages' outputs.
    Names(Vec<Name>),
    /// Every source that has all of these labels, also one that comes later.
    Labels { labels: Labels },
}

/// A stage as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Stage")]
struct StageText {
    name: Name,
    /// Names of sources or of stages' outputs, or `labels:` that sources have to have
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Inputs>,
    /// The name of a Processor
    #[serde(default, skip_serializing_if = "Option::is_none")]
    processor: Option<Name>,
    /// Instead of from and processor: one frame with the results of all of these
    #[serde(default, skip_serializing_if = "Option::is_none")]
    join: Option<Vec<Name>>,
    /// The output topic [default: INPUT.STAGE, one for each input]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Name>,
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    options: Options,
    /// A change of it rolls the stage over without a gap
    #[serde(default = "first_version", deserialize_with = "version_text")]
    #[schemars(schema_with = "version_schema")]
    version: String,
}

impl TryFrom<StageText> for Stage {
    type Error = String;

    fn try_from(text: StageText) -> Result<Self, String> {
        text.options.check("broker", options::OF_STAGES)?;
        let work = match (text.from, text.processor, text.join) {
            (Some(from), Some(processor), None) => {
                if from.is_empty() {
                    return Err("from: name at least one source or label".to_owned());
                }
                Work::Process { from, processor }
            }
            (None, None, Some(inputs)) => {
                if inputs.len() < 2 {
                    return Err("join: name at least two topics".to_owned());
                }
                if text.to.is_none() {
                    return Err("to: say which topic the joined frames go to".to_owned());
                }
                Work::Join { inputs }
            }
            (_, _, Some(_)) => {
                return Err("join: a stage has either join, or from and processor".to_owned());
            }
            (None, ..) => {
                return Err("from: say what the stage reads, or what it has to join".to_owned());
            }
            (_, None, _) => {
                return Err("processor: say which Processor the frames go through".to_owned());
            }
        };
        Ok(Self {
            name: text.name,
            work,
            to: text.to,
            options: text.options,
            version: text.version,
        })
    }
}

impl From<Stage> for StageText {
    fn from(stage: Stage) -> Self {
        let (from, processor, join) = match stage.work {
            Work::Process { from, processor } => (Some(from), Some(processor), None),
            Work::Join { inputs } => (None, None, Some(inputs)),
        };
        Self {
            name: stage.name,
            from,
            processor,
            join,
            to: stage.to,
            options: stage.options,
            version: stage.version,
        }
    }
}

impl Inputs {
    fn is_empty(&self) -> bool {
        match self {
            Self::Names(names) => names.is_empty(),
            Self::Labels { labels } => labels.is_empty(),
        }
    }
}

impl<'de> Deserialize<'de> for Inputs {
    /// By hand, so that an error is about what is written and not about every form that it could have had.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct ByLabels {
            labels: Labels,
        }

        impl<'de> Visitor<'de> for Forms {
            type Value = Inputs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names, e.g. [cam0], or {labels: {NAME: TEXT}}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Inputs, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Inputs::Names(names))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Inputs, A::Error> {
                let map = serde::de::value::MapAccessDeserializer::new(map);
                ByLabels::deserialize(map).map(|by| Inputs::Labels { labels: by.labels })
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for Inputs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Inputs".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let name = generator.subschema_for::<Name>();
        schemars::json_schema!({"anyOf": [
            {"type": "array", "items": name, "minItems": 1},
            {
                "type": "object",
                "properties": {"labels": {"type": "object", "additionalProperties": {"type": "string"}}},
                "required": ["labels"],
                "additionalProperties": false,
            },
        ]})
    }
}
