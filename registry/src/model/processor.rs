//! Processors.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A gRPC service that turns frames into results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Processor {
    /// http://HOST:PORT or https://HOST:PORT; a host name stands for all its addresses
    pub addresses: Vec<Address>,
    /// For people; the versions of stages decide what is rolled over
    #[serde(default = "first_version", deserialize_with = "version_text")]
    #[schemars(schema_with = "version_schema")]
    pub version: String,
}

/// The address of a replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Address(
    #[schemars(regex(pattern = r"^https?://.+:[0-9]+/?$"))]
    String,
);

impl Address {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// HOST:PORT.
    pub fn place(&self) -> &str {
        place(&self.0).expect("checked when it was made")
    }
}

/// HOST:PORT of an address with a scheme.
fn place(text: &str) -> Option<&str> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))?;
    Some(rest.trim_end_matches('/'))
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_good = place(&text)
            .and_then(|place| place.rsplit_once(':'))
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        match is_good {
            true => Ok(Self(text)),
            false => Err(format!(
                "{text:?} is no address of a processor: write http://HOST:PORT or https://HOST:PORT"
            )),
        }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

pub(super) fn first_version() -> String {
    "1".to_owned()
}

pub(super) fn version_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "number"], "default": "1"})
}

/// A version may be written as a number: `version: 2`.
pub(super) fn version_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Text;

    impl Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a version: a text or a number")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            match text.trim().is_empty() {
                true => Err(E::invalid_value(Unexpected::Str(text), &self)),
                false => Ok(text.to_owned()),
            }
        }

        fn visit_u64<E>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_i64<E>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_f64<E>(self, number: f64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }

    deserializer.deserialize_any(Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_address_is_what_callers_name() {
        for (text, place) in [
            ("http://127.0.0.1:51051", "127.0.0.1:51051"),
            ("https://gpu1:50051/", "gpu1:50051"),
        ] {
            let address = Address::try_from(text.to_owned()).unwrap();
            assert_eq!(address.place(), place);
        }
        assert!(Address::try_from("127.0.0.1:51051".to_owned()).is_err());
    }
}
