//! Pure: a text as its documents, each a value or what keeps it from being one.
//!
//! A text that may hold a Secret is never quoted in a message.

use std::fmt;
use std::io::Cursor;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The documents of a YAML text; empty ones are left out. Nothing behind a broken syntax is read.
pub(super) fn of_yaml(text: &str) -> Vec<Result<Value, String>> {
    // A Secret says its kind, in plain letters or behind an escape.
    let quotable = !text.contains("Secret") && !text.contains('\\');
    let mut reader = Cursor::new(text.as_bytes());
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::read_with_options::<_, Strict>(&mut reader, options)
        .map(|document| document.map(|Strict(value)| value).map_err(|error| not_yaml(&error, quotable)))
        .collect()
}

/// The documents of a JSON text, one after the other. Nothing behind a broken one is read.
pub(super) fn of_json(text: &str) -> Vec<Result<Value, String>> {
    serde_json::Deserializer::from_str(text)
        .into_iter::<Strict>()
        .map(|document| document.map(|Strict(value)| value).map_err(|error| not_json(&error)))
        .collect()
}

fn not_yaml(error: &serde_saphyr::Error, quotable: bool) -> String {
    let error = error.without_snippet();
    if quotable {
        return format!("is not valid YAML: {error}: mend it there; nothing of this document is taken");
    }
    let place = match error.location() {
        Some(place) => format!(" at line {}, column {}", place.line(), place.column()),
        None => String::new(),
    };
    format!("is not valid YAML{place}: mend it there; the text is not shown, since it may belong to a Secret")
}

/// The messages of `serde_json` quote no text of the input.
fn not_json(error: &serde_json::Error) -> String {
    format!("is not valid JSON: {error}: mend it there; nothing of this document is taken")
}

/// A value in whose mappings no key stands twice: the second would silently win.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let Strict(value) = members.next_value()?;
            if object.insert(key, value).is_some() {
                return Err(de::Error::custom("a key stands twice in one mapping"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn empty_documents_are_left_out_and_every_other_is_read() {
        let documents = of_yaml("---\n# nothing\n---\na: 1\n---\n---\nb: [x, 1.5, true, null]\n...\n");
        assert_eq!(documents, [Ok(json!({"a": 1})), Ok(json!({"b": ["x", 1.5, true, null]}))]);
        assert_eq!(of_yaml(""), []);
        assert_eq!(of_json(" {\"a\":1}\n{\"b\":\"\\ud83d\\ude00\"}"), [Ok(json!({"a": 1})), Ok(json!({"b": "😀"}))]);
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_and_the_next_document_is_read() {
        let documents = of_yaml("a: 1\na: 2\n---\nb: 1\n");
        assert!(documents[0].as_ref().unwrap_err().contains("line 2"), "{documents:?}");
        assert_eq!(documents[1], Ok(json!({"b": 1})));
        assert!(of_json(r#"{"a":{"b":1,"b":2}}"#)[0].as_ref().unwrap_err().contains("stands twice"));
    }

    #[test]
    fn broken_syntax_is_told_with_its_place() {
        for text in ["a: [1, 2", "a: b: c\n", "a: b\n\tx: 1", "a: 'open"] {
            let documents = of_yaml(text);
            let error = documents.last().unwrap().as_ref().unwrap_err();
            assert!(error.contains("is not valid YAML") && error.contains("line "), "{text}: {error}");
        }
        assert!(of_json("{\"a\": 1").last().unwrap().as_ref().unwrap_err().contains("line 1 column 7"));
    }

    #[test]
    fn what_may_be_a_secret_is_never_quoted() {
        let texts = [
            "kind: Secret\nstringData:\n  key: hunter2\n  hunter2: [\n",
            "kind: Secret\nstringData: {hunter2: 1, hunter2: 2}\n",
            "kind: \"S\\x65cret\"\nstringData:\n  a: *hunter2\n",
            "kind: Secret\nstringData:\n  a: !hunter2 x: y\n",
            "kind: Secret\ndata: hunter2: hunter2\n",
            "kind: Secret\ndata: {a: 1e999}\nhunter2",
        ];
        for text in texts {
            let documents = of_yaml(text);
            let error = documents.last().unwrap().as_ref().unwrap_err();
            assert!(!error.contains("hunter2") && error.contains("line"), "{text}: {error}");
        }
        let error = of_json(r#"{"kind":"Secret","data":{"a":"hunter2","a":"hunter2"}}"#).remove(0).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
