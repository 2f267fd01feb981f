//! What the operator may not do is told, with the right that is missing, and nothing falls over.

use std::fs;

use serde_json::{Value, json};

use crate::support::operator::{condition, is_ready};
use crate::world::{KEY, World, entry, get};

/// A service account with rules in its namespace, and a kubeconfig for it.
fn account(world: &World<'_>, folder: &tempfile::TempDir, rules: &Value) -> String {
    world.kubectl(&["create", "serviceaccount", "runner"], "");
    grant(world, rules);
    let token = world.kubectl(&["create", "token", "runner"], "").trim().to_owned();
    let mut config: Value = serde_saphyr::from_str(&fs::read_to_string(world.cluster.kubeconfig()).unwrap()).unwrap();
    config["users"][0]["user"] = json!({"token": token});
    let path = folder.path().join("kubeconfig");
    fs::write(&path, config.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn grant(world: &World<'_>, rules: &Value) {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "runner", "namespace": world.namespace}, "rules": rules});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "runner", "namespace": world.namespace},
        "subjects": [{"kind": "ServiceAccount", "name": "runner", "namespace": world.namespace}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "runner"}});
    world.apply(&[&role, &binding]);
}

fn own() -> Value {
    json!({"apiGroups": ["activation.dev"], "resources": ["kinesisdestinations", "audienceactivations"],
        "verbs": ["get", "list", "watch", "patch"]})
}

fn statuses() -> Value {
    json!({"apiGroups": ["activation.dev"], "resources": ["kinesisdestinations/status", "audienceactivations/status"],
        "verbs": ["get", "patch"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_secrets_are_a_condition_and_a_right_that_is_granted_heals() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = account(&world, &folder, &json!([own(), statuses()]));
    let mut operator = world.start_as(&kubeconfig, &[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    let status = operator.destination("the reason", |status| condition(status, "Ready").reason == "Forbidden");
    let told = condition(&status, "CredentialsValid");
    assert!(told.message.contains("grant its service account get on secrets"), "{told:?}");
    assert_eq!(operator.probe("/readyz").0, 200, "it looks after what it may");
    operator.until_said("may not list and watch secrets");

    let secrets = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]});
    grant(&world, &json!([own(), statuses(), secrets]));
    operator.activation("vip", "Ready", is_ready);
    operator.send(&[entry("p", 1)]);
    operator.until_records(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_that_may_not_be_listed_are_told_by_readyz_until_they_may() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = account(&world, &folder, &json!([]));
    let mut operator = world.start_as(&kubeconfig, &[]);
    world.apply(&[&world.secret(KEY), &world.destination()]);
    let message = format!(
        "the operator may not list and watch kinesisdestinations.activation.dev in namespace {}: bind its service account to \
         a Role",
        world.namespace
    );
    operator.until_said(&message);
    let probes = operator.url("probes");
    operator.wait("the reason", || {
        let (code, text) = get(&format!("{probes}/readyz"));
        assert_eq!(code, 503, "{text}");
        text.contains(&message).then_some(())
    });
    assert_eq!(operator.probe("/livez").0, 200, "a restart would mend nothing");
    let secrets = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]});
    grant(&world, &json!([own(), statuses(), secrets]));
    operator.destination("Ready", is_ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_that_may_not_be_read_are_a_condition_where_labels_decide() {
    let world = World::new().await;
    let mut destination = world.destination();
    destination["spec"]["allowedNamespaces"] =
        json!({"from": "Selector", "selector": {"matchLabels": {"team": "crm"}}});
    let folder = tempfile::tempdir().unwrap();
    let secrets = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]});
    let kubeconfig = account(&world, &folder, &json!([own(), statuses(), secrets]));
    let elsewhere = world.cluster.namespace("elsewhere");
    let mut activation = world.activation("vip");
    activation["metadata"]["namespace"] = json!(elsewhere);
    activation["spec"]["destinationRef"]["namespace"] = json!(world.namespace);
    for kind in ["Role", "RoleBinding"] {
        let object = world.kubectl(&["get", kind, "runner", "-o", "json"], "");
        let mut object: Value = serde_json::from_str(&object).unwrap();
        object["metadata"] = json!({"name": "runner", "namespace": elsewhere});
        world.cluster.kubectl_good(&["apply", "-f", "-"], &object.to_string());
    }
    let both = format!("{},{elsewhere}", world.namespace);
    let mut operator = world.start_as(&kubeconfig, &["--namespaces", &both]);
    world.apply(&[&world.secret(KEY), &destination]);
    world.cluster.kubectl_good(&["apply", "-f", "-"], &activation.to_string());
    let path = format!("/apis/activation.dev/v1alpha1/namespaces/{elsewhere}/audienceactivations/vip");
    let status = || world.cluster.client().get(&path).body["status"].clone();
    let told =
        operator.wait("the reason", || Some(status()).filter(|told| condition(told, "Ready").reason == "Forbidden"));
    assert!(condition(&told, "Ready").message.contains("get on namespaces"), "{told}");

    let namespaces = json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]});
    let mut role: Value = serde_json::from_str(&world.kubectl(&["get", "role", "runner", "-o", "json"], "")).unwrap();
    role["metadata"] = json!({"name": "runner", "namespace": elsewhere});
    role["rules"].as_array_mut().unwrap().push(namespaces);
    world.cluster.kubectl_good(&["apply", "-f", "-"], &role.to_string());
    operator.wait("the labels", || (condition(&status(), "Ready").reason == "NamespaceNotAllowed").then_some(()));
    world.cluster.kubectl_good(&["label", "namespace", &elsewhere, "team=crm"], "");
    operator.wait("Ready", || is_ready(&status()).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_that_may_not_be_added_is_a_condition_and_nothing_runs_until_it_may() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let secrets = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]});
    let mut weak = own();
    weak["verbs"] = json!(["get", "list", "watch"]);
    let kubeconfig = account(&world, &folder, &json!([weak, statuses(), secrets]));
    let mut operator = world.start_as(&kubeconfig, &[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    let status = operator.activation("vip", "the reason", |status| condition(status, "Ready").reason == "Forbidden");
    let told = condition(&status, "Stalled");
    assert!(told.status == "True" && told.message.contains("may not patch audienceactivations"), "{told:?}");
    operator.destination("Ready", is_ready);
    assert!(!operator.said().contains("vip: start"), "{}", operator.said());
    grant(&world, &json!([own(), statuses(), secrets]));
    operator.activation("vip", "Ready", is_ready);
}
