//! Pure: a Secret's manifest as an API server would hold it. No message holds a value.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde_json::Value;

use crate::export::partition_key::sha256_hex;
use crate::reconcile::inventory::Secret;

/// Decodes `data`, lays `stringData` over it, and makes a resource version of what results.
pub(super) fn read(manifest: &Value) -> Result<Secret, Vec<String>> {
    let mut problems = Vec::new();
    let mut data = BTreeMap::new();
    for (key, value) in members(manifest, "data", &mut problems) {
        match decode(value) {
            Some(bytes) => {
                data.insert(key.to_owned(), bytes);
            }
            None => problems.push(format!(
                "data: the value of {key:?} is not base64: encode it, or write it in plain under stringData"
            )),
        }
    }
    for (key, value) in members(manifest, "stringData", &mut problems) {
        match value {
            Value::String(text) => {
                data.insert(key.to_owned(), text.clone().into_bytes());
            }
            Value::Null => {
                data.insert(key.to_owned(), Vec::new());
            }
            _ => problems.push(format!("stringData: the value of {key:?} is no text: put it in quotes")),
        }
    }
    if problems.is_empty() { Ok(Secret { resource_version: version(&data), data }) } else { Err(problems) }
}

fn members<'a>(
    manifest: &'a Value,
    member: &str,
    problems: &mut Vec<String>,
) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
    let object = match manifest.get(member) {
        None | Some(Value::Null) => None,
        Some(Value::Object(object)) => Some(object),
        Some(_) => {
            problems.push(format!("{member} is no mapping: write key: value pairs"));
            None
        }
    };
    object.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

/// Base64 as an API server reads it: line breaks inside do not count.
fn decode(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) => {
            let text: String = text.chars().filter(|character| !matches!(character, '\r' | '\n')).collect();
            // The decoder of the Kubernetes types themselves; its message is not passed on.
            serde_json::from_value::<ByteString>(Value::String(text)).ok().map(|bytes| bytes.0)
        }
        _ => None,
    }
}

/// Another one for other contents.
fn version(data: &BTreeMap<String, Vec<u8>>) -> String {
    let mut contents = Vec::new();
    for (key, value) in data {
        // Each part with its length, so that no two Secrets make one text.
        for part in [key.as_bytes(), value] {
            contents.extend_from_slice(&(part.len() as u64).to_be_bytes());
            contents.extend_from_slice(part);
        }
    }
    sha256_hex(&contents, 16)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn data_is_decoded_and_string_data_lies_over_it() {
        let secret = read(&json!({
            "data": {"a": "aHVudGVy\nMg==\n", "b": "AP8=", "empty": null},
            "stringData": {"b": "plain"},
        }))
        .unwrap();
        let data: Vec<_> = secret.data.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
        assert_eq!(data, [("a", &b"hunter2"[..]), ("b", b"plain"), ("empty", b"")]);
    }

    #[test]
    fn the_resource_version_follows_the_contents_however_they_are_written() {
        let version = |manifest: Value| read(&manifest).unwrap().resource_version;
        let plain = version(json!({"stringData": {"a": "hunter2"}}));
        assert_eq!(version(json!({"data": {"a": "aHVudGVyMg=="}})), plain);
        assert_ne!(version(json!({"stringData": {"a": "hunter3"}})), plain);
        assert_ne!(version(json!({"stringData": {"ah": "unter2"}})), plain);
        assert_eq!(version(json!({})), version(json!({"data": null})));
    }

    #[test]
    fn what_is_refused_names_the_key_and_never_the_value() {
        let table = [
            (json!({"data": {"k": "hunter2!"}}), "data: the value of \"k\" is not base64"),
            (json!({"data": {"k": 271_828}}), "data: the value of \"k\" is not base64"),
            (json!({"stringData": {"k": 271_828}}), "stringData: the value of \"k\" is no text"),
            (json!({"data": "hunter2"}), "data is no mapping"),
            (json!({"stringData": ["hunter2"]}), "stringData is no mapping"),
        ];
        for (manifest, message) in table {
            let problems = read(&manifest).unwrap_err();
            assert!(problems.len() == 1 && problems[0].starts_with(message), "{problems:?}");
            assert!(!problems[0].contains("hunter2") && !problems[0].contains("271828"), "{problems:?}");
        }
    }
}
