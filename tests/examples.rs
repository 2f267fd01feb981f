//! What people copy works: every example, and what the README shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use activation_operator::api::crd;
use activation_operator::standalone::manifests;
use serde_json::Value;

/// Fields that no example can name: their part comes with a later release.
const NOT_YET: [&str; 1] = ["AudienceActivation spec.source"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every YAML file below a folder.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_example_is_accepted_as_it_stands() {
    let files = yaml_files(&root().join("examples"));
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let set = manifests::read(&file);
        assert_eq!(set.problems, [], "{}", file.display());
        assert!(set.inventory.destinations.len() + set.inventory.activations.len() > 0, "{}", file.display());
    }
}

/// The fields of a schema as paths, those of list items among them.
fn fields(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        fields(field, &path, found);
        found.insert(path);
    }
    if schema["items"].is_object() {
        fields(&schema["items"], path, found);
    }
}

/// The fields that a manifest names, as paths.
fn named(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = format!("{path}.{name}");
                named(member, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| named(item, path, found)),
        _ => {}
    }
}

#[test]
fn everything_yaml_names_every_field_of_both_resources() {
    let text = fs::read_to_string(root().join("examples/everything.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let mut given = BTreeSet::new();
    for document in &documents {
        named(&document["spec"], &format!("{} spec", document["kind"].as_str().unwrap()), &mut given);
    }
    let mut known = BTreeSet::new();
    for definition in crd::definitions().unwrap() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        fields(schema, &format!("{kind} spec"), &mut known);
    }
    assert!(known.len() > 60, "{known:?}");
    let missing: Vec<_> =
        known.difference(&given).filter(|path| !NOT_YET.iter().any(|not_yet| path.starts_with(not_yet))).collect();
    assert!(missing.is_empty(), "examples/everything.yaml does not name {missing:?}");
}

/// The fenced blocks of the README in one language.
fn blocks(language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

#[test]
fn what_the_readme_declares_is_accepted_and_its_update_exports_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let declared = blocks("yaml");
    assert!(declared.len() >= 2);
    fs::write(folder.path().join("manifests.yaml"), declared.join("---\n")).unwrap();
    let set = manifests::read(folder.path());
    assert_eq!(set.problems, []);
    assert_eq!((set.inventory.destinations.len(), set.inventory.activations.len()), (1, 1));

    let [update, record] = &blocks("json")[..] else { panic!("the README shows an update and a record") };
    let updates = folder.path().join("updates.ndjson");
    let update: Value = serde_json::from_str(update).unwrap();
    fs::write(&updates, update.to_string()).unwrap();
    let preview = Command::new(env!("CARGO_BIN_EXE_activation-operator"))
        .env_clear()
        .args(["preview", "-f"])
        .arg(folder.path())
        .arg("--updates")
        .arg(&updates)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&preview.stderr), "");
    let exported: Value = serde_json::from_slice(&preview.stdout).unwrap();
    let record: Value = serde_json::from_str(record).unwrap();
    // Both in the order in which they are written.
    assert_eq!(exported["record"].to_string(), record.to_string());
}
