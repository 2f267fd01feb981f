//! The definitions as the server stores them.

use activation_operator::api::crd;
use serde_json::{Value, json};

use crate::cluster;

#[test]
fn the_definitions_are_established_without_a_complaint() {
    for definition in crd::definitions().unwrap() {
        let name = definition["metadata"]["name"].as_str().unwrap();
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        let stored = cluster().client().get(&path).good();
        let conditions = stored["status"]["conditions"].as_array().unwrap();
        let status = |kind: &str| {
            conditions.iter().find(|condition| condition["type"] == kind).map(|condition| condition["status"].clone())
        };
        assert_eq!(status("Established"), Some(json!("True")), "{conditions:?}");
        assert_eq!(status("NamesAccepted"), Some(json!("True")), "{conditions:?}");
        assert_eq!(status("NonStructuralSchema"), None, "{conditions:?}");
        // Nothing was dropped, renamed or added on the way.
        let schema = "/spec/versions/0/schema";
        assert_eq!(stored.pointer(schema), definition.pointer(schema), "{name}");
    }
}

/// A definition with a rule that costs too much, and one that cannot be structural: the server that installs ours would say.
#[test]
fn a_definition_that_costs_too_much_or_has_no_structure_is_refused() {
    let [mut definition, _] = crd::definitions().unwrap();
    definition["metadata"]["name"] = json!("costlies.tests.activation.dev");
    definition["spec"]["group"] = json!("tests.activation.dev");
    definition["spec"]["names"] = json!({"plural": "costlies", "kind": "Costly"});
    let refused = |schema: Value| {
        let mut definition = definition.clone();
        definition["spec"]["versions"][0]["additionalPrinterColumns"] = json!([]);
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema;
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All";
        let answer = cluster().client().post(path, &definition);
        assert_eq!(answer.status, 422, "{}", answer.body);
        answer.body["message"].as_str().unwrap().to_owned()
    };
    let unbounded = json!({"type": "array", "items": {"type": "string"}});
    let costly =
        refused(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": unbounded},
        "x-kubernetes-validations": [{"rule": "self.a.all(x, self.a.all(y, x == y))", "message": "no"}]}}}));
    assert!(costly.contains("exceeds budget"), "{costly}");
    let shapeless = refused(json!({"type": "object", "properties": {"spec": {"properties": {}}}}));
    assert!(shapeless.contains("must not be empty for specified object fields"), "{shapeless}");
}
