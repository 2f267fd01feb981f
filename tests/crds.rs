//! The committed definitions are what the types say, and are what an API server takes without complaint: every string
//! and list bounded, no default inside list items, every field explained, every rule with a message.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{fs, path::Path};

use activation_operator::api::{conditions::ConditionType, crd};
use serde_json::{Value, json};

/// `UPDATE_CRDS=1` writes the files instead of comparing them.
#[test]
fn the_committed_definitions_are_what_the_types_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    for (name, text) in crd::crd_files().unwrap() {
        let path = folder.join(name);
        if std::env::var_os("UPDATE_CRDS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "crds/{name} is stale: run `make generate` (cargo run -- crd --dir crds) and commit it"
        );
    }
}

#[test]
fn both_definitions_come_as_two_documents_and_as_types() {
    let both: Vec<Value> = serde_saphyr::from_multiple(&crd::crd_yaml().unwrap()).unwrap();
    assert_eq!(both, crd::definitions().unwrap());
    let [destination, activation] = crd::crds().unwrap();
    assert_eq!(destination.spec.names.short_names.as_deref(), Some(&["kdest".to_owned()][..]));
    assert_eq!(activation.spec.names.short_names.as_deref(), Some(&["aact".to_owned()][..]));
}

#[test]
fn names_scope_status_and_columns_are_the_documented_ones() {
    let columns = [
        vec!["Ready", "Reason", "Region", "Stream", "Activations", "Age"],
        vec!["Ready", "Delivering", "Destination", "Audiences", "Backfill", "Exported", "Failed", "Lag", "Age"],
    ];
    for (definition, columns) in crd::definitions().unwrap().iter().zip(columns) {
        assert_eq!(definition["spec"]["group"], "activation.dev");
        assert_eq!(definition["spec"]["scope"], "Namespaced");
        assert_eq!(definition["spec"]["names"]["categories"], json!(["activation"]));
        let version = &definition["spec"]["versions"][0];
        assert_eq!(version["name"], "v1alpha1");
        assert_eq!(version["subresources"], json!({"status": {}}));
        let named: Vec<_> =
            version["additionalPrinterColumns"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
        assert_eq!(named, columns);
        let status = &version["schema"]["openAPIV3Schema"]["properties"]["status"];
        assert_eq!(status["default"], json!({"observedGeneration": -1}));
        assert_eq!(status["properties"]["conditions"]["x-kubernetes-list-map-keys"], json!(["type"]));
    }
}

#[test]
fn every_condition_that_a_column_reads_is_a_condition_type() {
    let text = crd::crd_yaml().unwrap();
    let read: Vec<_> = text.split("@.type==\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(!read.is_empty());
    for name in read {
        name.trim_end_matches('\\').parse::<ConditionType>().expect(name);
    }
}

/// Calls `look` with the path and the schema of every node below `schema`; `in_items` says whether it lies in a list.
fn walk(schema: &Value, path: &str, in_items: bool, look: &mut impl FnMut(&str, &Value, bool)) {
    look(path, schema, in_items);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        walk(child, &format!("{path}.{name}"), in_items, look);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), true, look);
    }
    if schema["additionalProperties"].is_object() {
        walk(&schema["additionalProperties"], &format!("{path}.*"), in_items, look);
    }
}

fn each_node(mut look: impl FnMut(&str, &Value, bool)) {
    for definition in crd::definitions().unwrap() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            walk(&schema["properties"][part], part, false, &mut look);
        }
    }
}

#[test]
fn everything_is_bounded() {
    let mut seen = 0;
    each_node(|path, node, _| {
        // The conditions' schema is Kubernetes' own, and no rule reads them.
        if path.starts_with("status.conditions[]") {
            return;
        }
        let bounded = match node["type"].as_str().unwrap_or_else(|| panic!("{path} has no type")) {
            "string" => node["maxLength"].is_u64() || node["enum"].is_array() || node["format"] == "date-time",
            "array" => node["maxItems"].is_u64() && node["x-kubernetes-list-type"].is_string(),
            "object" => node["additionalProperties"].is_null() || node["maxProperties"].is_u64(),
            _ => true,
        };
        assert!(bounded, "{path} is unbounded");
        seen += 1;
    });
    assert!(seen > 150, "only {seen} nodes were looked at");
}

#[test]
fn only_the_namespace_of_an_audience_has_a_default_inside_a_list() {
    let mut found = Vec::new();
    each_node(|path, node, in_items| {
        if in_items && !node["default"].is_null() {
            found.push(path.to_owned());
        }
    });
    assert_eq!(found, ["spec.audiences[].namespace"]);
}

#[test]
fn the_documented_defaults_are_defaults_of_the_schema() {
    let mut defaults = std::collections::BTreeMap::new();
    each_node(|path, node, _| {
        if node["type"] != "object" && !node["default"].is_null() {
            defaults.insert(path.to_owned(), node["default"].clone());
        }
    });
    let documented = json!({
        "spec.allowedNamespaces.from": "Same",
        "spec.audiences[].namespace": "ups",
        "spec.backfill.deadline": "1h",
        "spec.backfill.enabled": true,
        "spec.credentials.secretRef.accessKeyIdKey": "accessKeyId",
        "spec.credentials.secretRef.secretAccessKeyKey": "secretAccessKey",
        "spec.delivery.linger": "50ms",
        "spec.delivery.maxBatchBytes": "5Mi",
        "spec.delivery.maxRecordBytes": "1Mi",
        "spec.delivery.maxRetries": 2,
        "spec.delivery.requestTimeout": "10s",
        "spec.delivery.throttleTimeout": "10m",
        "spec.includeSegmentNames": false,
        "spec.includeSegmentTimestamps": false,
        "spec.mergePolicyId": "default",
        "spec.onDelete": "None",
        "spec.partitionKey.from": "ProfileId",
        "spec.permissionCheck.interval": "10m",
        "spec.permissionCheck.method": "InvalidHashKey",
        "spec.record.metadata": false,
        "spec.segmentMembership.scope": "SameMergePolicy",
        "spec.suspend": false,
        "spec.triggers.attributes": true,
        "spec.triggers.audiences": true,
        "spec.triggers.identities": true,
        "spec.triggers.suppressUnchanged": false,
        "spec.workers.placement": "Operator",
    });
    defaults.retain(|path, _| path.starts_with("spec."));
    assert_eq!(serde_json::to_value(defaults).unwrap(), documented);
}

#[test]
fn every_field_is_explained_and_every_rule_tells_the_mend() {
    each_node(|path, node, _| {
        let explained = node["description"].as_str().is_some_and(|text| text.len() > 3 && !text.contains('\n'));
        assert!(explained || path.ends_with("[]") || path.ends_with(".*"), "{path} is not explained");
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            assert!(
                rule["message"].as_str().is_some_and(|message| message.len() > 20),
                "{path}: {rule} has no message"
            );
        }
        assert!(node["nullable"].is_null(), "{path} is nullable");
    });
}
