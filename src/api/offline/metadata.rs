//! Pure: what an API server asks of the metadata of any object: names, labels, annotations.

use serde_json::{Value, json};

use super::refusal::{Refusal, Refusals};
use crate::api::references::{NAMESPACE_PATTERN, OBJECT_NAME_PATTERN};

/// What a name must be.
struct NameRule {
    /// Several labels, joined by dots.
    dots: bool,
    /// At most so many characters.
    most: usize,
    help: &'static str,
    pattern: &'static str,
}

const OBJECT_NAME: NameRule = NameRule {
    dots: true,
    most: 253,
    help: "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end \
           with an alphanumeric character (e.g. 'example.com')",
    pattern: OBJECT_NAME_PATTERN,
};
const NAMESPACE: NameRule = NameRule {
    dots: false,
    most: 63,
    help: "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
           alphanumeric character (e.g. 'my-name',  or '123-abc')",
    pattern: NAMESPACE_PATTERN,
};

/// The longest label, and the longest name part of its key.
const MAX_LABEL: usize = 63;
/// All annotations together, keys and values, in bytes.
const MAX_ANNOTATIONS: usize = 256 << 10;

const LABEL_HELP: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
                          start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345')";
const QUALIFIED_HELP: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                              alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc'), after an optional DNS \
                              subdomain prefix and '/' (e.g. 'example.com/MyName')";

/// The fields of `ObjectMeta`, those included that a server sets: a manifest may have been read from one.
pub(super) fn schema() -> Value {
    let text = || json!({"type": "string"});
    let texts = || json!({"type": "object", "additionalProperties": {"type": "string"}});
    let time = || json!({"type": "string", "format": "date-time"});
    json!({"type": "object", "properties": {
        "name": text(), "generateName": text(), "namespace": text(), "labels": texts(), "annotations": texts(),
        "uid": text(), "resourceVersion": text(), "selfLink": text(), "generation": {"type": "integer"},
        "creationTimestamp": time(), "deletionTimestamp": time(), "deletionGracePeriodSeconds": {"type": "integer"},
        "finalizers": {"type": "array", "items": text()},
        "ownerReferences": {"type": "array", "items": {
            "type": "object",
            "required": ["apiVersion", "kind", "name", "uid"],
            "properties": {
                "apiVersion": text(), "kind": text(), "name": text(), "uid": text(),
                "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"},
            },
        }},
    }})
}

/// Checks the names, labels and annotations of a manifest whose metadata has the right shape.
pub(super) fn check(manifest: &Value, refusals: &mut Refusals) {
    let Some(metadata) = manifest.get("metadata").and_then(Value::as_object) else { return };
    match metadata.get("name") {
        // Without a server nothing generates a name.
        None => refusals.add_shapeless(Refusal::new("metadata.name", "Required value: name is required")),
        Some(name) => check_name(&OBJECT_NAME, name, "metadata.name", refusals),
    }
    if let Some(namespace) = metadata.get("namespace") {
        check_name(&NAMESPACE, namespace, "metadata.namespace", refusals);
    }
    for (key, value) in metadata.get("labels").and_then(Value::as_object).into_iter().flatten() {
        check_key(key, "metadata.labels", refusals);
        if value.as_str().is_some_and(|value| !value.is_empty() && !is_label(value)) {
            refusals.add(Refusal::invalid("metadata.labels", value, LABEL_HELP));
        }
    }
    let annotations = metadata.get("annotations").and_then(Value::as_object);
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flatten() {
        check_key(&key.to_lowercase(), "metadata.annotations", refusals);
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > MAX_ANNOTATIONS {
        refusals.add_shapeless(Refusal::new(
            "metadata.annotations",
            format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes"),
        ));
    }
}

fn check_name(rule: &NameRule, name: &Value, path: &str, refusals: &mut Refusals) {
    let Some(text) = name.as_str() else { return };
    if text.len() > rule.most {
        refusals.add(Refusal::invalid(path, name, format!("must be no more than {} characters", rule.most)));
    }
    if !rule.accepts(text) {
        let detail = format!("{}, regex used for validation is '{}'", rule.help, rule.pattern);
        refusals.add(Refusal::invalid(path, name, detail));
    }
}

impl NameRule {
    fn accepts(&self, text: &str) -> bool {
        if self.dots { text.split('.').all(is_dns_label) } else { is_dns_label(text) }
    }
}

fn is_dns_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn check_key(key: &str, path: &str, refusals: &mut Refusals) {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if !is_label(name) || prefix.is_some_and(|prefix| prefix.len() > OBJECT_NAME.most || !OBJECT_NAME.accepts(prefix)) {
        refusals.add(Refusal::invalid(path, &Value::from(key), QUALIFIED_HELP));
    }
}

/// Up to 63 letters, digits, `-`, `_`, `.`, with a letter or digit at both ends.
fn is_label(text: &str) -> bool {
    let ends = |character: Option<char>| character.is_some_and(|character| character.is_ascii_alphanumeric());
    text.len() <= MAX_LABEL
        && ends(text.chars().next())
        && ends(text.chars().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn refused(metadata: &Value) -> Vec<String> {
        let mut refusals = Refusals::default();
        check(&json!({"metadata": metadata}), &mut refusals);
        refusals.into_result().err().unwrap_or_default().into_iter().map(|refusal| refusal.path).collect()
    }

    #[test]
    fn names_are_dns_names() {
        for good in ["a", "a-b", "a.b-c.d0", "0", &"a".repeat(253)] {
            assert!(refused(&json!({"name": good})).is_empty(), "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a/b", "ä", &"a".repeat(254)] {
            assert_eq!(refused(&json!({"name": bad})), ["metadata.name"], "{bad}");
        }
        assert_eq!(refused(&json!({})), ["metadata.name"]);
        assert_eq!(refused(&json!({"name": "a", "namespace": "a.b"})), ["metadata.namespace"]);
        assert_eq!(refused(&json!({"name": "a", "namespace": "a".repeat(64)})), ["metadata.namespace"]);
    }

    #[test]
    fn labels_and_annotations_are_qualified_names() {
        let good = json!({"name": "a", "labels": {"app.kubernetes.io/name": "My_App.1", "empty": ""},
            "annotations": {"activation.dev/requested-at": "any text, of any form"}});
        assert!(refused(&good).is_empty());
        assert_eq!(refused(&json!({"name": "a", "labels": {"app": "my app"}})), ["metadata.labels"]);
        assert_eq!(refused(&json!({"name": "a", "labels": {"Bad.Prefix/x": "y"}})), ["metadata.labels"]);
        assert_eq!(refused(&json!({"name": "a", "annotations": {"a b": "y"}})), ["metadata.annotations"]);
        assert_eq!(refused(&json!({"name": "a", "annotations": {"a": "y".repeat(1 << 18)}})), ["metadata.annotations"]);
    }
}
