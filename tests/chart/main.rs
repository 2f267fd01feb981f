//! The chart, judged by helm and by a real API server: what it renders is accepted, what makes no sense is refused, what it installs
//! may do what it must and no more, and who may write what is checked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod definitions;
mod helm;
mod lifecycle;
mod matrix;
mod monitoring;
mod policy;
mod refusals;
mod rights;
#[path = "../support/mod.rs"]
mod support;

use std::sync::OnceLock;

use helm::Helm;
use serde_json::{Value, json};
use support::controlplane::ControlPlane;

/// Where the chart is installed for all tests of this binary, under its own name.
pub(crate) const NAMESPACE: &str = "activation-system";
/// The release.
pub(crate) const RELEASE: &str = "activation-operator";

/// A cluster with the chart installed as it comes, in a namespace that enforces Pod Security's level restricted.
pub(crate) fn cluster() -> &'static ControlPlane {
    static INSTALLED: OnceLock<&'static ControlPlane> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let cluster = ControlPlane::shared();
        namespace(cluster, NAMESPACE);
        Helm::of(cluster).good(&["install", RELEASE, helm::CHART, "-n", NAMESPACE, "--wait=false"]);
        for plural in ["kinesisdestinations", "audienceactivations"] {
            let path = format!("/apis/activation.dev/v1alpha1/{plural}");
            cluster.wait_for(plural, || cluster.client().get(&path).status == 200);
        }
        cluster
    })
}

/// Makes a namespace that enforces the level restricted, and warns of workloads whose pods it would refuse.
pub(crate) fn namespace(cluster: &ControlPlane, name: &str) {
    let labels =
        json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"});
    let wanted = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let apply = ["apply", "--server-side", "-f", "-"];
    cluster.kubectl_good(&apply, &wanted.to_string());
    let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
    cluster.wait_for("the service account of a namespace", || cluster.client().get(&account).status == 200);
}

/// The objects of one kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The only object of its kind.
pub(crate) fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = of_kind(objects, kind);
    assert_eq!(found.len(), 1, "{} objects are a {kind}", found.len());
    found[0]
}
