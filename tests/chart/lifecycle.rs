//! Install, upgrade, uninstall and install again: the definitions, the resources and the volume stay.

use serde_json::{Value, json};

use crate::{
    NAMESPACE, RELEASE,
    helm::{CHART, Helm},
    namespace,
    support::controlplane::ControlPlane,
};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/kinesisdestinations.activation.dev";

fn destination() -> Value {
    json!({"apiVersion": "activation.dev/v1alpha1", "kind": "KinesisDestination", "metadata": {"name": "kept", "namespace": "default"},
        "spec": {"region": "eu-west-1", "stream": {"name": "s"}, "credentials": {"secretRef": {"name": "aws"}}}})
}

#[test]
fn what_users_have_outlives_the_release() {
    let own = ControlPlane::start();
    let (client, helm) = (own.client(), Helm::of(&own));
    namespace(&own, NAMESPACE);
    let exists = |path: &str| client.get(path).status == 200;
    let at = |rest: &str| format!("/api/v1/namespaces/{NAMESPACE}/{rest}");
    let (pod, claim) = (at("pods/activation-operator-0"), at("persistentvolumeclaims/data-activation-operator-0"));
    let stateful_set = format!("/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/activation-operator");
    let kept = "/apis/activation.dev/v1alpha1/namespaces/default/kinesisdestinations/kept";
    let install = ["install", RELEASE, CHART, "-n", NAMESPACE, "--wait=false"];
    let upgrade = ["upgrade", RELEASE, CHART, "-n", NAMESPACE, "--wait=false"];
    let uninstall = ["uninstall", RELEASE, "-n", NAMESPACE, "--wait=false"];

    let notes = helm.good(&install);
    assert!(notes.contains("kubectl create secret tls activation-operator-tls -n activation-system"), "{notes}");
    // The StatefulSet's controller asks Pod Security, which enforces restricted here.
    own.wait_for("the pod", || exists(&pod));
    let made = client.get(&claim).good();
    assert_eq!(made["spec"]["accessModes"], json!(["ReadWriteOncePod"]));
    own.wait_for("the definitions", || client.get("/apis/activation.dev/v1alpha1/kinesisdestinations").status == 200);
    own.kubectl_good(&["apply", "--server-side", "-f", "-"], &destination().to_string());

    let image = |object: &Value, path: &str| object.pointer(&format!("{path}/containers/0/image")).cloned();
    let digest = format!("sha256:{}", "b".repeat(64));
    helm.good_with(&upgrade, &json!({"image": {"digest": digest}, "retention": {"maxAge": "24h"}}));
    let wanted = Some(json!(format!("activation-operator@{digest}")));
    assert_eq!(image(&client.get(&stateful_set).good(), "/spec/template/spec"), wanted);
    // The old pod never became ready, and is replaced all the same.
    own.wait_for("the pod of the new release", || {
        let pod = client.get(&pod);
        pod.status == 200 && image(&pod.body, "/spec") == wanted
    });

    helm.good_with(&upgrade, &json!({"crds": {"enabled": false}}));
    assert!(exists(DEFINITIONS) && exists(kept));
    helm.good(&upgrade);

    // A larger volume, as the docs have it: the StatefulSet is made anew around its pod.
    let running = client.get(&pod).good()["metadata"]["uid"].clone();
    let larger = json!({"persistence": {"size": "128Gi"}});
    let refused = helm.run(&upgrade, &larger);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("StatefulSet"),
        "its claim's template can be changed after all"
    );
    own.kubectl_good(&["delete", "statefulset", "activation-operator", "-n", NAMESPACE, "--cascade=orphan"], "");
    helm.good_with(&upgrade, &larger);
    let size = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";
    assert_eq!(client.get(&stateful_set).good().pointer(size), Some(&json!("128Gi")));
    own.wait_for("the pod to be adopted", || {
        client.get(&pod).good()["metadata"]["ownerReferences"][0]["uid"]
            == client.get(&stateful_set).good()["metadata"]["uid"]
    });
    assert_eq!(client.get(&pod).good()["metadata"]["uid"], running);

    helm.good(&uninstall);
    own.wait_for("the StatefulSet and its pod to go", || !exists(&stateful_set) && !exists(&pod));
    assert!(exists(DEFINITIONS) && exists(kept));
    // Long enough ago for a controller to have marked it.
    assert!(client.get(&claim).good()["metadata"]["deletionTimestamp"].is_null());

    helm.good_with(&install, &json!({"crds": {"keep": false}}));
    own.wait_for("the pod", || exists(&pod));
    assert_eq!(client.get(&claim).good()["metadata"]["uid"], made["metadata"]["uid"]);
    assert!(exists(kept));
    helm.good(&uninstall);
    own.wait_for("the definitions to go where they are not to be kept", || !exists(DEFINITIONS));
}
