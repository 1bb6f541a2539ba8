//! A YAML document as a JSON value, and where each part of it stands.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;
use std::fmt;

/// A value with its place in the text.
#[derive(Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: Content,
}

/// Line and column, both from 1; 0 if it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub line: u64,
    pub column: u64,
}

#[derive(Debug)]
pub(super) enum Content {
    Scalar(Value),
    List(Vec<Node>),
    /// In the order of the text.
    Map(Vec<(String, Place, Node)>),
}

impl Node {
    /// The value alone.
    pub fn to_value(&self) -> Value {
        match &self.value {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Self::to_value).collect(),
            Content::Map(entries) => {
                let pairs = entries
                    .iter()
                    .map(|(key, _, value)| (key.clone(), value.to_value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// The entry of a map, with the place of its key.
    pub fn entry(&self, name: &str) -> Option<(Place, &Node)> {
        let Content::Map(entries) = &self.value else {
            return None;
        };
        let found = entries.iter().find(|(key, ..)| key == name)?;
        Some((found.1, &found.2))
    }

    pub fn is_map(&self) -> bool {
        matches!(self.value, Content::Map(_))
    }

    /// The item of a list.
    pub fn item(&self, index: usize) -> Option<&Node> {
        match &self.value {
            Content::List(items) => items.get(index),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        let place = Place {
            line: spanned.referenced.line(),
            column: spanned.referenced.column(),
        };
        Ok(Self {
            place,
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Content, E> {
        Number::from_f64(value)
            .map(|number| Content::Scalar(number.into()))
            .ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let place = Place {
                line: key.referenced.line(),
                column: key.referenced.column(),
            };
            entries.push((key.value, place, map.next_value()?));
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_knows_its_place() {
        let text = "a: 1\nlist:\n  - x\n  - {deep: true}\n---\nsecond:\n  key: [1.5, null]\n";
        let nodes: Vec<Node> = serde_saphyr::from_multiple(text).unwrap();
        let at = |line, column| Place { line, column };
        let (key, list) = nodes[0].entry("list").unwrap();
        assert_eq!(key, at(2, 1));
        assert_eq!(list.item(0).unwrap().place, at(3, 5));
        let (key, deep) = list.item(1).unwrap().entry("deep").unwrap();
        assert_eq!((key, deep.place), (at(4, 6), at(4, 12)));
        let (key, _) = nodes[1].entry("second").unwrap();
        assert_eq!(key, at(6, 1));
        let expected = serde_json::json!({"second": {"key": [1.5, null]}});
        assert_eq!(nodes[1].to_value(), expected);
    }
}
