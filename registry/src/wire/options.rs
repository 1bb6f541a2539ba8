//! Options as a protobuf Struct, whose only numbers are doubles: whole ones come back as whole ones.

use crate::model::Options;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as Wire};
use serde_json::{Number, Value};

/// Up to here every whole number is a double of its own.
const MOST_WHOLE: f64 = 9_007_199_254_740_992.0;

pub(super) fn to_struct(options: &Options) -> Option<Struct> {
    if options.is_empty() {
        return None;
    }
    let fields = options
        .iter()
        .map(|(name, value)| (name.to_owned(), to_wire(value)));
    Some(Struct {
        fields: fields.collect(),
    })
}

fn to_wire(value: &Value) -> Wire {
    let kind = match value {
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(to_wire).collect(),
        }),
        // Options hold no maps.
        Value::Null | Value::Object(_) => Kind::NullValue(0),
    };
    Wire { kind: Some(kind) }
}

pub(super) fn from_struct(message: Option<Struct>) -> Result<Options, String> {
    let fields = message.map(|message| message.fields).unwrap_or_default();
    let values = fields
        .into_iter()
        .map(|(name, value)| Ok((name, from_wire(value)?)));
    Options::try_from(values.collect::<Result<std::collections::BTreeMap<_, _>, String>>()?)
}

/// Lists hold no lists, so this goes one step deep.
fn from_wire(value: Wire) -> Result<Value, String> {
    Ok(match value.kind {
        Some(Kind::BoolValue(flag)) => flag.into(),
        Some(Kind::NumberValue(number)) => whole_or_not(number)?,
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::ListValue(list)) => {
            let items = list.values.into_iter().map(|item| match item.kind {
                Some(Kind::ListValue(_) | Kind::StructValue(_)) => {
                    Err("an option holds a list of lists".to_owned())
                }
                _ => from_wire(item),
            });
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Some(Kind::StructValue(_)) => return Err("an option holds a map".to_owned()),
        Some(Kind::NullValue(_)) | None => Value::Null,
    })
}

fn whole_or_not(number: f64) -> Result<Value, String> {
    if number.fract() == 0.0 && number.abs() <= MOST_WHOLE {
        return Ok(Value::Number((number as i64).into()));
    }
    Number::from_f64(number)
        .map(Value::Number)
        .ok_or_else(|| "an option is no finite number".to_owned())
}
