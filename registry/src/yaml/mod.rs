//! Documents as people write them, in YAML or JSON: to objects, or to an error with line and column.

mod node;

use crate::model::{
    Assignment, Consumer, Key, Kind, Labels, Name, Object, Pipeline, Processor, Source, Spec,
    Version,
};
use node::{Node, Place};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt;

pub use crate::schema::json_schema;

/// A file of declarations is read whole; a larger one is surely something else.
pub const MAX_TEXT_BYTES: usize = 16 << 20;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    pub file: String,
    /// From 1; 0: not known.
    pub line: u64,
    /// From 1; 0: not known.
    pub column: u64,
    pub message: String,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message),
        }
    }
}

impl std::error::Error for YamlError {}

/// An object and where its document begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub object: Object,
    /// The document says that it replaces this version: another one is not to be overwritten.
    pub replaces: Option<Version>,
    /// From 1.
    pub line: u64,
}

/// The objects of a text, in its order. Unknown keys, wrong values and objects that come twice are refused. `file` is for
/// messages only.
pub fn parse(text: &str, file: &str) -> Result<Vec<Object>, YamlError> {
    let documents = parse_documents(text, file)?;
    Ok(documents.into_iter().map(|one| one.object).collect())
}

/// As [`parse`], with what is known of each document beside its object.
pub fn parse_documents(text: &str, file: &str) -> Result<Vec<Document>, YamlError> {
    let at = |place: Place, message: String| YamlError {
        file: file.to_owned(),
        line: place.line,
        column: place.column,
        message,
    };
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("more than {MAX_TEXT_BYTES} bytes: split it");
        return Err(at(Place::UNKNOWN, message));
    }
    // Else a processor called y or a host called no would be a boolean.
    let options = serde_saphyr::options! { strict_booleans: true };
    let nodes: Vec<Node> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|cause| at(Place::of(&cause), words(&cause)))?;
    let mut documents: Vec<Document> = Vec::with_capacity(nodes.len());
    let mut lines = std::collections::HashMap::<Key, u64>::with_capacity(nodes.len());
    for node in &nodes {
        let document = document(node).map_err(|(place, message)| at(place, message))?;
        let key = document.object.key();
        if let Some(line) = lines.insert(key.clone(), document.line) {
            let message = format!("{key} is declared twice, first in line {line}");
            return Err(at(node.place, message));
        }
        documents.push(document);
    }
    Ok(documents)
}

/// The objects as a text that [`parse`] takes.
pub fn write<'a>(
    objects: impl IntoIterator<Item = &'a Object>,
) -> Result<String, serde_saphyr::ser_error::Error> {
    let mut text = String::new();
    for (n, object) in objects.into_iter().enumerate() {
        if n > 0 {
            text.push_str("---\n");
        }
        text.push_str(&serde_saphyr::to_string(object)?);
    }
    Ok(text)
}

/// A document; also one that was shown, with what is known of it beside what was declared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<S> {
    #[serde(rename = "kind")]
    _kind: Kind,
    #[serde(rename = "written-by")]
    _written_by: Option<String>,
    #[serde(rename = "written-at")]
    _written_at: Option<String>,
    name: Name,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    version: Option<Version>,
    spec: S,
}

fn document(node: &Node) -> Result<Document, (Place, String)> {
    let Some((_, kind)) = node.entry("kind") else {
        let message =
            "a document begins with `kind:` (Source, Processor, Pipeline, Consumer or Assignment)";
        return Err((node.place, message.to_owned()));
    };
    let value = kind.to_value();
    let parsed = serde_json::from_value::<Kind>(value.clone());
    match parsed {
        Ok(Kind::Source) => typed::<Source>(node),
        Ok(Kind::Processor) => typed::<Processor>(node),
        Ok(Kind::Pipeline) => typed::<Pipeline>(node),
        Ok(Kind::Consumer) => typed::<Consumer>(node),
        Ok(Kind::Assignment) => typed::<Assignment>(node),
        Err(_) => Err((
            kind.place,
            format!(
                "{value} is no kind: there are Source, Processor, Pipeline, Consumer and Assignment"
            ),
        )),
    }
}

fn typed<S: DeserializeOwned + Into<Spec>>(node: &Node) -> Result<Document, (Place, String)> {
    let written: Written<S> = serde_path_to_error::deserialize(node.to_value())
        .map_err(|cause| located(node, cause.path(), &cause.inner().to_string()))?;
    let spec: Spec = written.spec.into();
    if let Some((stage, why)) = spec.bad_option() {
        return Err((place_of_option(node, stage, &why), why));
    }
    Ok(Document {
        object: Object {
            name: written.name,
            labels: written.labels,
            spec,
        },
        replaces: written.version,
        line: node.place.line,
    })
}

/// The place of an error: of the value that the path leads to; of the key, if it is about a key there. What the model says
/// of several values begins with the name of one of them: `schedule: ...`, `options.fps: ...`.
fn located(root: &Node, path: &serde_path_to_error::Path, message: &str) -> (Place, String) {
    use serde_path_to_error::Segment;
    let mut node = root;
    let mut place = root.place;
    let mut last_key = None;
    for segment in path.iter() {
        let next = match segment {
            Segment::Map { key } | Segment::Enum { variant: key } => node.entry(key),
            Segment::Seq { index } => node.item(*index).map(|item| (item.place, item)),
            Segment::Unknown => None,
        };
        let Some((key, inner)) = next else {
            break;
        };
        if let Segment::Map { key: name } = segment {
            last_key = Some((name.as_str(), key));
        }
        // A map begins where its key stands: "in spec" rather than "at the first key of spec".
        place = match inner.is_map() {
            true => key,
            false => inner.place,
        };
        node = inner;
    }
    let unknown = message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once('`'));
    if let Some((name, _)) = unknown.or_else(|| message.split_once(':')) {
        place = within(node, last_key, name).unwrap_or(place);
    }
    let key = last_key.map(|(key, _)| key);
    (place, named(key, message))
}

/// Serde says of a value that does not fit what it is, but neither whose it is nor what it should be in words of ours.
fn named(key: Option<&str>, message: &str) -> String {
    let Some(key) = key else {
        return message.to_owned();
    };
    let is_of_value = ["invalid type: ", "invalid value: ", "unknown variant "];
    if !is_of_value.iter().any(|start| message.starts_with(start)) {
        return message.to_owned();
    }
    let (found, expected) = message.rsplit_once("expected ").unwrap_or((message, ""));
    let expected = match expected {
        "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "i64" => "a whole number",
        "f64" => "a number",
        other => other,
    };
    match expected {
        "" => format!("{key}: {message}"),
        _ => format!("{key}: {found}expected {expected}"),
    }
}

/// Where the option stands that this text begins with.
fn place_of_option(document: &Node, stage: Option<usize>, text: &str) -> Place {
    let spec = document.entry("spec").map(|(_, spec)| spec);
    let holder = match stage {
        None => spec,
        Some(number) => spec
            .and_then(|spec| spec.entry("stages"))
            .and_then(|(_, stages)| stages.item(number)),
    };
    let name = text.split_once(':').map_or(text, |(name, _)| name);
    holder
        .and_then(|holder| within(holder, None, name))
        .unwrap_or(document.place)
}

/// The key that such a name leads to: `options.fps`, from this node or from the key that led to it.
fn within(node: &Node, last_key: Option<(&str, Place)>, name: &str) -> Option<Place> {
    let mut parts = name.split('.').peekable();
    let mut found = None;
    if let Some((last, place)) = last_key
        && parts.peek() == Some(&last)
    {
        found = Some(place);
        parts.next();
    }
    let mut node = node;
    for part in parts {
        let (place, inner) = node.entry(part)?;
        found = Some(place);
        node = inner;
    }
    found
}

impl Place {
    const UNKNOWN: Self = Self { line: 0, column: 0 };

    fn of(cause: &serde_saphyr::Error) -> Self {
        let location = cause.location();
        location.map_or(Self::UNKNOWN, |location| Self {
            line: location.line(),
            column: location.column(),
        })
    }
}

/// The parser's words without the excerpt and the place, which are said in our own way.
fn words(cause: &serde_saphyr::Error) -> String {
    let text = cause.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    match first.rfind(" at line ") {
        Some(end) => first[..end].to_owned(),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests;
