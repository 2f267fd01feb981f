//! Types: the part of a structural schema that our definitions use. A keyword that is not listed here fails to be read, so
//! that none is left unchecked.

use std::{borrow::Cow, collections::BTreeMap};

use regex::Regex;
use serde::{Deserialize, Deserializer, de, de::IgnoredAny};
use serde_json::Value;

/// What may stand at one place of a manifest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Schema {
    #[serde(rename = "type")]
    pub(super) shape: Shape,
    #[serde(default)]
    pub(super) properties: BTreeMap<String, Schema>,
    #[serde(default)]
    pub(super) required: Vec<String>,
    pub(super) additional_properties: Option<Box<Schema>>,
    pub(super) items: Option<Box<Schema>>,
    pub(super) default: Option<Value>,
    pub(super) format: Option<Format>,
    #[serde(default, rename = "enum")]
    pub(super) choices: Vec<String>,
    #[serde(default, deserialize_with = "compiled")]
    pub(super) pattern: Option<Regex>,
    pub(super) min_length: Option<usize>,
    pub(super) max_length: Option<usize>,
    pub(super) minimum: Option<i64>,
    pub(super) maximum: Option<i64>,
    pub(super) min_items: Option<usize>,
    pub(super) max_items: Option<usize>,
    pub(super) max_properties: Option<usize>,
    #[serde(default, rename = "x-kubernetes-list-map-keys")]
    pub(super) map_keys: Vec<String>,
    #[serde(rename = "x-kubernetes-list-type")]
    _list_type: Option<ListType>,
    /// Read by `rules`.
    #[serde(default, rename = "x-kubernetes-validations")]
    _rules: IgnoredAny,
    #[serde(default, rename = "description")]
    _description: IgnoredAny,
    #[serde(default, rename = "title")]
    _title: IgnoredAny,
}

/// What kind of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Shape {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Shape {
    /// The name, as in a schema.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    /// What a value is; `None` for null.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Object(_) => Some(Self::Object),
            Value::Array(_) => Some(Self::Array),
            Value::String(_) => Some(Self::String),
            Value::Bool(_) => Some(Self::Boolean),
            Value::Number(number) if number.is_i64() => Some(Self::Integer),
            Value::Number(_) => Some(Self::Number),
        }
    }
}

/// What the text of a string, or the range of an integer, must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    DateTime,
    /// Every integer that is read at all is one.
    Int64,
}

/// `set` is no choice: no list of ours is one, and nothing here would check it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ListType {
    Atomic,
    Map,
}

fn compiled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Regex>, D::Error> {
    let pattern = Cow::<'de, str>::deserialize(deserializer)?;
    Regex::new(&pattern).map(Some).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_keyword_that_nothing_here_checks_fails_to_be_read() {
        let refused = |schema: Value| serde_json::from_value::<Schema>(schema).unwrap_err().to_string();
        for (keyword, value) in [
            ("oneOf", json!([])),
            ("multipleOf", json!(2)),
            ("exclusiveMinimum", json!(true)),
            ("nullable", json!(true)),
            ("x-kubernetes-preserve-unknown-fields", json!(true)),
        ] {
            let error = refused(json!({"type": "integer", keyword: value}));
            assert!(error.contains("unknown field") && error.contains(keyword), "{error}");
        }
        assert!(refused(json!({"type": "array", "x-kubernetes-list-type": "set"})).contains("unknown variant"));
        assert!(refused(json!({"type": "string", "format": "ipv4"})).contains("unknown variant"));
        assert!(refused(json!({"type": "string", "pattern": "("})).contains("regex"));
        assert!(refused(json!({"maxLength": 1})).contains("type"));
    }
}
