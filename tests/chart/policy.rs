//! Who may write an `AudienceActivation`, judged by the API server.

use serde_json::{Value, json};

use crate::{NAMESPACE, RELEASE, cluster, namespace};

/// A namespace of the test's own, with a role per user.
struct Place {
    namespace: String,
}

/// A right in the terms of a role.
fn right(verb: &str, resource: &str, names: &[&str]) -> Value {
    let mut rule = json!({"apiGroups": ["activation.dev"], "resources": [resource], "verbs": [verb]});
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    rule
}

/// Write on the resource itself.
fn write() -> Value {
    json!({"apiGroups": ["activation.dev"], "resources": ["audienceactivations"], "verbs": ["get", "create", "update", "patch", "delete"]})
}

/// An activation that maps audiences of the namespace `ups`.
fn activation(destination: &str, audiences: &[&str]) -> Value {
    let audiences: Vec<_> = audiences.iter().map(|id| json!({"id": id})).collect();
    json!({"apiVersion": "activation.dev/v1alpha1", "kind": "AudienceActivation", "metadata": {"name": "vip"},
        "spec": {"destinationRef": {"name": destination}, "audiences": audiences}})
}

impl Place {
    fn new(prefix: &str) -> Self {
        Self { namespace: cluster().namespace(prefix) }
    }

    /// Gives a user rights in this namespace.
    fn grant(&self, user: &str, rules: &[Value]) {
        let metadata = json!({"name": user, "namespace": self.namespace});
        let role =
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
        let both = json!({"apiVersion": "v1", "kind": "List", "items": [role, binding]});
        cluster().kubectl_good(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &both.to_string());
    }

    /// Writes as a user: what the server said where it refused.
    fn write_as(&self, user: &str, object: &Value) -> Result<(), String> {
        let apply = ["apply", "--server-side", "--force-conflicts", "--as", user, "-n", &self.namespace, "-f", "-"];
        let output = cluster().kubectl(&apply, &object.to_string());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(told) }
    }

    /// As `write_as`, until the rights that were granted a moment ago are known to the server.
    fn may(&self, user: &str, object: &Value) {
        let mut told = String::new();
        cluster().wait_for(&format!("{user} to be allowed"), || match self.write_as(user, object) {
            Ok(()) => true,
            Err(refused) => {
                told = refused;
                assert!(told.contains("orbidden") || told.contains("denied"), "{told}");
                assert!(!told.contains("cost") && !told.contains("budget"), "{told}");
                false
            }
        });
    }

    /// Writes as an admin.
    fn put(&self, object: &Value) {
        let apply = ["apply", "--server-side", "--force-conflicts", "-n", &self.namespace, "-f", "-"];
        cluster().kubectl_good(&apply, &object.to_string());
    }
}

/// The policy is enforced a moment after it is there.
fn enforced() {
    let place = Place::new("enforced");
    place.grant("nobody", &[write()]);
    cluster().wait_for("the policy to be enforced", || {
        place
            .write_as("nobody", &activation("events", &["a"]))
            .is_err_and(|told| told.contains("ValidatingAdmissionPolicy"))
    });
}

/// What the server says of the types in a policy that is new to it.
fn type_warnings(name: &str, change: impl Fn(&mut Value)) -> Value {
    let rendered = crate::helm::render(&json!({}));
    let mut policy = crate::the(&rendered, "ValidatingAdmissionPolicy").clone();
    policy["metadata"] = json!({"name": name});
    change(&mut policy);
    cluster().kubectl_good(&["apply", "--server-side", "-f", "-"], &policy.to_string());
    let path = format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{name}");
    cluster().wait_for("the types to be checked", || {
        cluster().client().get(&path).good()["status"]["typeChecking"].is_object()
    });
    let checked = cluster().client().get(&path).good()["status"]["typeChecking"].clone();
    cluster().client().delete(&path).good();
    checked
}

#[test]
fn the_policy_reads_without_a_warning() {
    // The checker learns of the definitions a while after they are there, and has no warnings until then.
    let mut attempt = 0;
    cluster().wait_for("the checker to know the definitions", || {
        attempt += 1;
        let checked = type_warnings(&format!("misspelt-{attempt}"), |policy| {
            policy["spec"]["validations"][0]["expression"] = json!("object.spec.destinationRef.nam == 'a'");
        });
        checked["expressionWarnings"].as_array().is_some_and(|warnings| !warnings.is_empty())
    });
    let checked = type_warnings("spelt", |_| ());
    assert_eq!(checked, json!({}), "{checked:#}");
}

#[test]
fn a_user_with_one_destination_and_one_audience_maps_that_one_there_and_nothing_else() {
    enforced();
    let place = Place::new("one");
    place.grant(
        "ada",
        &[
            write(),
            right("activate", "kinesisdestinations", &["events"]),
            right("get", "profiles", &[]),
            right("get", "segments", &["ups:vip"]),
        ],
    );
    place.may("ada", &activation("events", &["vip"]));

    let told = place.write_as("ada", &activation("events", &["vip", "churning"])).unwrap_err();
    let wanted = format!(
        "user ada may not map the audience ups:churning in namespace {}: an admin grants it with a role in this namespace with the verb \
         get on segments.activation.dev, for the name ups:churning or for all",
        place.namespace
    );
    assert!(told.contains(&wanted), "{told}");

    let told = place.write_as("ada", &activation("other", &["vip"])).unwrap_err();
    let wanted = format!(
        "user ada may not activate audiences to the destination other in namespace {}: an admin grants it with a role in that namespace \
         with the verb activate on kinesisdestinations.activation.dev, for this name or for all",
        place.namespace
    );
    assert!(told.contains(&wanted), "{told}");

    // The destination of the same name in another namespace is another.
    let mut elsewhere = activation("events", &["vip"]);
    elsewhere["spec"]["destinationRef"]["namespace"] = json!("default");
    let told = place.write_as("ada", &elsewhere).unwrap_err();
    assert!(told.contains("the destination events in namespace default"), "{told}");
    let mut fresh = activation("events", &["churning"]);
    fresh["metadata"]["name"] = json!("fresh");
    let told = place.write_as("ada", &fresh).unwrap_err();
    assert!(told.contains("may not map the audience ups:churning"), "{told}");
    // An audience of the same id in another namespace, too.
    fresh["spec"]["audiences"] = json!([{"namespace": "crm", "id": "vip"}]);
    let told = place.write_as("ada", &fresh).unwrap_err();
    assert!(told.contains("may not map the audience crm:vip"), "{told}");
}

#[test]
fn profiles_must_be_readable_and_the_chart_s_own_roles_are_enough() {
    enforced();
    let place = Place::new("roles");
    place.grant("bob", &[write(), right("activate", "kinesisdestinations", &[]), right("get", "segments", &[])]);
    cluster().wait_for("bob to lack profiles alone", || {
        place
            .write_as("bob", &activation("events", &["vip"]))
            .unwrap_err()
            .contains("user bob may not map attributes and identities of profiles in namespace")
    });
    for role in ["activate-destinations", "view-profiles", "view-segments"] {
        let (name, role) = (format!("carol-{role}"), format!("--clusterrole={RELEASE}-{role}"));
        cluster().kubectl_good(&["create", "rolebinding", &name, "-n", &place.namespace, "--user=carol", &role], "");
    }
    place.may("carol", &activation("events", &["vip"]));
}

#[test]
fn twenty_audiences_are_checked_by_name_and_more_ask_for_the_unnamed_right() {
    enforced();
    let place = Place::new("many");
    // As long as names get: what the checks cost grows with them.
    let ids: Vec<String> = (0..250).map(|index| format!("{index:03}-{}", "x".repeat(252))).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let names: Vec<String> = ids.iter().map(|id| format!("ups:{id}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let common = [write(), right("activate", "kinesisdestinations", &["events"]), right("get", "profiles", &[])];
    place.grant("named", &[&common[..], &[right("get", "segments", &names)]].concat());
    place.grant("all", &[&common[..], &[right("get", "segments", &[])]].concat());

    place.may("named", &activation("events", &ids[..20]));
    let told = place.write_as("named", &activation("events", &ids[..41])).unwrap_err();
    let wanted = format!(
        "user named adds 21 audiences at once in namespace {}: at most 20 can be checked by name in one write; add them in several \
         writes, or have an admin grant get on segments.activation.dev without names in this namespace",
        place.namespace
    );
    assert!(told.contains(&wanted), "{told}");

    // The most that one write can cost: all but twenty are there, and each of the twenty is asked for.
    place.put(&activation("events", &ids[..230]));
    place.may("named", &activation("events", &ids));
    let mut last_missing = activation("events", &ids[..249]);
    place.put(&activation("events", &ids[..230]));
    last_missing["spec"]["audiences"].as_array_mut().unwrap().push(json!({"id": "not granted"}));
    let told = place.write_as("named", &last_missing).unwrap_err();
    assert!(told.contains("may not map the audience ups:not granted"), "{told}");

    let mut at_once = activation("events", &ids);
    at_once["metadata"]["name"] = json!("at-once");
    place.may("all", &at_once);
    let told = place.write_as("named", &{
        at_once["metadata"]["name"] = json!("at-once-too");
        at_once
    });
    assert!(told.unwrap_err().contains("adds 250 audiences at once"));
}

#[test]
fn what_is_mapped_already_may_stay_or_go_but_not_be_sent_elsewhere() {
    enforced();
    let place = Place::new("mapped");
    place.put(&activation("events", &["a", "b", "c"]));
    place.grant(
        "dan",
        &[write(), right("activate", "kinesisdestinations", &["events", "other"]), right("get", "profiles", &[])],
    );
    // Not one right on audiences: removing needs none, nor does what stays.
    place.may("dan", &activation("events", &["a", "b"]));
    let mut renamed = activation("events", &["a", "b"]);
    renamed["spec"]["audiences"][0]["name"] = json!("A");
    renamed["spec"]["suspend"] = json!(true);
    place.may("dan", &renamed);
    // Back again is added.
    let told = place.write_as("dan", &activation("events", &["a", "b", "c"])).unwrap_err();
    assert!(told.contains("may not map the audience ups:c"), "{told}");
    // To another destination, or under another merge policy, they are mapped anew.
    let told = place.write_as("dan", &activation("other", &["a", "b"])).unwrap_err();
    assert!(told.contains("may not map the audience ups:a"), "{told}");
    let mut policy = activation("events", &["a", "b"]);
    policy["spec"]["audiences"][1]["mergePolicyId"] = json!("strict");
    let told = place.write_as("dan", &policy).unwrap_err();
    assert!(told.contains("may not map the audience ups:b"), "{told}");
    let mut policy = activation("events", &["a", "b"]);
    policy["spec"]["mergePolicyId"] = json!("strict");
    let told = place.write_as("dan", &policy).unwrap_err();
    assert!(told.contains("may not map the audience ups:a"), "{told}");
}

#[test]
fn the_operator_s_own_writes_and_other_metadata_pass() {
    enforced();
    let place = Place::new("operator");
    place.put(&activation("events", &["a"]));
    let operator = format!("system:serviceaccount:{NAMESPACE}:{RELEASE}");
    let patch = |user: &str, change: Value| {
        let change = change.to_string();
        let arguments = ["patch", "aact", "vip", "-n", &place.namespace, "--type=merge", "--as", user, "-p", &change];
        let output = cluster().kubectl(&arguments, "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(told) }
    };
    patch(&operator, json!({"metadata": {"finalizers": ["activation.dev/drain"]}})).unwrap();
    let mut status = activation("events", &[]);
    status.as_object_mut().unwrap().remove("spec");
    status["status"] = json!({"observedGeneration": 1, "mappedAudiences": 1});
    let apply =
        ["apply", "--server-side", "--subresource=status", "--validate=false", "--field-manager=activation-operator"];
    let apply = [&apply[..], &["--as", &operator, "-n", &place.namespace, "-f", "-"]].concat();
    cluster().kubectl_good(&apply, &status.to_string());
    let stored = cluster()
        .kubectl_good(&["get", "aact", "vip", "-n", &place.namespace, "-o", "jsonpath={.status.mappedAudiences}"], "");
    assert_eq!(stored, "1");
    patch(&operator, json!({"metadata": {"finalizers": []}})).unwrap();
    // The operator is no exception where it is the spec.
    let told = patch(&operator, json!({"spec": {"suspend": true}})).unwrap_err();
    assert!(told.contains(&format!("user {operator} may not activate audiences to the destination events")), "{told}");
    // Asking for a pass needs write on the activation alone.
    place.grant("eve", &[write()]);
    let ask = json!({"metadata": {"annotations": {"activation.dev/requested-at": "now"}}});
    cluster().wait_for("eve to be allowed", || patch("eve", ask.clone()).is_ok());
    let told = patch("eve", json!({"spec": {"suspend": true}})).unwrap_err();
    assert!(told.contains("user eve may not activate"), "{told}");
    cluster().kubectl_good(&["delete", "aact", "vip", "-n", &place.namespace, "--as", "eve"], "");
}

#[test]
fn with_named_namespaces_the_policy_speaks_of_those_alone() {
    namespace(cluster(), "bound");
    let rendered = crate::helm::render(&json!({"scope": "Namespaces", "namespaces": ["bound"]}));
    let binding = &crate::the(&rendered, "ValidatingAdmissionPolicyBinding")["spec"];
    let names = &binding["matchResources"]["namespaceSelector"]["matchExpressions"][0];
    assert_eq!(names, &json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["bound"]}));
    let everywhere = crate::helm::render(&json!({}));
    assert!(crate::the(&everywhere, "ValidatingAdmissionPolicyBinding")["spec"]["matchResources"].is_null());
}
