//! A real API server judges what the project ships: the definitions, the table of good and bad manifests, the examples; and
//! shows it to users: `kubectl explain`, columns, diffs. And it takes what the operator writes: statuses, Events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod definitions;
mod events;
mod every_field;
mod kube_client;
#[path = "../support/manifest_table.rs"]
mod manifest_table;
mod processes;
mod publish;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod users;

use std::sync::OnceLock;

use serde_json::Value;
use support::controlplane::ControlPlane;

/// With both definitions installed.
pub(crate) fn cluster() -> &'static ControlPlane {
    static INSTALLED: OnceLock<&'static ControlPlane> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let cluster = ControlPlane::shared();
        cluster.install_definitions();
        cluster
    })
}

/// Where a manifest goes: what its `apiVersion` and `kind` say, in the namespace that it says.
pub(crate) fn place(manifest: &Value) -> String {
    let version = manifest["apiVersion"].as_str().unwrap();
    let plural = format!("{}s", manifest["kind"].as_str().unwrap().to_lowercase());
    let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or("default");
    format!("/apis/{version}/namespaces/{namespace}/{plural}")
}
