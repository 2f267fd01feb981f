//! Types: which part of the cluster is this process's, and the two kinds that it looks after.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::references::{self, NamedSecrets};
use crate::api::{AudienceActivation, KinesisDestination};
use crate::reconcile::{About, Inventory, ObjectKey};

/// Namespace and kind of a resource.
pub type Named = (About, ObjectKey);

/// Which part of the cluster is this process's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// These namespaces; none means the whole cluster.
    pub namespaces: Vec<String>,
    /// Which labels its destinations and activations carry; `None` means all of them.
    pub selector: Option<String>,
    /// Whether Secrets are watched. Otherwise they are read again every now and then.
    pub watch_secrets: bool,
}

impl Scope {
    /// One place to watch in for each namespace, or one for the whole cluster.
    pub fn places(&self) -> Vec<Place> {
        if self.namespaces.is_empty() {
            return vec![Place(None)];
        }
        self.namespaces.iter().cloned().map(|namespace| Place(Some(namespace))).collect()
    }

    /// Of the resources that are this process's.
    pub fn own(&self) -> watcher::Config {
        match &self.selector {
            Some(selector) => watched().labels(selector),
            None => watched(),
        }
    }
}

/// How anything is watched.
pub fn watched() -> watcher::Config {
    // A connection that died without a word is told by the silence after it: two minutes of it, not five.
    watcher::Config::default().timeout(120)
}

/// Where something is watched: in one namespace, or in all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub Option<String>);

impl Place {
    /// The API of a kind there.
    pub fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match &self.0 {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        }
    }

    /// Whether that namespace is in it.
    pub fn holds(&self, namespace: &str) -> bool {
        self.0.as_deref().is_none_or(|own| own == namespace)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(namespace) => write!(f, "namespace {namespace}"),
            None => f.write_str("the cluster"),
        }
    }
}

/// A kind that this process looks after.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Which.
    const ABOUT: About;
    /// What the metrics of its reconciles carry as `controller`.
    const CONTROLLER: &'static str;
    /// What rules of the API server call it.
    const RESOURCE: &'static str;
    /// Whether a finalizer holds it until it has drained.
    const DRAINS: bool;

    /// The Secrets that it names.
    fn secrets(&self) -> NamedSecrets;
    /// The status that it carries.
    fn told(&self) -> Option<Value>;
    /// Where it is in an inventory.
    fn of(inventory: &mut Inventory) -> &mut BTreeMap<ObjectKey, Self>;
}

impl Kind for KinesisDestination {
    const ABOUT: About = About::Destination;
    const CONTROLLER: &'static str = "kinesisdestination";
    const RESOURCE: &'static str = "kinesisdestinations.activation.dev";
    const DRAINS: bool = false;

    fn secrets(&self) -> NamedSecrets {
        references::of_destination(self)
    }

    fn told(&self) -> Option<Value> {
        serde_json::to_value(self.status.as_ref()?).ok()
    }

    fn of(inventory: &mut Inventory) -> &mut BTreeMap<ObjectKey, Self> {
        &mut inventory.destinations
    }
}

impl Kind for AudienceActivation {
    const ABOUT: About = About::Activation;
    const CONTROLLER: &'static str = "audienceactivation";
    const RESOURCE: &'static str = "audienceactivations.activation.dev";
    const DRAINS: bool = true;

    fn secrets(&self) -> NamedSecrets {
        references::of_activation(self)
    }

    fn told(&self) -> Option<Value> {
        serde_json::to_value(self.status.as_ref()?).ok()
    }

    fn of(inventory: &mut Inventory) -> &mut BTreeMap<ObjectKey, Self> {
        &mut inventory.activations
    }
}
