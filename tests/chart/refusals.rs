//! Values that make no sense are refused, by the schema.

use serde_json::{Value, json};

use crate::helm::{CHART, Helm};

#[test]
fn nonsense_is_refused_where_it_stands() {
    let table: &[(Value, &str)] = &[
        (json!({"replicaCount": 2}), "replicaCount"),
        (json!({"crds": {"enable": true}}), "enable"),
        (json!({"image": {"digest": "latest"}}), "/image/digest"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "/image/pullPolicy"),
        (json!({"image": {"repository": ""}}), "/image/repository"),
        (json!({"imagePullSecrets": ["registry"]}), "/imagePullSecrets/0"),
        (json!({"scope": "Namespace"}), "/scope"),
        (json!({"scope": "Namespaces"}), "/namespaces"),
        (json!({"scope": "Cluster", "namespaces": ["a"]}), "/namespaces"),
        (json!({"scope": "Namespaces", "namespaces": ["Not A Name"]}), "/namespaces/0"),
        (json!({"secrets": {"watch": "yes"}}), "/secrets/watch"),
        (json!({"policy": {"sourceIp": ["10.0.0.0/8"], "sourceVpce": ["vpce-0a"]}}), "/policy"),
        (json!({"policy": {"sourceIp": ["the office"]}}), "/policy/sourceIp/0"),
        (json!({"policy": {"sourceVpce": ["eni-1"]}}), "/policy/sourceVpce/0"),
        (json!({"retention": {"maxAge": "a week"}}), "/retention/maxAge"),
        (json!({"retention": {"maxBytes": "20 GB"}}), "/retention/maxBytes"),
        (json!({"retention": {"onPositionLost": "Panic"}}), "/retention/onPositionLost"),
        (json!({"persistence": {"size": "large"}}), "/persistence/size"),
        (json!({"persistence": {"accessMode": "ReadWriteMany"}}), "/persistence/accessMode"),
        (json!({"persistence": {"whenDeleted": "Keep"}}), "/persistence/whenDeleted"),
        (json!({"bindAddress": "::"}), "/bindAddress"),
        (json!({"ports": {"data": 443}}), "/ports/data"),
        (json!({"tls": {"certManager": {"enabled": true}}}), "/tls/certManager/issuerRef/name"),
        (json!({"service": {"type": "ExternalName"}}), "/service/type"),
        (json!({"statefulSet": {"replicas": 2}}), "replicas"),
        (json!({"statefulSet": {"terminationGracePeriodSeconds": 30}}), "/statefulSet/terminationGracePeriodSeconds"),
        (json!({"livenessProbe": {"httpGet": {"path": "/"}}}), "httpGet"),
        (json!({"log": {"format": "xml"}}), "/log/format"),
        (json!({"extraEnv": [{"value": "nameless"}]}), "/extraEnv/0"),
        (json!({"extraArgs": "--help"}), "/extraArgs"),
        (json!({"admissionPolicy": {"validationActions": ["Deny", "Warn"]}}), "/admissionPolicy/validationActions"),
        (json!({"admissionPolicy": {"validationActions": []}}), "/admissionPolicy/validationActions"),
        (json!({"metrics": {"enabled": true}}), "enabled"),
        (json!({"metrics": {"serviceMonitor": {"interval": 30}}}), "/metrics/serviceMonitor/interval"),
        (json!({"global": "everything"}), "/global"),
    ];
    let helm = Helm::alone();
    for (values, place) in table {
        let output = helm.run(&["template", "matrix", CHART], values);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{values} is accepted");
        assert!(
            told.contains("don't meet the specifications of the schema") && told.contains(place),
            "{values}: {told}"
        );
    }
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    let read = |name: &str| std::fs::read_to_string(format!("{CHART}/{name}")).unwrap();
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    compare(&values, &schema, &schema, "");
}

/// Panics where one knows a name that the other does not. The API server's own fields are judged by the API server; a parent chart's
/// condition is not the chart's.
fn compare(values: &Value, schema: &Value, root: &Value, path: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => root.pointer(name.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let Some(known) = schema["properties"].as_object().filter(|_| schema["additionalProperties"] == false) else {
        return;
    };
    let given = values.as_object().unwrap_or_else(|| panic!("{path} is no object"));
    for name in given.keys() {
        assert!(known.contains_key(name), "the schema does not know {path}.{name}");
    }
    for (name, schema) in known.iter().filter(|(name, _)| !(path.is_empty() && *name == "enabled")) {
        // Fields that Kubernetes itself defaults.
        if ["rollingUpdate", "initialDelaySeconds", "successThreshold"].contains(&name.as_str()) {
            continue;
        }
        let value = given.get(name).unwrap_or_else(|| panic!("values.yaml has no {path}.{name}"));
        compare(value, schema, root, &format!("{path}.{name}"));
    }
}
