//! What users see: explanations, columns, diffs, and that the examples apply.

use std::{fs, path::Path};

use activation_operator::api::crd;
use serde_json::{Value, json};

use crate::{cluster, manifest_table::cases, place};

/// The dotted paths of every object of a schema, and how many fields each has.
fn objects(schema: &Value, path: &str, found: &mut Vec<(String, Vec<String>)>) {
    if schema["items"].is_object() {
        return objects(&schema["items"], path, found);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    found.push((path.to_owned(), properties.keys().cloned().collect()));
    for (name, child) in properties {
        objects(child, &format!("{path}.{name}"), found);
    }
}

#[test]
fn explain_describes_every_field() {
    let mut found = Vec::new();
    for definition in crd::definitions().unwrap() {
        let plural = definition["spec"]["names"]["plural"].as_str().unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        objects(&schema["spec"], &format!("{plural}.spec"), &mut found);
        objects(&schema["status"], &format!("{plural}.status"), &mut found);
    }
    assert!(found.len() > 40, "only {} objects were found", found.len());
    for (path, fields) in found {
        let explained = cluster().kubectl_good(&["explain", &path, "--api-version=activation.dev/v1alpha1"], "");
        let (head, listed) = explained.split_once("\nFIELDS:\n").unwrap_or((&explained, ""));
        assert!(head.contains("\nDESCRIPTION:\n") && !head.contains("<empty>"), "{path}: {explained}");
        for field in fields {
            // `  region\t<string> -required-`, then, further in, what it is.
            let (_, after) =
                listed.split_once(&format!("  {field}\t<")).unwrap_or_else(|| panic!("{path}.{field}: {explained}"));
            let described =
                after.lines().skip(1).take_while(|line| !line.is_empty()).any(|line| {
                    line.starts_with("    ") && line.trim().len() > 3 && !line.contains("<no description>")
                });
            assert!(described, "{path}.{field} is not described: {explained}");
        }
    }
}

/// The smallest of both, by the table's words.
pub(crate) fn smallest() -> [Value; 2] {
    let cases = cases();
    ["the smallest destination gets every default", "the smallest activation gets every default"]
        .map(|name| cases.iter().find(|case| case.name == name).unwrap().manifest.clone())
}

pub(crate) fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

#[test]
fn columns_show_and_an_object_that_nobody_has_looked_at_does_not_read_as_current() {
    let namespace = cluster().namespace("columns");
    let apply = ["apply", "--server-side", "--validate=strict", "-n", &namespace, "-f", "-"];
    cluster().kubectl_good(&apply, &list(&smallest()));
    let time = "2026-01-02T03:04:05Z";
    let condition = |kind: &str, reason: &str| json!({"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": time});
    let ready = condition("Ready", "Succeeded");
    let statuses = [
        json!({"observedGeneration": 1, "stream": {"name": "s-1"}, "activations": 3, "conditions": [ready]}),
        json!({"observedGeneration": 1, "conditions": [ready, condition("Delivering", "Flowing")], "mappedAudiences": 2,
            "backfillPercent": 50, "dataflow": {"received": 0, "exported": 40, "excluded": 0, "retried": 0, "failed": 4,
            "deadLettered": 0, "lagSeconds": 7}}),
    ];
    for (manifest, status) in smallest().iter().zip(statuses) {
        let path = place(manifest).replace("/default/", &format!("/{namespace}/"));
        let path = format!("{path}/{}", manifest["metadata"]["name"].as_str().unwrap());
        let stored = cluster().client().get(&path).good();
        assert_eq!(stored["status"], json!({"observedGeneration": -1}));
        assert_eq!(stored["metadata"]["generation"], 1);
        let told =
            cluster().client().merge(&format!("{path}/status?fieldValidation=Strict"), &json!({"status": status}));
        // What a status says is no change of what is wanted.
        assert_eq!(told.good()["metadata"]["generation"], 1);
    }
    let shown = cluster().kubectl_good(&["get", "kdest,aact", "-n", &namespace], "");
    let rows: Vec<Vec<_>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "READY", "REASON", "REGION", "STREAM", "ACTIVATIONS", "AGE"], "{shown}");
    assert_eq!(rows[1][1..6], ["True", "Succeeded", "eu-west-1", "s-1", "3"], "{shown}");
    let columns =
        ["NAME", "READY", "DELIVERING", "DESTINATION", "AUDIENCES", "BACKFILL", "EXPORTED", "FAILED", "LAG", "AGE"];
    assert_eq!(rows[3], columns, "{shown}");
    assert_eq!(rows[4][1..9], ["True", "Flowing", "profiles", "2", "50", "40", "4", "7"], "{shown}");
    let all = cluster().kubectl_good(&["get", "activation", "-n", &namespace, "-o", "name"], "");
    assert_eq!(all.lines().count(), 2, "{all}");
}

#[test]
fn the_same_manifest_of_another_manager_drifts_nothing() {
    let namespace = cluster().namespace("drift");
    let full: Vec<_> = cases()
        .into_iter()
        .filter(|case| case.name.starts_with("everything that "))
        .map(|mut case| {
            case.manifest["metadata"]["namespace"] = json!(namespace);
            // What a server sets, and what a controller would have to take away again.
            for name in ["generation", "finalizers"] {
                case.manifest["metadata"].as_object_mut().unwrap().remove(name);
            }
            case.manifest
        })
        .collect();
    assert_eq!(full.len(), 2);
    let mut manifests = smallest().to_vec();
    manifests.extend(full);
    let manifests = list(&manifests);
    let one = ["apply", "--server-side", "--field-manager=one", "-n", &namespace, "-f", "-"];
    cluster().kubectl_good(&one, &manifests);
    let specs = || {
        let read = cluster().kubectl_good(&["get", "kdest,aact", "-n", &namespace, "-o", "json"], "");
        let read: Value = serde_json::from_str(&read).unwrap();
        let items = read["items"].as_array().unwrap().clone();
        items.iter().map(|item| (item["metadata"]["generation"].clone(), item["spec"].clone())).collect::<Vec<_>>()
    };
    let before = specs();
    assert_eq!(before.len(), 4);
    let other = ["apply", "--server-side", "--field-manager=other", "-n", &namespace, "-f", "-"];
    cluster().kubectl_good(&other, &manifests);
    cluster().kubectl_good(&one, &manifests);
    assert_eq!(specs(), before);
    for manager in ["--field-manager=one", "--field-manager=other"] {
        let diff = cluster().kubectl(&["diff", "--server-side", manager, "-n", &namespace, "-f", "-"], &manifests);
        let told = String::from_utf8_lossy(&diff.stdout);
        assert!(diff.status.success() && told.is_empty(), "{told}{}", String::from_utf8_lossy(&diff.stderr));
    }
    // Without server-side apply, too.
    let diff = cluster().kubectl(&["diff", "-n", &namespace, "-f", "-"], &manifests);
    let told = String::from_utf8_lossy(&diff.stdout);
    assert!(diff.status.success() && told.is_empty(), "{told}{}", String::from_utf8_lossy(&diff.stderr));
}

#[test]
fn every_example_applies() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files = Vec::new();
    for folder in [examples.clone(), examples.join("quickstart"), examples.join("quickstart/manifests")] {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")));
    }
    assert!(files.len() >= 7, "only {files:?} were found");
    files.sort();
    for name in ["marketing", "activation-system"] {
        let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        cluster().kubectl_good(&["apply", "--server-side", "-f", "-"], &made.to_string());
    }
    for file in files {
        cluster().kubectl_good(&["apply", "--validate=strict", "-f", file.to_str().unwrap()], "");
    }
}
