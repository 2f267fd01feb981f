//! Service accounts, the roles that they have, and a server that has them reviewed.

use std::path::Path;
use std::time::{Duration, Instant};

use kube::config::AuthInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::log;
use crate::server::{Options, Server};
use crate::support::controlplane::ControlPlane;

/// What a token must have been made for.
pub(crate) const AUDIENCE: &str = "activation.dev";

/// A namespace with an operator in it that may ask who callers are.
pub(crate) struct Town<'a> {
    pub(crate) cluster: &'a ControlPlane,
    pub(crate) namespace: String,
}

impl<'a> Town<'a> {
    pub(crate) fn new(cluster: &'a ControlPlane) -> Self {
        let town = Self::of_a_stranger(cluster);
        town.bind_cluster_role("operator", "system:auth-delegator");
        town
    }

    /// One whose operator has no rights.
    pub(crate) fn of_a_stranger(cluster: &'a ControlPlane) -> Self {
        let town = Self { cluster, namespace: cluster.namespace("access") };
        town.settle("operator");
        town
    }

    /// Makes a service account.
    pub(crate) fn settle(&self, account: &str) {
        let wanted = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
        self.cluster.client().post(&format!("/api/v1/namespaces/{}/serviceaccounts", self.namespace), &wanted).good();
    }

    /// Makes a service account with a role of these rules in this namespace, and a token of it for the hub.
    pub(crate) fn settle_with(&self, account: &str, rules: &Value) -> String {
        self.settle(account);
        self.grant(account, rules);
        self.token(account, Some(AUDIENCE))
    }

    /// Gives an account a role of these rules in this namespace.
    pub(crate) fn grant(&self, account: &str, rules: &Value) {
        let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", self.namespace);
        let role = json!({"metadata": {"name": account}, "rules": rules});
        self.cluster.client().post(&format!("{rbac}/roles"), &role).good();
        let binding = json!({"metadata": {"name": account}, "subjects": [self.subject(account)],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account}});
        self.cluster.client().post(&format!("{rbac}/rolebindings"), &binding).good();
    }

    /// Gives an account a role of these rules on paths.
    pub(crate) fn grant_paths(&self, account: &str, rules: &Value) {
        let name = format!("{}-{account}", self.namespace);
        let role = json!({"metadata": {"name": name}, "rules": rules});
        self.cluster.client().post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).good();
        self.bind_cluster_role(account, &name);
    }

    fn bind_cluster_role(&self, account: &str, role: &str) {
        let name = format!("{}-{account}", self.namespace);
        let binding = json!({"metadata": {"name": name}, "subjects": [self.subject(account)],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}});
        self.cluster.client().post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).good();
    }

    fn subject(&self, account: &str) -> Value {
        json!({"kind": "ServiceAccount", "name": account, "namespace": self.namespace})
    }

    /// A token by `TokenRequest`; `None` leaves the audience to the API server.
    pub(crate) fn token(&self, account: &str, audience: Option<&str>) -> String {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", self.namespace);
        let wanted = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": audience.into_iter().collect::<Vec<_>>(), "expirationSeconds": 600}});
        let made = self.cluster.client().post(&path, &wanted).good();
        let token = made["status"]["token"].as_str().unwrap().to_owned();
        log::keep_secret(&token);
        token
    }

    /// The hub's server, whose callers this operator has reviewed.
    pub(crate) fn serve(&self, data: &Path) -> Server {
        let mut config = kube::Config::new(self.cluster.client().url().parse().unwrap());
        let root =
            self.cluster.certificate().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec());
        config.root_cert = root.map(|root| vec![root]);
        config.auth_info = AuthInfo { token: Some(self.token("operator", None).into()), ..AuthInfo::default() };
        let reviews = Some((config, self.namespace.clone()));
        Server::start_with(data, Options { reviews, log: Some(log::filter()), ..Options::default() })
    }
}

/// Waits until it holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_mins(3), "never: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
