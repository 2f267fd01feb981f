//! The committed reference of both resources is what their definitions say.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{fmt::Write as _, fs, path::Path};

use activation_operator::api::crd;
use serde_json::Value;

const HEAD: &str = "<!-- Generated from the definitions in crds/: UPDATE_DOCS=1 cargo test --test reference -->

# Both resources

Every field, as `kubectl explain` tells it. A name with `[]` is a list, and what follows is a field of each item. What the API server
refuses beyond types, patterns and bounds stands below each table, in the words of the refusal. Conditions and their reasons:
[conditions.md](conditions.md). To copy from: [examples/](../examples/).
";

/// What a field may hold, in a few words.
fn kind(node: &Value) -> String {
    let number = |name: &str| node[name].as_i64();
    let mut text = match node["type"].as_str().unwrap_or("any") {
        "array" => format!("list of {}s", node["items"]["type"].as_str().unwrap_or("any")),
        "object" if node["additionalProperties"].is_object() => "map".to_owned(),
        "string" if node["format"] == "date-time" => "time".to_owned(),
        other => other.to_owned(),
    };
    if let Some(values) = node["enum"].as_array() {
        let values: Vec<_> = values.iter().map(|value| format!("`{}`", value.as_str().unwrap())).collect();
        text = format!("one of {}", values.join(", "));
    }
    for (least, most, what) in [
        ("minimum", "maximum", ""),
        ("minItems", "maxItems", " items"),
        ("minLength", "maxLength", " characters"),
        ("minProperties", "maxProperties", " entries"),
    ] {
        match (number(least), number(most)) {
            (Some(least), Some(most)) => write!(text, ", {least} to {most}{what}").unwrap(),
            (None, Some(most)) => write!(text, ", at most {most}{what}").unwrap(),
            (Some(least), None) => write!(text, ", at least {least}{what}").unwrap(),
            (None, None) => {}
        }
    }
    text
}

/// A row for every field below a node, and the messages of the rules.
fn rows(node: &Value, path: &str, rows: &mut String, rules: &mut Vec<String>) {
    for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
        rules.push(rule["message"].as_str().unwrap().to_owned());
    }
    if node["items"].is_object() {
        return self::rows(&node["items"], &format!("{path}[]"), rows, rules);
    }
    let required = |name: &str| node["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
    for (name, field) in node["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let default = match &field["default"] {
            Value::Null | Value::Object(_) => String::new(),
            value => format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
        };
        let default = if required(name) { "**required**".to_owned() } else { default };
        let text = field["description"].as_str().unwrap_or_default().replace('|', "\\|");
        writeln!(rows, "| `{path}` | {} | {default} | {text} |", kind(field)).unwrap();
        // The fields of a condition are Kubernetes' own.
        if name != "conditions" {
            self::rows(field, &path, rows, rules);
        }
    }
}

fn reference() -> String {
    let mut page = HEAD.to_owned();
    for definition in crd::definitions().unwrap() {
        let names = &definition["spec"]["names"];
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let kind = names["kind"].as_str().unwrap();
        writeln!(
            page,
            "\n## {kind}\n\n`activation.dev/v1alpha1`, namespaced; short: `{}`. {}",
            names["shortNames"][0].as_str().unwrap(),
            schema["description"].as_str().unwrap()
        )
        .unwrap();
        for part in ["spec", "status"] {
            let (mut table, mut rules) = (String::new(), Vec::new());
            rows(&schema["properties"][part], part, &mut table, &mut rules);
            writeln!(
                page,
                "\n### {kind}: {part}\n\n| field | type | default | meaning |\n| --- | --- | --- | --- |\n{table}"
            )
            .unwrap();
            rules.dedup();
            if part == "spec" {
                writeln!(page, "Refused, with these words:\n\n- {}", rules.join("\n- ")).unwrap();
            }
        }
    }
    let trimmed: Vec<_> = page.lines().map(str::trim_end).collect();
    format!("{}\n", trimmed.join("\n").trim_end())
}

/// `UPDATE_DOCS=1` writes the file instead of comparing it.
#[test]
fn the_committed_reference_is_what_the_definitions_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let text = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "docs/reference.md is stale: UPDATE_DOCS=1 cargo test --test reference, and commit it");
}

#[test]
fn every_field_of_both_resources_has_a_row() {
    let text = reference();
    let rows = text.lines().filter(|line| line.starts_with("| `spec.") || line.starts_with("| `status.")).count();
    assert!(rows > 130, "only {rows} rows");
    for wanted in [
        "| `spec.region` | string, 1 to 32 characters | **required** | The AWS region",
        "| `spec.audiences[].namespace` | string, 1 to 64 characters | `ups` | Namespace of the audience",
        "| `status.permissions[].granted` | one of `True`, `False`, `Unknown` | **required** |",
        "- set exactly one of stream.name and stream.arn",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in the reference");
    }
}
